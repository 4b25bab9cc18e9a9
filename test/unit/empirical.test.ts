import { beforeAll, describe, expect, it, vi } from 'vitest';
import { trainRound } from '../../client/train.ts';
import { makeCanaries } from '../../deploy/audit/canaries.ts';
import { auditEmpirically, type AuditedModality } from '../../deploy/audit/empirical.ts';
import { formatFindings, renderFindings } from '../../deploy/audit/findings.ts';
import { empiricalExitCode, empiricalFindings, empiricalJson } from '../../deploy/audit/empirical-report.ts';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { roundedUp } from '../../shared/privacy/accountant.ts';
import { freshBytes } from '../../shared/privacy/random.ts';
import type * as MechanismModule from '../../shared/privacy/mechanism.ts';
import { countCorrect, epsilonLowerBound } from '../../shared/privacy/one-run-audit.ts';
import { pldEpsilon } from '../../shared/privacy/pld.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { featuresOf } from '../support/features.ts';
import { auditStudy } from '../support/audit-study.ts';

type Mechanism = typeof MechanismModule;
type Mutant = 'none' | 'noise off' | 'clip off' | 'half the noise' | 'empty batch not noised';
const mutant = vi.hoisted((): { current: Mutant } => ({ current: 'none' }));

/** Deliberately broken mechanisms in the place of the real one, for everything that trains in this file; nothing outside of it can break it so. */
vi.mock('../../shared/privacy/mechanism.ts', async (load) => {
  const real = await load<Mechanism>();
  const planMechanism: Mechanism['planMechanism'] = (input) => {
    const plan = real.planMechanism(input);
    // The same absolute noise, and a bound that no gradient reaches.
    if (mutant.current === 'clip off') return real.planMechanism({ ...input, clipNorm: 1000 * input.clipNorm, noiseMultiplier: input.noiseMultiplier / 1000 });
    if (mutant.current === 'half the noise') return { ...plan, noiseStddevGrid: Math.ceil(plan.noiseStddevGrid / 2) };
    return plan;
  };
  const releaseNoisySum: Mechanism['releaseNoisySum'] = (plan, sum, random) => {
    const quiet = mutant.current === 'noise off' || (mutant.current === 'empty batch not noised' && sum.every((value) => value === 0));
    return quiet ? sum : real.releaseNoisySum(plan, sum, random);
  };
  return { ...real, planMechanism, releaseNoisySum };
});

async function broken<T>(kind: Mutant, work: () => Promise<T>): Promise<T> {
  mutant.current = kind;
  try {
    return await work();
  } finally {
    mutant.current = 'none';
  }
}

function audit(kind: Mutant, change: { readonly canaries?: number; readonly modality?: string } = {}): Promise<readonly AuditedModality[]> {
  return broken(kind, async () => {
    const rows = await auditEmpirically({ ...auditStudy(), primitives, canaries: change.canaries ?? 240, confidence: 0.95, modality: change.modality });
    for (const row of rows) console.log(`${kind}: ${row.modality}, claim ${row.claim.toFixed(3)}, ${row.correct} of ${row.guesses.included + row.guesses.excluded} right, bound ${row.lowerBound.toFixed(3)} (at most ${row.highestBound.toFixed(3)})`);
    return rows;
  });
}

beforeAll(async () => {
  await openBackend('wasm');
});

