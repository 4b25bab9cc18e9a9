import { describe, expect, it } from 'vitest';
import { checkPlan, judgeOffer } from '../../client/guard.ts';
import type { Limits, SpendEntry } from '../../client/limits.ts';
import { fromHex, toHex } from '../../shared/bytes.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import type { LedgerMechanism, PlanEntry } from '../../shared/ledger/entry.ts';
import type { LedgerState } from '../../shared/ledger/fold.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { Study } from '../../shared/study/schema.ts';
import { MECHANISM, STUDY } from '../support/ledger-builder.ts';
import { begunLedger, ledgerStudy, planOf } from '../support/ledger-study.ts';

const KEY = generateIdentity(primitives).publicKey;
const study = ledgerStudy();
const plan = planOf(study, KEY);
type Noisy = Extract<LedgerMechanism, { protection: 'local-noise' }>;

function withModality(name: 'image' | 'table', change: Partial<PlanEntry['modalities'][string]>): PlanEntry {
  return { ...plan, modalities: { ...plan.modalities, [name]: { ...plan.modalities[name]!, ...change } } };
}
function withMechanism(name: 'image' | 'table', change: Partial<Noisy>): PlanEntry {
  return withModality(name, { mechanism: { ...(MECHANISM as Noisy), ...change } });
}
const enrolled = { studyHash: STUDY, coordinatorKey: toHex(KEY) };
const problemOf = (of: PlanEntry, at: Study = study): string => checkPlan(of, { ...enrolled, study: at })?.message ?? 'accepted';

