import { beforeAll, describe, expect, it } from 'vitest';
import { createScorer, evaluateModel, failingLots } from '../../coordinator/evaluate.ts';
import { flatOf, initialModel, networksOf, type ModelState } from '../../coordinator/model-state.ts';
import type { EvaluationModality, EvaluationSet } from '../../shared/data/evaluation-set.ts';
import { evaluateRobustness, evaluateSamples } from '../../shared/fusion/evaluate.ts';
import { FUSION_RULES } from '../../shared/fusion/evaluation.ts';
import { fitFusedTemperatures } from '../../shared/fusion/fused-temperature.ts';
import { predictLogits } from '../../shared/model/predict.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { ledgerStudy } from '../support/ledger-study.ts';

beforeAll(() => openBackend('wasm'));

const study = ledgerStudy();
const networks = networksOf(study);
const { fusion } = study;
const SIZES = { image: 3, table: 2 };

/** Very sure of itself: noise makes it surely wrong, which calibration has to learn. */
function sureModel(): ModelState {
  const { encoders, head } = initialModel(study, networks);
  return { encoders: new Map([...encoders].map(([name, weights]) => [name, weights.map((weight) => 2 * weight)])), head: head.map((weight) => 9 * weight) };
}
const model = sureModel();

/** Records of both modalities, `scale` wide; every ninth lies far out. */
function featuresOf(count: number, { scale, phase }: { readonly scale: number; readonly phase: number }): EvaluationSet['modalities'] {
  const one = (size: number): EvaluationModality => ({
    features: Float32Array.from({ length: count * size }, (_, k) => scale * Math.sin(12.9898 * (k + 1) + phase + size) * (Math.floor(k / size) % 9 === 4 ? 5 : 1)),
    present: Uint8Array.from({ length: count }, (_, i) => (size === 3 && i % 5 === 0 ? 0 : 1)),
  });
  return { image: one(SIZES.image), table: one(SIZES.table) };
}

/** Labelled as the model itself says by its tables, but for one record in eight. */
async function labelled(modalities: EvaluationSet['modalities']): Promise<EvaluationSet> {
  const network = networks.get('table')!;
  const weights = loadWeights(network, flatOf(model, 'table'));
  const logits = await predictLogits({ network, weights, features: modalities['table']!.features });
  disposeWeights(weights);
  const labels = Int32Array.from({ length: logits.length / 2 }, (_, i) => (logits[2 * i + 1]! > logits[2 * i]! ? 1 : 0) ^ (i % 8 === 3 ? 1 : 0));
  return { samples: Array.from(labels, (_, i) => `s${i}`), labels, modalities };
}
const selectionPart = (): Promise<EvaluationSet> => labelled(featuresOf(90, { scale: 1.5, phase: 0.2 }));
const testPart = (): Promise<EvaluationSet> => labelled(featuresOf(40, { scale: 0.4, phase: 1.3 }));

/** Its first records. */
function firstOf({ samples, labels, modalities }: EvaluationSet, count: number): EvaluationSet {
  return { samples: samples.slice(0, count), labels: labels.slice(0, count), modalities: Object.fromEntries(Object.entries(SIZES).map(([name, size]) => [name, { features: modalities[name]!.features.slice(0, count * size), present: modalities[name]!.present.slice(0, count) }])) };
}