describe('the one-run audit of real training', () => {
  it('does not refute the claims of a mechanism that keeps them', async () => {
    const rows = await audit('none');
    expect(rows.map(({ modality, site }) => [modality, site])).toEqual([['signal', 'signal-1'], ['sample', 'sample-1']]);
    const { resolved } = auditStudy();
    for (const { modality, claim, lowerBound, highestBound, refuted } of rows) {
      const plan = resolved.modalities.get(modality);
      if (plan?.mechanism.protection !== 'local-noise') throw new Error('expected noise');
      const { samplingRate, noiseMultiplier, steps } = plan.mechanism;
      const event = { type: 'poisson-gaussian' as const, samplingRate, noiseMultiplier, steps: steps * plan.rounds };
      expect(claim).toBe(roundedUp(pldEpsilon({ events: [event], delta: 1e-5 })));
      expect(claim).toBeLessThan(2);
      expect(lowerBound).toBeLessThanOrEqual(claim);
      expect(highestBound).toBeGreaterThan(claim);
      expect(refuted).toBe(false);
    }
  });

  it('catches noise that is switched off', async () => {
    for (const { refuted, lowerBound, claim } of await audit('noise off')) {
      expect(lowerBound).toBeGreaterThan(claim);
      expect(refuted).toBe(true);
    }
  });

  it('catches clipping that is switched off', async () => {
    for (const { refuted } of await audit('clip off', { modality: 'sample' })) expect(refuted).toBe(true);
  });

  it('needs more than one run to see half the noise; the variance of what is released shows it at once', async () => {
    const [row] = await audit('half the noise', { modality: 'sample', canaries: 120 });
    expect(row?.highestBound).toBeGreaterThan(row?.claim ?? Infinity);
    // Said, not asserted: whether it is refuted is up to the coins; with so few canaries it hardly ever is.
    const network = auditStudy().networks.get('sample')!;
    const nobody: Dataset = { size: network.inputSize, features: new Float32Array(), labels: new Int32Array(), lines: new Int32Array(), patients: { ids: [], records: [] } };
    const [q, n, z, clipNorm, learningRate] = [0.3, 40, 1.7, 0.6, 0.2];
    const score = async (): Promise<number> => {
      let [squares, count] = [0, 0];
      for (let run = 0; run < 40; run += 1) {
        const mechanism = { protection: 'local-noise' as const, samplingRate: q, noiseMultiplier: z, clipNorm, steps: 1 };
        const update = await trainRound({ network, dataset: nobody, weights: network.initialise(1, 'sample'), mechanism, patients: n, learningRate, momentum: 0.9, random: createKeyStream() });
        for (const value of update) squares += ((value * q * n) / (learningRate * z * clipNorm)) ** 2;
        count += update.length;
      }
      return (squares / count - 1) / Math.sqrt(2 / count);
    };
    expect(Math.abs(await score())).toBeLessThan(6);
    expect(await broken('half the noise', score)).toBeLessThan(-50);
    expect(await broken('empty batch not noised', score)).toBeLessThan(-100);
  });

  it('catches an empty batch that is not noised, at sites that may have one patient or none', async () => {
    const [sites, q, z, delta] = [500, 0.5, 2.5, 1e-5];
    const { study, files, networks } = auditStudy();
    const site = study.sites[2]!;
    const network = networks.get('sample')!;
    const like = await buildDataset({ study, files, primitives, modality: 'sample', selection: site });
    const claim = pldEpsilon({ events: [{ type: 'poisson-gaussian', samplingRate: q, noiseMultiplier: z, steps: 1 }], delta });
    const random = createKeyStream();
    const bound = async (): Promise<number> => {
      const patient = await makeCanaries({ study, site, count: 1, like, files, primitives, random });
      const empty: Dataset = { ...patient, features: new Float32Array(), labels: new Int32Array(), lines: new Int32Array(), patients: { ids: [], records: [] } };
      const included = freshBytes(random, sites).map((byte) => byte & 1);
      const scores = new Float64Array(sites);
      for (let i = 0; i < sites; i += 1) {
        const mechanism = { protection: 'local-noise' as const, samplingRate: q, noiseMultiplier: z, clipNorm: 0.8, steps: 1 };
        const update = await trainRound({ network, dataset: included[i] === 1 ? patient : empty, weights: network.initialise(1, 'sample'), mechanism, patients: 1, learningRate: 0.1, momentum: 0, random });
        // An update of zeros: nobody was there, or nobody was sampled.
        scores[i] = update.some((value) => value !== 0) ? 1 : 0;
      }
      const guesses = { included: 80, excluded: 0 };
      return epsilonLowerBound({ canaries: sites, guesses: 80, correct: countCorrect({ scores, included, guesses }), delta }, 0.999);
    };
    const [sound, mutated] = [await bound(), await broken('empty batch not noised', bound)];
    console.log(`empty batches: claim ${claim.toFixed(3)}, bound ${sound.toFixed(3)} when they are noised, ${mutated.toFixed(3)} when not`);
    expect(sound).toBeLessThanOrEqual(claim);
    expect(mutated).toBeGreaterThan(claim);
  });
});

