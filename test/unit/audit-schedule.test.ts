import { beforeAll, expect, it } from 'vitest';
import { roundsThatFit } from '../../coordinator/budget.ts';
import { planEntry } from '../../coordinator/plan.ts';
import type { Checkpoint } from '../../coordinator/store/checkpoint.ts';
import { epsilonOfSteps, runInProcess, type TrainedRound } from '../../deploy/audit/in-process.ts';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import type { EnrolEntry } from '../../shared/ledger/entry.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { rdpEpsilon, roundedUp } from '../../shared/privacy/accountant.ts';
import { roundBounds } from '../../shared/study/adaptive.ts';
import { auditStudy } from '../support/audit-study.ts';

beforeAll(() => openBackend('wasm'));

type Parts = ReturnType<typeof auditStudy>;

async function trainedRounds(parts: Parts, rounds?: readonly TrainedRound[]): Promise<{ readonly seen: readonly TrainedRound[]; readonly checkpoint: Checkpoint }> {
  const datasets = new Map<string, Dataset>();
  for (const site of parts.study.sites) datasets.set(site.name, await buildDataset({ ...parts, primitives, modality: site.modality, selection: site }));
  const seen: TrainedRound[] = [];
  const checkpoint = await runInProcess(parts, { datasets, observe: ({ round, modality }) => void seen.push({ round, modality }), ...(rounds === undefined ? {} : { rounds }) });
  return { seen, checkpoint };
}

/** As the study's own ledger lets it train. */
function allowedRounds({ study, resolved }: Parts): number {
  const plan = planEntry({ study, resolved, studyHash: 'ab'.repeat(32), coordinatorKey: new Uint8Array(32) });
  const enrolled = (site: string, modality: string): EnrolEntry => ({ type: 'enrol', study: plan.study, site, modality, key: '', invite: '', signature: '', disjointFrom: [] });
  return roundsThatFit({ plan, sites: new Map(study.sites.map(({ name, modality }) => [name, enrolled(name, modality)])) }, roundBounds(study));
}

it.each(['rdp', 'pld'])('an audit trains as many rounds as the study itself would under the accountant that it binds: %s', async (accountant) => {
  const parts = auditStudy({ privacy: `{ protection: local-noise, clipNorm: 0.8, samplingRate: 0.3, delta: 0.00001, epsilon: 2.5, noiseMultiplier: 3.1, accountant: ${accountant} }`, rounds: 70 });
  const allowed = allowedRounds(parts);
  const { seen, checkpoint } = await trainedRounds(parts);
  expect(seen).toHaveLength(allowed);
  expect(checkpoint.round).toBe(allowed);
  expect(allowed).toBeGreaterThan(2);
  expect(allowed).toBeLessThan(70);
  // The two accountants differ here, or nothing would be shown.
  const { pld, rdp } = epsilonOfSteps(parts, new Map(parts.study.sites.map(({ name, modality }) => [name, seen.filter((one) => one.modality === modality).length])));
  expect(rdp).toBeGreaterThan(pld);
  expect(rdp <= 2.5).toBe(accountant === 'rdp');
});

it('steps are counted by both accountants, RDP at the order of the plan', () => {
  const { study, resolved } = auditStudy();
  const { mechanism } = resolved.modalities.get('sample')!;
  if (mechanism.protection === 'none') throw new Error('a noisy mechanism');
  const { pld, rdp } = epsilonOfSteps({ study, resolved }, new Map([['sample-1', 7]]));
  expect(rdp).toBe(roundedUp(rdpEpsilon({ events: [{ type: 'poisson-gaussian', samplingRate: 0.3, noiseMultiplier: mechanism.noiseMultiplier, steps: 7 }], delta: 1e-5, orders: [resolved.accountant.rdpOrder] }).epsilon));
  expect(pld).toBeLessThan(rdp);
  const open = auditStudy({ privacy: '{ protection: none, samplingRate: 0.5 }' });
  expect(epsilonOfSteps(open, new Map([['sample-1', 7]]))).toEqual({ pld: Infinity, rdp: Infinity });
});

it('references of a run train the rounds that it has committed, under their own numbers, and none beyond the last', async () => {
  const given = [{ round: 2, modality: 'sample' }, { round: 3, modality: 'sample' }, { round: 7, modality: 'signal' }, { round: 9, modality: 'sample' }];
  const parts = auditStudy({ rounds: 12 });
  const averaged: Parts = { ...parts, study: { ...parts.study, optimiser: { ...parts.study.optimiser, averageLast: 0.5 } } };
  const { seen, checkpoint } = await trainedRounds(averaged, given);
  expect(seen).toEqual(given);
  expect(checkpoint.round).toBe(9);
  // The last six of twelve are averaged: two of them were committed.
  expect(checkpoint.average?.rounds).toBe(2);
});