describe('the plan of a ledger', () => {
  it('is accepted as the study says it, and with more noise or a smaller budget', () => {
    expect(plan.modalities['image']?.mechanism).toEqual(MECHANISM);
    expect(problemOf(plan)).toBe('accepted');
    expect(problemOf(withMechanism('image', { noiseMultiplier: '1.71' }))).toBe('accepted');
    expect(problemOf({ ...plan, budget: { ...plan.budget, epsilon: '2.9' } })).toBe('accepted');
  });

  it.each<[string, PlanEntry, RegExp]>([
    ['less noise', withMechanism('image', { noiseMultiplier: '1.69' }), /noise of image/],
    ['less noise for another modality', withMechanism('table', { noiseMultiplier: '0.1' }), /noise of table/],
    ['a larger clip norm', withMechanism('table', { clipNorm: '0.91' }), /clip norm or noise of table/],
    ['a smaller clip norm', withMechanism('image', { clipNorm: '0.89' }), /clip norm or noise of image/],
    ['a higher sampling rate', withMechanism('image', { samplingRate: '0.21' }), /mechanism of image/],
    ['a lower sampling rate', withMechanism('table', { samplingRate: '0.19' }), /mechanism of table/],
    ['more steps', withMechanism('image', { steps: 4 }), /mechanism of image/],
    ['fewer steps', withMechanism('table', { steps: 2 }), /mechanism of table/],
    ['no protection', withModality('table', { mechanism: { protection: 'none', samplingRate: '0.2', steps: 3 } }), /mechanism of table/],
    ['more rounds of a modality', withModality('image', { rounds: 6 }), /rounds or disjointness of image/],
    ['a claim of disjoint sites', withModality('table', { sitesDisjoint: true }), /rounds or disjointness of table/],
    ['no claim where the study has one', withModality('image', { sitesDisjoint: false }), /rounds or disjointness of image/],
    ['a modality missing', { ...plan, modalities: { image: plan.modalities['image']! } }, /lacks the modality table/],
    ['more rounds', { ...plan, rounds: 11 }, /schedule/],
    ['another order', { ...plan, order: ['table', 'image'] }, /schedule/],
    ['one modality alone', { ...plan, order: ['image'] }, /schedule/],
    ['a larger budget', { ...plan, budget: { ...plan.budget, epsilon: '3.01' } }, /a budget of 3\.01 instead of 3/],
    ['a budget without end', { ...plan, budget: { ...plan.budget, epsilon: 'Infinity' } }, /a budget of Infinity/],
    ['a larger delta', { ...plan, budget: { ...plan.budget, delta: '0.0001' } }, /accountant or delta/],
    ['a smaller delta', { ...plan, budget: { ...plan.budget, delta: '0.000001' } }, /accountant or delta/],
    ['another accountant', { ...plan, accountant: { ...plan.accountant, binding: 'rdp' } }, /accountant or delta/],
    ['an order of Renyi DP at which nothing costs anything', { ...plan, accountant: { ...plan.accountant, rdpOrder: '0.5' } }, /the order 0\.5 of Renyi DP/],
    ['an order of Renyi DP that is none of ours', { ...plan, accountant: { ...plan.accountant, rdpOrder: '1e+21' } }, /the order 1e\+21 of Renyi DP/],
    ['another study', { ...plan, study: '77'.repeat(32) }, /the study or the key/],
    ['another coordinator', { ...plan, coordinatorKey: '77'.repeat(32) }, /the study or the key/],
    ['a site missing', { ...plan, sites: plan.sites.slice(1) }, /the sites/],
    ['a site more', { ...plan, sites: [...plan.sites, { name: 'd', modality: 'table', patients: 70 }] }, /the sites/],
    ['another cap of patients', { ...plan, sites: plan.sites.map((site) => ({ ...site, patients: site.patients - 1 })) }, /the sites/],
    ['a site of another modality', { ...plan, sites: plan.sites.map((site) => ({ ...site, modality: 'table' })) }, /the sites/],
  ])('is refused with %s', (_title, weaker, why) => {
    expect(problemOf(weaker)).toMatch(why);
    expect(checkPlan(weaker, { ...enrolled, study })?.code).toBe('ledger-invalid');
  });

  it('of a study that gives a budget and no noise has noise enough for every planned round', () => {
    const calibrated = ledgerStudy('epsilon: 3, noiseMultiplier: 1.7', 'epsilon: 3');
    const noise = (noiseMultiplier: string, epsilon = '3'): string => {
      const mechanism = { ...(MECHANISM as Noisy), noiseMultiplier };
      const modalities = Object.fromEntries(Object.entries(plan.modalities).map(([name, one]) => [name, { ...one, mechanism }]));
      return problemOf({ ...plan, modalities, budget: { ...plan.budget, epsilon } }, calibrated);
    };
    expect(noise('2')).toBe('accepted');
    expect(noise('1.7')).toMatch(/its noise gives epsilon \d.* for all planned rounds, the budget is 3/);
    expect(noise('1.7', '9')).toMatch(/a budget of 9 instead of 3/);
    expect(noise('2', '2.6')).toMatch(/its noise gives epsilon/);
  });

  it('of a study that gives its noise and no budget has the budget that the planned rounds spend, and no larger one', () => {
    const spending = ledgerStudy('epsilon: 3, noiseMultiplier: 1.7', 'noiseMultiplier: 1.7');
    const own = planOf(spending, KEY);
    expect(Number(own.budget.epsilon)).toBeCloseTo(3.4, 1);
    const withBudget = (epsilon: number): string => problemOf({ ...own, budget: { ...own.budget, epsilon: String(epsilon) } }, spending);
    expect(withBudget(Number(own.budget.epsilon))).toBe('accepted');
    expect(withBudget(3)).toBe('accepted');
    expect(withBudget(Number(own.budget.epsilon) + 0.01)).toMatch(/a budget of 3\.4\d* instead of 3\.\d+/);
    expect(withBudget(1000)).toMatch(/a budget of 1000 instead of/);
  });

  it('without privacy is accepted from a study without privacy alone', () => {
    const open = ledgerStudy('local-noise, clipNorm: 0.9, samplingRate: 0.2, delta: 0.00001, epsilon: 3, noiseMultiplier: 1.7', 'none, samplingRate: 0.2');
    const bare = planOf(open, KEY);
    expect(bare.budget.epsilon).toBe('Infinity');
    expect(problemOf(bare, open)).toBe('accepted');
    expect(problemOf(bare)).toMatch(/mechanism of image/);
  });
});