describe('canaries', () => {
  const { study, files } = auditStudy();
  const make = async (changed: Study, change: { readonly site?: number; readonly count?: number } = {}): Promise<Dataset> => {
    const site = changed.sites[change.site ?? 0]!;
    const like = await buildDataset({ study, files, primitives, modality: site.modality, selection: study.sites[change.site ?? 0]! });
    return makeCanaries({ study: changed, site, count: change.count ?? 50, like, files, primitives, random: createKeyStream() });
  };

  it('are patients of their own with one record each, at the ends of the transform, of every class', async () => {
    for (const site of [0, 1, 2]) {
      const made = await make(study, { site, count: 90 });
      expect(new Set(made.patients.ids).size).toBe(90);
      expect(made.patients.records.map((own) => [...own])).toEqual(Array.from({ length: 90 }, (_, i) => [i]));
      expect(new Set([...featuresOf(made)].map((value) => Math.round(value)))).toEqual(new Set([-40, 40]));
      expect(new Set(made.labels)).toEqual(new Set([0, 1, 2]));
    }
  });

  it('without a bound of the transform reach as far as the real records do', async () => {
    const changed = structuredClone(study);
    changed.modalities['signal']!.records.transform.clip = 1e6;
    const made = await make(changed);
    const largest = featuresOf(made).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largest).toBeLessThan(3);
    expect(largest).toBeGreaterThan(0.5);
  });

  it('pass whatever the study selects: columns in a csv, a row that is the patient, filters on the label and on features, records from files, text and Parquet', async () => {
    const text = (records: string, site: string, encoder: string): string => `antiphon: 1
name: other
classes: [red, green, blue]
modalities: { signal: { shape: [2], encoder: ${encoder}, records: ${records} } }
sites: [{ name: only, modality: signal, patients: 500, ${site} }]
schedule: { rounds: 2, localSteps: 1 }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: 0.1, delta: 0.00001, epsilon: 2 }
`;
    const like: Dataset = { size: 2, features: Float32Array.of(1, -3, 2, 0.5), labels: Int32Array.of(0, 1), lines: Int32Array.of(2, 3), patients: { ids: ['a', 'b'], records: [Int32Array.of(0), Int32Array.of(1)] } };
    const of = (records: string, site: string, encoder = '{ type: mlp }'): Promise<Dataset> => {
      const other = parseStudy(text(records, site, encoder), 'other.yaml');
      return makeCanaries({ study: other, site: other.sites[0]!, count: 40, like, files, primitives, random: createKeyStream() });
    };
    const oneFile = await of('{ index: a.csv, values: a.csv, columns: [u, v], patient: who, label: class, where: { class: [green, blue], v: 7 } }', 'where: { class: [red, green], hospital: "north, \\"old\\"" }');
    expect(new Set(oneFile.labels)).toEqual(new Set([1]));
    expect(new Set(featuresOf(oneFile).filter((_, i) => i % 2 === 1))).toEqual(new Set([7]));
    expect(new Set(featuresOf(oneFile).filter((_, i) => i % 2 === 0))).toEqual(new Set([-2, 2]));
    const tokens = await of('{ index: a.csv, text: { column: said }, patient: who, label: class }', 'share: { from: 0, to: 0.4 }', '{ type: embedding, vocabulary: 30 }');
    expect(new Set(featuresOf(tokens).map((token, i) => (i % 2 === 0 ? 0 : token - featuresOf(tokens)[i - 1]!)))).toEqual(new Set([0]));
    expect(new Set(featuresOf(tokens)).size).toBeGreaterThan(10);
    const twoFiles = await of('{ index: a.csv, values: b.csv, columns: [who, class], patient: who, label: class, row: at }', 'share: { from: 0.3, to: 0.4 }');
    expect(twoFiles.labels).toHaveLength(40);
    const rowIsPatient = await of('{ index: a.csv, values: b.npy, patient: who, label: class, row: who, transform: { clip: 2 } }', 'share: { from: 0, to: 0.2 }');
    expect(rowIsPatient.patients.ids).toHaveLength(40);
    expect(new Set(featuresOf(rowIsPatient))).toEqual(new Set([-2, 2]));
    for (const source of ['text: { column: said }', 'files: { format: text, column: path, folder: notes }', 'values: b.parquet, columns: [u, v]', 'values: b.npy, row: at']) {
      const read = await of(`{ index: a.parquet, ${source}, patient: who, label: class, where: { ward: 3 }, transform: { subtract: 1, clip: 4 } }`, 'share: { from: 0.2, to: 0.7 }');
      expect(read.labels).toHaveLength(40);
      expect(new Set(featuresOf(read))).toEqual(new Set([-4, 4]));
    }
    await expect(of('{ index: a.csv, values: b.npy, patient: who, label: class }', 'where: { who: somebody }')).rejects.toMatchObject({ code: 'study-invalid' });
  });
});