describe('the scorer of a released model', () => {
  it('believes a record by the selection part, whatever else is scored with it', async () => {
    const [selection, test] = [await selectionPart(), await testPart()];
    const scorer = await createScorer({ model, networks, selection, fusion });
    expect(Math.max(...Object.values(scorer.calibrations).map(({ discount }) => discount))).toBeGreaterThan(0);
    const [whole, few] = [await scorer.score(test), await scorer.score(firstOf(test, 6))];
    for (const name of Object.keys(SIZES)) {
      const { reliability, temperature } = whole.modalities[name]!;
      expect(few.modalities[name]).toMatchObject({ temperature, present: whole.modalities[name]!.present.slice(0, 6) });
      few.modalities[name]!.reliability!.forEach((one, i) => expect(one).toBeCloseTo(reliability![i]!, 6));
    }
    // Scaled up, the same records are unlike those of the selection part.
    const strange = { ...test, modalities: featuresOf(40, { scale: 60, phase: 1.3 }) };
    const { table } = (await scorer.score(strange)).modalities;
    expect(Math.max(...table!.reliability!)).toBeLessThan(1);
  });

  it('adds noise as wide as the selection part spreads, to two records as beside many', async () => {
    const [selection, test] = [await selectionPart(), await testPart()];
    const scorer = await createScorer({ model, networks, selection, fusion });
    const [whole, two] = [await scorer.scoreDegraded(test), await scorer.scoreDegraded(firstOf(test, 2))];
    expect(whole.map(({ modality, degradation }) => `${modality} ${degradation}`)).toEqual(['image', 'table'].flatMap((name) => ['noise', 'blank', 'swap', 'missing'].map((kind) => `${name} ${kind}`)));
    for (const [i, { degradation, logits }] of whole.entries()) {
      if (degradation !== 'noise') continue;
      two[i]!.logits.forEach((logit, k) => expect(logit).toBeCloseTo(logits[k]!, 3));
    }
    const clean = await scorer.score(test);
    const distance = (degraded: typeof whole): number => degraded[4]!.logits.reduce((sum, logit, k) => sum + Math.abs(logit - clean.modalities['table']!.logits[k]!), 0);
    const narrow = await labelled(featuresOf(90, { scale: 0.01, phase: 0.2 }));
    const narrowly = await createScorer({ model, networks, selection: narrow, fusion });
    expect(distance(await narrowly.scoreDegraded(test))).toBeLessThan(0.05 * distance(whole));
  });

  it('fits the fused temperatures to the answers as they will be given, reliabilities and all, on the selection part', async () => {
    const [selection, test] = [await selectionPart(), await testPart()];
    const scorer = await createScorer({ model, networks, selection, fusion });
    const scored = await scorer.score(selection);
    expect(Object.values(scored.modalities).some(({ reliability }) => reliability!.some((one) => one > 0 && one < 1))).toBe(true);
    expect(scorer.temperatures).toEqual(fitFusedTemperatures(scored, fusion));
    expect((await scorer.score(test)).temperatures).toEqual(scorer.temperatures);
    for (const other of [fitFusedTemperatures(scored, { ...fusion, calibration: 'temperature' }), fitFusedTemperatures(await scorer.score(test), fusion)]) expect(Math.abs(other.hybrid! - scorer.temperatures.hybrid!)).toBeGreaterThan(1e-3);
  });

  it('leaves everything alone where the study does not calibrate', async () => {
    const [selection, test] = [await selectionPart(), await testPart()];
    const scorer = await createScorer({ model, networks, selection, fusion: { ...fusion, calibration: 'none' } });
    expect([scorer.calibrations, scorer.temperatures]).toEqual([{}, {}]);
    for (const { temperature, reliability } of Object.values((await scorer.score(test)).modalities)) {
      expect(temperature).toBe(1);
      expect(reliability!.every((one) => one === 0 || one === 1)).toBe(true);
    }
  });
});

it('an evaluation is what the scores of its part give, degraded ones where they are asked for, with the public lots', async () => {
  const [selection, set] = [await selectionPart(), await testPart()];
  const scorer = await createScorer({ model, networks, selection, fusion });
  const samples = await scorer.score(set);
  const { evaluation, calibrations, temperatures, robustness } = await evaluateModel({ model, networks, selection, set, fusion, degraded: true });
  expect(evaluation).toEqual(evaluateSamples(samples, fusion));
  expect(evaluation.samples).toBe(40);
  expect({ calibrations, temperatures }).toEqual({ calibrations: scorer.calibrations, temperatures: scorer.temperatures });
  expect(robustness).toEqual(evaluateRobustness(samples, { degraded: await scorer.scoreDegraded(set), rules: FUSION_RULES, spec: fusion, uniform: failingLots() }));
  expect(await evaluateModel({ model, networks, selection, set, fusion, degraded: false })).not.toHaveProperty('robustness');
});
