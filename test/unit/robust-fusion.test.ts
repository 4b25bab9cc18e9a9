import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEGRADATIONS } from '../../shared/fusion/degrade.ts';
import { evaluateRobustness, evaluateSamples } from '../../shared/fusion/evaluate.ts';
import { FUSION_RULES, type ScoredSamples } from '../../shared/fusion/evaluation.ts';
import { logSoftmax } from '../../shared/fusion/hybrid.ts';
import { fuse } from '../../shared/fusion/rules.ts';
import { seededUniform } from '../../shared/model/initialise.ts';
import { oneSample, records, spec } from '../support/fusion-samples.ts';

describe('the robust product', () => {
  const logits = fc.array(fc.double({ min: -12, max: 12, noNaN: true }), { minLength: 3, maxLength: 3 });

  it('is the stated formula, prior included', () => {
    const prior = [0.2, 0.3, 0.5];
    const [a, b] = [[1.2, -0.4, 0.3], [-0.7, 2.1, 0.2]];
    const [p, q] = [a, b].map((own) => logSoftmax(own).map(Math.exp)) as [Float64Array, Float64Array];
    const raw = prior.map((own, c) => own * ((0.93 * p[c]!) / own + 0.07) * ((0.93 * q[c]!) / own + 0.07));
    const total = raw.reduce((x, y) => x + y);
    const fused = fuse('robust', oneSample(a, b), { ...spec, prior: prior.map((own) => 3 * own) }).probabilities;
    raw.forEach((value, c) => {
      expect(fused[c]).toBeCloseTo(value / total, 6);
    });
    expect([...fuse('hybrid', oneSample(a, b), { ...spec, prior }).probabilities]).toEqual([...fuse('robust', oneSample(a, b), { ...spec, prior }).probabilities]);
  });

  it('is the plain product where nothing may be contaminated, and a modality alone where there is one (properties)', () => {
    fc.assert(
      fc.property(logits, logits, logits, (a, b, c) => {
        const robust = fuse('robust', oneSample(a, b, c), { ...spec, contamination: 0 }).probabilities;
        const product = fuse('product', oneSample(a, b, c), spec).probabilities;
        robust.forEach((value, k) => {
          expect(value).toBeCloseTo(product[k]!, 6);
        });
        const alone = fuse('robust', oneSample(a), { ...spec, contamination: 0 }).probabilities;
        logSoftmax(Float32Array.from(a)).forEach((log, k) => {
          expect(alone[k]).toBeCloseTo(Math.exp(log), 6);
        });
      }),
    );
  });

  it('gives no modality a veto: against two that agree, the surest third one changes the odds by no more than contamination allows (property)', () => {
    fc.assert(
      fc.property(fc.double({ min: 20, max: 600, noNaN: true }), (how) => {
        const two = [2.5, 0, -1];
        const without = fuse('robust', oneSample(two, two), spec);
        const against = fuse('robust', oneSample(two, two, [-how, how, 0]), spec);
        const odds = (p: Float64Array): number => Math.log(p[0]! / p[1]!);
        // The third says 1 for class 1 and 0 for class 0: a factor of contamination against (1 - contamination) classes + contamination.
        expect(odds(without.probabilities) - odds(against.probabilities)).toBeLessThan(Math.log((0.93 * 3 + 0.07) / 0.07) + 1e-6);
        const weights = ['m0', 'm1', 'm2'].map((name) => against.weights[name]![0]!);
        expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 9);
        expect(fuse('product', oneSample(two, two, [-how, how, 0]), spec).probabilities[0]).toBeLessThan(1e-6);
      }),
    );
  });

  it('weighs a modality by how probably it is sound: the one that contradicts two others has least', () => {
    const { weights } = fuse('robust', oneSample([4, 0, 0], [3, 0, 0], [0, 4, 0]), spec);
    expect(weights['m2']![0]).toBeLessThan(0.5 * weights['m0']![0]!);
  });
});