describe('the report', () => {
  const row: AuditedModality = { modality: 'image', site: 'north', claim: 3.4, delta: 1e-5, confidence: 0.95, canaries: 300, guesses: { included: 50, excluded: 50 }, correct: 71, lowerBound: 0.5, highestBound: 3.5, refuted: false };

  it('says what was claimed, what was found and what it means, and ends with 0', () => {
    const report = { study: 'made-up', rows: [row] };
    const text = formatFindings(empiricalFindings(report), { color: false });
    for (const part of ['image', '3.400', '71 of 100 (71 %)', '0.500', '3.500', 'proves none', '95 %']) expect(text).toContain(part);
    expect(text).not.toContain('take more --canaries');
    expect(empiricalExitCode(report)).toBe(0);
    expect(empiricalJson(report)).toMatchObject({ refuted: false, modalities: [{ claim: 3.4, lowerBound: 0.5, guesses: 100 }] });
  });

  it('is a page with the same words where one is asked for', async () => {
    const findings = empiricalFindings({ study: '<b>made-up', rows: [{ ...row, refuted: true }] });
    const page = await renderFindings(findings);
    for (const part of ['&lt;b&gt;made-up', '71 of 100 (71 %)', 'REFUTED: image', 'a release that no ledger counts']) expect(page).toContain(part);
    expect(page).not.toContain('<b>made-up');
    expect(page).not.toMatch(/(src|href)="http/);
  });

  it('ends with 24 where one claim is refuted, says when too few canaries could refute any, and writes no claim as null', () => {
    const refuted = { study: 'made-up', rows: [row, { ...row, modality: 'sound', claim: 0.4, refuted: true }] };
    expect(empiricalExitCode(refuted)).toBe(24);
    expect(formatFindings(empiricalFindings(refuted), { color: false })).toContain('REFUTED: sound');
    expect(formatFindings(empiricalFindings({ study: 'made-up', rows: [{ ...row, claim: 6 }] }), { color: false })).toContain('take more --canaries');
    const open = { study: 'made-up', rows: [{ ...row, claim: Infinity }] };
    expect(formatFindings(empiricalFindings(open), { color: false })).toContain('no privacy');
    expect(empiricalJson(open)).toMatchObject({ modalities: [{ claim: null }] });
  });
});