describe('an offer', () => {
  const builder = begunLedger();
  builder.add(builder.reserve('image', ['b']));
  builder.add(builder.outcome('abort', [], []));
  builder.add(builder.reserve('table', ['c']));
  builder.add(builder.outcome('abort', [], []));
  const between = builder.state;
  builder.add(builder.reserve('image', ['a', 'b']));
  const { state } = builder;
  const reserve = state.open?.hash ?? '';
  const keyOf = (name: string): string => toHex(builder.sites.get(name)?.publicKey ?? new Uint8Array(32));
  const judge = (change: { key?: string; round?: number; reserve?: string; site?: string; ledger?: LedgerState; limits?: Limits; log?: readonly SpendEntry[]; now?: number } = {}): string => {
    const { site = 'a', key = keyOf(site), ledger = state, limits = {}, log = [], now = Date.parse('2026-03-04T05:06:07.000Z') } = change;
    const offer = { type: 'offer', round: change.round ?? 3, reserve: fromHex(change.reserve ?? reserve, 32), roundKey: new Uint8Array(32), totalBytes: 8, deadlineMs: 1000 } as const;
    return judgeOffer(offer, { site, key, ledger, limits, log, now })?.code ?? 'accepted';
  };
  const spent = (time: string, delta = '0.00001'): SpendEntry => ({ type: 'spend', study: 'ab'.repeat(32), site: 'a', round: 1, reserve: '12'.repeat(32), time, modality: 'image', mechanism: MECHANISM, delta });

  it('of the open reserve, to a site of its cohort, is accepted', () => {
    expect(judge()).toBe('accepted');
    expect(judge({ site: 'b' })).toBe('accepted');
  });

  it('of another round or another reserve than the ledger has open is refused', () => {
    expect(judge({ round: 1 })).toBe('wrong-round');
    expect(judge({ round: 4 })).toBe('wrong-round');
    expect(judge({ reserve: '34'.repeat(32) })).toBe('wrong-round');
    expect(judge({ ledger: between })).toBe('ledger-invalid');
  });

  it('on a ledger that has enrolled another key under the site’s name is refused', () => {
    expect(judge({ key: toHex(KEY) })).toBe('wrong-key');
    expect(judge({ key: keyOf('b') })).toBe('wrong-key');
  });

  it('to a site that the reserve does not name is refused', () => {
    expect(judge({ site: 'c' })).toBe('wrong-site');
    expect(judge({ site: 'd' })).toBe('wrong-site');
  });

  it('on the word of a line behind the last signed head is refused', () => {
    const tail = begunLedger();
    tail.push(tail.reserve('image', ['a', 'b']));
    expect(judge({ round: 1, reserve: tail.state.open?.hash ?? '', ledger: tail.state })).toBe('ledger-invalid');
    tail.push(tail.head());
    expect(judge({ round: 1, reserve: tail.state.open?.hash ?? '', ledger: tail.state, key: toHex(tail.sites.get('a')!.publicKey) })).toBe('accepted');
  });

  it('beyond the limits of the data set is refused: the log, the clock and the delta of the study all count', () => {
    expect(judge({ limits: { minNoiseMultiplier: 1.71 } })).toBe('limits-exceeded');
    expect(judge({ limits: { minCohort: 3 } })).toBe('limits-exceeded');
    expect(judge({ limits: { maxRoundsPerDay: 1 }, log: [spent('2026-03-04T01:00:00.000Z')] })).toBe('limits-exceeded');
    expect(judge({ limits: { maxRoundsPerDay: 1 }, log: [spent('2026-03-02T01:00:00.000Z')] })).toBe('accepted');
    const earlier = [spent('2026-01-02T01:00:00.000Z'), { ...spent('2026-01-03T01:00:00.000Z'), reserve: '56'.repeat(32) }];
    expect(judge({ limits: { maxEpsilon: 2.5 } })).toBe('accepted');
    expect(judge({ limits: { maxEpsilon: 2.5 }, log: earlier })).toBe('limits-exceeded');
    expect(judge({ limits: { maxEpsilon: 2.5 }, log: earlier.map((entry) => ({ ...entry, delta: '0.05' })) })).toBe('limits-exceeded');
    expect(judge({ limits: { maxEpsilon: 2.5, delta: 0.05 }, log: earlier })).toBe('accepted');
    expect(judge({ limits: { maxEpsilon: 2.5, delta: 1e-9 } })).toBe('limits-exceeded');
  });
});