describe('robustness', () => {
  const { labels, clean } = records(900, 1, 9);
  const samples: ScoredSamples = { classes: 4, labels, modalities: { a: clean, b: { ...clean, logits: clean.logits.map((logit) => 0.8 * logit) } } };
  const useless = (modality: string) => DEGRADATIONS.map((degradation) => ({ modality, degradation, logits: clean.logits.map((_, k) => clean.logits[(k + 1004) % clean.logits.length]!), present: clean.present }));

  it('is the intact evaluation where what fails is as good as what does not, for every kind, share and rule', () => {
    const same = DEGRADATIONS.map((degradation) => ({ modality: 'a', degradation, ...clean }));
    const intact = evaluateSamples(samples, spec).fused;
    const found = evaluateRobustness(samples, { degraded: same, rules: FUSION_RULES, spec, uniform: seededUniform(1, 'share') });
    expect(found.map(({ degradation, share }) => `${degradation} ${share}`)).toEqual(DEGRADATIONS.flatMap((kind) => [0.1, 0.3, 0.5].map((share) => `${kind} ${share}`)));
    for (const { fused } of found) {
      for (const rule of FUSION_RULES) expect(fused[rule]).toEqual({ accuracy: intact[rule].accuracy, ece15: intact[rule].ece15, nll: intact[rule].nll });
    }
  });

  it('a modality that is missing for all of them leaves what the other says alone', () => {
    const gone = DEGRADATIONS.map((degradation) => ({ modality: 'a', degradation, logits: clean.logits, present: new Uint8Array(labels.length) }));
    const found = evaluateRobustness(samples, { degraded: gone, rules: ['product'], spec, uniform: () => 0 });
    const { b } = samples.modalities;
    expect(found[0]!.fused.product.ece15).toBeCloseTo(evaluateSamples({ ...samples, modalities: { b: b! } }, spec).fused.product.ece15, 12);
    expect(found[0]!.fused.product.ece15).not.toBeCloseTo(evaluateSamples(samples, spec).fused.product.ece15, 3);
  });

  it('fails the stated share of the samples, those whose lots are below it', () => {
    // Right where it is sound, wrong where it fails: accuracy counts the failing ones.
    const count = 40;
    const sound = { logits: Float32Array.from({ length: 2 * count }, (_, k) => (k % 2 === 0 ? 5 : 0)), present: new Uint8Array(count).fill(1) };
    const right: ScoredSamples = { classes: 2, labels: new Int32Array(count), modalities: { only: sound } };
    const wrong = DEGRADATIONS.map((degradation) => ({ modality: 'only', degradation, ...sound, logits: sound.logits.map((logit) => 5 - logit) }));
    let lot = 0;
    const found = evaluateRobustness(right, { degraded: wrong, rules: ['product', 'robust'], spec, uniform: () => ((7 * lot++) % count) / count });
    expect(found).toHaveLength(12);
    for (const { share, fused } of found) for (const { accuracy } of Object.values(fused)) expect(accuracy).toBeCloseTo(1 - share, 12);
  });

  it('is spared the rules that weigh reliability where a failing record shows, and those only', () => {
    const doubted = useless('a').map((one) => ({ ...one, reliability: new Float32Array(labels.length).fill(0.01) }));
    const [before] = evaluateRobustness(samples, { degraded: useless('a'), rules: FUSION_RULES, spec, uniform: () => 0 });
    const [after] = evaluateRobustness(samples, { degraded: doubted, rules: FUSION_RULES, spec, uniform: () => 0 });
    for (const rule of FUSION_RULES) {
      if (rule === 'hybrid' || rule === 'robust') expect(after!.fused[rule].accuracy).toBeGreaterThan(before!.fused[rule].accuracy + 0.1);
      else expect(after!.fused[rule]).toEqual(before!.fused[rule]);
    }
  });

  it('what says nothing is left out, as if it were missing, of the rules that weigh reliability', () => {
    const blank = DEGRADATIONS.map((degradation) => ({ modality: 'a', degradation, ...clean, reliability: new Float32Array(labels.length) }));
    const [found] = evaluateRobustness(samples, { degraded: blank, rules: ['robust', 'product'], spec, uniform: () => 0 });
    const { b } = samples.modalities;
    expect(found!.fused.robust.nll).toBeCloseTo(evaluateSamples({ ...samples, modalities: { b: b! } }, spec).fused.robust.nll, 12);
    expect(found!.fused.product.nll).toBe(evaluateSamples(samples, spec).fused.product.nll);
  });

  it('falls with the share that fails, and the robust product stays better calibrated than the plain one', () => {
    const found = evaluateRobustness(samples, { degraded: useless('a'), rules: FUSION_RULES, spec, uniform: seededUniform(1, 'share') });
    const [tenth, , half] = found.filter(({ degradation }) => degradation === 'swap');
    expect(half!.fused.product.accuracy).toBeLessThan(tenth!.fused.product.accuracy - 0.03);
    expect(half!.fused.robust.ece15).toBeLessThan(half!.fused.product.ece15);
  });
});
