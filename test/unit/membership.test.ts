import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { attackModel, type MembershipRow } from '../../deploy/audit/membership.ts';
import { gatherCrowd, type Records } from '../../deploy/audit/crowd.ts';
import { drawSides, referenceStudy } from '../../deploy/audit/references.ts';
import { runInProcess } from '../../deploy/audit/in-process.ts';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { areaUnderRoc, chanceDeviation, confidenceOf, liraScore, operatingPoint, rmiaScore } from '../../shared/privacy/membership.ts';
import { auditStudy } from '../support/audit-study.ts';

describe('the area under the curve', () => {
  const scores = fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 40 }).map((values) => Float64Array.from(values));

  it('is what a small case gives by hand, ties counted half', () => {
    // Pairs: 3 beats 1, 2; ties with 3. 1 ties with 1.
    expect(areaUnderRoc({ members: Float64Array.of(3, 1), nonMembers: Float64Array.of(1, 2, 3) })).toBeCloseTo((2 + 0.5 + 0.5) / 6, 15);
    expect(chanceDeviation({ members: new Float64Array(2), nonMembers: new Float64Array(3) })).toBeCloseTo(Math.sqrt(6 / 72), 15);
  });

  it('is the share of pairs in order, turns over with the sides, and does not see a monotone change of the scores', () => {
    fc.assert(fc.property(scores, scores, (members, nonMembers) => {
      let pairs = 0;
      for (const a of members) for (const b of nonMembers) pairs += a > b ? 1 : a === b ? 0.5 : 0;
      const area = areaUnderRoc({ members, nonMembers });
      expect(area).toBeCloseTo(pairs / (members.length * nonMembers.length), 12);
      expect(areaUnderRoc({ members: nonMembers, nonMembers: members })).toBeCloseTo(1 - area, 12);
      expect(areaUnderRoc({ members: members.map((x) => x ** 3 - 7), nonMembers: nonMembers.map((x) => x ** 3 - 7) })).toBeCloseTo(area, 12);
    }));
  });
});

describe('an operating point', () => {
  const members = Float64Array.from({ length: 50 }, (_, i) => i + 0.5);
  const nonMembers = Float64Array.from({ length: 200 }, (_, i) => i / 5);

  it('takes as many members as it can with so many false positives', () => {
    // Non-members at 39.8, 39.6, ...; one per cent of 200 are two: the threshold is above 39.4, members from 39.5 on are found.
    expect(operatingPoint({ members, nonMembers }, 0.01)).toEqual({ rate: 0.01, resolved: true, truePositives: 11, falsePositives: 2 });
  });

  it('says when there are too few non-members, and counts what is found without a false positive', () => {
    expect(operatingPoint({ members, nonMembers }, 0.001)).toEqual({ rate: 0.001, resolved: false, truePositives: 10, falsePositives: 0 });
    expect(operatingPoint({ members, nonMembers: Float64Array.from({ length: 3000 }, () => 0) }, 0.001).resolved).toBe(true);
  });

  it('never exceeds its rate, whatever the ties', () => {
    const scores = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 60 }).map((values) => Float64Array.from(values));
    fc.assert(fc.property(scores, scores, fc.double({ min: 0, max: 0.99, noNaN: true }), (some, others, rate) => {
      const { truePositives, falsePositives } = operatingPoint({ members: some, nonMembers: others }, rate);
      expect(falsePositives).toBeLessThanOrEqual(rate * others.length + 1e-9);
      expect(truePositives).toBeLessThanOrEqual(some.length);
    }));
    expect(operatingPoint({ members: Float64Array.of(1, 1), nonMembers: Float64Array.of(1, 1, 0) }, 0.5)).toMatchObject({ truePositives: 0, falsePositives: 0 });
    expect(operatingPoint({ members: Float64Array.of(1, 1), nonMembers: Float64Array.of(1, 1, 0) }, 1)).toMatchObject({ truePositives: 2, falsePositives: 3 });
  });
});

it('scores of one subject are those of the papers', () => {
  const of = (probability: number) => confidenceOf(Float64Array.of(probability, 1 - probability), 0);
  expect(of(0.8).logOdds).toBeCloseTo(Math.log(4), 14);
  // p(x) = (1.3 * 0.4 + 0.7) / 2 = 0.61.
  expect(rmiaScore(of(0.8), [of(0.3), of(0.5)])).toBeCloseTo(0.8 / 0.61, 14);
  expect(liraScore(of(0.8), [of(0.2), of(0.8)])).toBeCloseTo(Math.log(4), 14);
  // Certain beyond a double's digits, and still ordered.
  expect(confidenceOf(Float64Array.of(1, 1e-30), 0).logOdds).toBeGreaterThan(confidenceOf(Float64Array.of(1, 1e-20), 0).logOdds);
  expect(Number.isFinite(confidenceOf(Float64Array.of(1, 0), 1).logOdds)).toBe(true);
});

async function recordsOf({ study, files }: ReturnType<typeof auditStudy>): Promise<Records> {
  const [training, test] = [new Map<string, Dataset>(), new Map<string, Dataset>()];
  const read = (modality: string, selection: Parameters<typeof buildDataset>[0]['selection']): Promise<Dataset> => buildDataset({ study, files, primitives, modality, selection, sampleColumn: 'patient' });
  for (const site of study.sites) training.set(site.name, await read(site.modality, site));
  for (const modality of Object.keys(study.modalities)) test.set(modality, await read(modality, { where: { split: 'test' } }));
  return { training, test };
}

describe('the subjects', () => {
  it('are every training patient and every test patient, once, with the records of both modalities', async () => {
    const parts = auditStudy();
    const crowd = gatherCrowd(parts.study, await recordsOf(parts));
    expect(crowd.patients).toHaveLength(150);
    expect(new Set(crowd.patients).size).toBe(150);
    expect(crowd.member.reduce((a, b) => a + b, 0)).toBe(90);
    for (const { present } of Object.values(crowd.modalities)) expect(present.every((has) => has === 1)).toBe(true);
    // Everybody's class follows from their number.
    crowd.patients.forEach((patient, i) => expect(crowd.labels[i]).toBe(Number(patient.slice(1)) % 3));
  });

  it('of the test part are left out where a site has the same patient', async () => {
    const parts = auditStudy();
    const { training, test } = await recordsOf(parts);
    const [site] = parts.study.sites;
    const overlapping = new Map([...test, ['signal', training.get(site?.name ?? '')!]]);
    const crowd = gatherCrowd(parts.study, { training, test: overlapping });
    expect(crowd.patients).toHaveLength(150);
    expect(crowd.modalities['signal']?.present.reduce((a, b) => a + b, 0)).toBe(90);
  });

  it('are in exactly one of a pair of references, in every modality, with all their records', async () => {
    const parts = auditStudy();
    const records = await recordsOf(parts);
    const sides = drawSides(records, createKeyStream());
    const halves = [0, 1].map((side) => referenceStudy(parts.study, { records, sides, side }));
    for (const modality of ['signal', 'sample']) {
      const names = parts.study.sites.filter((site) => site.modality === modality).map(({ name }) => name);
      const ids = halves.map(({ datasets }) => names.flatMap((name) => datasets.get(name)?.patients.ids ?? []));
      expect(ids.flat()).toHaveLength(150);
      expect(new Set(ids.flat()).size).toBe(150);
      ids.forEach((half, side) => { for (const id of half) expect(sides.get(id)).toBe(side); });
      const count = (datasets: Iterable<Dataset | undefined>): number => [...datasets].reduce((sum, dataset) => sum + (dataset?.labels.length ?? 0), 0);
      const before = count([...names.map((name) => records.training.get(name)), records.test.get(modality)]);
      expect(halves.reduce((sum, { datasets }) => sum + count(names.map((name) => datasets.get(name))), 0)).toBe(before);
    }
    for (const { study, datasets } of halves) for (const { name, patients } of study.sites) expect(datasets.get(name)?.patients.ids.length).toBeLessThanOrEqual(patients);
  });
});

describe('attacks on models that were really trained', () => {
  beforeAll(async () => {
    await openBackend('wasm');
  });

  async function attack(privacy: string, change: { rounds: number; localSteps: number; learningRate: number }): Promise<readonly MembershipRow[]> {
    const parts = auditStudy({ privacy, noise: 2, ...change });
    const records = await recordsOf(parts);
    const { model } = await runInProcess(parts, { datasets: records.training });
    const rows = await attackModel(parts, { model, records, references: 4 });
    console.log(rows.map(({ on, attack: name, auc, chance, points }) => `${on} ${name}: ${auc.toFixed(3)} (chance ${chance.toFixed(3)}), ${points.map(({ truePositives }) => truePositives).join('/')}`).join('\n'));
    return rows;
  }

  it('find the members of a model that has learnt them by heart, in every modality and fused', async () => {
    const rows = await attack('{ protection: none, samplingRate: 1 }', { rounds: 20, localSteps: 12, learningRate: 0.3 });
    expect(rows.map(({ on }) => on)).toEqual(['signal', 'signal', 'signal', 'sample', 'sample', 'sample', 'fused', 'fused', 'fused']);
    for (const { on, members, nonMembers, auc, chance, points } of rows) {
      expect([members, nonMembers]).toEqual([90, 60]);
      expect(auc).toBeGreaterThan(0.5 + (on === 'fused' ? 5 : 2) * chance);
      // Sixty cannot show a rate of one in a hundred.
      expect(points.map(({ resolved }) => resolved)).toEqual([false, false]);
    }
  });

  it('find nobody in a private model of epsilon 1', async () => {
    const rows = await attack('{ protection: local-noise, clipNorm: 1, samplingRate: 0.5, delta: 0.00001, epsilon: 1 }', { rounds: 10, localSteps: 5, learningRate: 0.1 });
    for (const { auc, chance } of rows) expect(Math.abs(auc - 0.5)).toBeLessThan(4 * chance);
  });
});
