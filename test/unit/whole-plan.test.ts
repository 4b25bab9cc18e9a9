import { describe, expect, it } from 'vitest';
import { createShortageWatch, reserveRound, roundsThatFit } from '../../coordinator/budget.ts';
import type { PlanEntry } from '../../shared/ledger/entry.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { pldOfCharges, plannedCharges, wholePlanFits, wholePlanPld } from '../../shared/ledger/spending.ts';
import { roundedUp } from '../../shared/privacy/accountant.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import { LedgerBuilder, MECHANISM } from '../support/ledger-builder.ts';
import { ledgerStudy } from '../support/ledger-study.ts';

/** Image at a sampling rate of 0.2, tables at 0.5; `signed`: what the image sites sign of each other. */
function ledger({ budget, signed = '*', binding = 'pld', alike = false }: { readonly budget: string; readonly signed?: string; readonly binding?: 'pld' | 'rdp'; readonly alike?: boolean }): LedgerBuilder {
  const builder = new LedgerBuilder();
  const plan: Partial<PlanEntry> = {
    accountant: { binding, pld: 'antiphon-pld-1', rdpOrder: '6.5' },
    modalities: { image: { mechanism: MECHANISM, rounds: 5, sitesDisjoint: true }, table: { mechanism: alike ? MECHANISM : { ...MECHANISM, samplingRate: '0.5' }, rounds: 5, sitesDisjoint: false } },
  };
  const own = signed === '' ? [] : [signed];
  return builder.add(builder.plan(budget, plan), builder.enrolment('a', 'image', own), builder.enrolment('b', 'image', own), builder.enrolment('c', 'table'));
}
const codeOf = (builder: LedgerBuilder): string => {
  const { next } = builder.write(builder.reserve('image', ['a', 'b']));
  return isLedgerProblem(next) ? next.code : 'accepted';
};
const decision = (builder: LedgerBuilder): ReturnType<typeof reserveRound> => reserveRound(builder.state, { round: 1, modality: 'image', sites: ['a'], mechanism: MECHANISM, modelIn: 'cd'.repeat(32) });

describe('a plan that binds PLD and whose modalities differ', () => {
  it('runs only where all of it fits, with every enrolled site in every round of its modality', () => {
    const { state } = ledger({ budget: '3' });
    const planned = wholePlanPld(state)!;
    // 15 steps at 0.2 and 15 at 0.5 of the one patient who is at a (or b) and at c.
    expect([...plannedCharges(state)]).toEqual([['a', 15], ['b', 15], ['c', 15]]);
    expect(planned).toBe(roundedUp(pldOfCharges(state, new Map([['a', 15], ['c', 15]]))));
    expect(codeOf(ledger({ budget: String(planned) }))).toBe('accepted');
    const short = ledger({ budget: (0.99 * planned).toFixed(6) });
    // The first round alone would be far below the budget.
    expect(Number(short.reserve('image', ['a', 'b']).epsilonAfter.pld)).toBeLessThan(0.7 * planned);
    expect(codeOf(short)).toBe('budget-exceeded');
    expect(decision(short)).toMatchObject({ type: 'exhausted', detail: expect.stringMatching(/^modalities differ in sampling rate or noise, .* privacy\.accountant: rdp$/) as unknown });
  });

  it('does not run where sites that might share a patient make it larger than planned, which the coordinator says at their enrolment', () => {
    const { state } = ledger({ budget: '3' });
    const budget = String(wholePlanPld(state)!);
    const unsigned = ledger({ budget, signed: '' });
    expect(wholePlanPld(unsigned.state)).toBeGreaterThan(1.05 * Number(budget));
    expect(codeOf(unsigned)).toBe('budget-exceeded');
    const bounds = new Map([['image', { least: 5, most: 5 }], ['table', { least: 5, most: 5 }]]);
    expect(roundsThatFit(unsigned.state, bounds)).toBe(0);
    expect(createShortageWatch(bounds)(unsigned.state)).toMatch(/^no round can run: modalities differ/);
    expect(roundsThatFit(ledger({ budget }).state, bounds)).toBe(10);
  });

  it('needs no such rule where all steps are alike, or RDP is what counts: there the budget ends it', () => {
    for (const kind of [{ alike: true }, { binding: 'rdp' }] as const) {
      const builder = ledger({ budget: '5', signed: '', ...kind });
      expect(wholePlanPld(builder.state)).toBeUndefined();
      expect(wholePlanFits(builder.state)).toBe(true);
      expect(codeOf(builder)).toBe('accepted');
      expect(decision(builder).type).toBe('reserve');
    }
  });
});

it('of an adaptive plan so many rounds fit as fit whichever modality gets them', () => {
  const steps = (count: number): PlanEntry['modalities'][string]['mechanism'] => ({ ...MECHANISM, steps: count });
  const modalities = { image: { mechanism: steps(2), rounds: 8, sitesDisjoint: true }, table: { mechanism: steps(9), rounds: 8, sitesDisjoint: false } };
  const planned = (budget: string, schedule: Partial<PlanEntry>): LedgerBuilder => {
    const one = new LedgerBuilder();
    return one.add(one.plan(budget, { modalities, ...schedule }), one.enrolment('a', 'image'), one.enrolment('b', 'image'), one.enrolment('c', 'table'));
  };
  const bounds = new Map([['image', { least: 2, most: 8 }], ['table', { least: 2, most: 8 }]]);
  const spent = (image: number, table: number): number => roundedUp(pldOfCharges(planned('3', {}).state, new Map([['a', 2 * image], ['b', 2 * image], ['c', 9 * table]])));
  // In turn all ten rounds fit; were the dear modality to get eight, only some.
  const budget = String(spent(5, 5));
  expect(roundsThatFit(planned(budget, {}).state, bounds)).toBe(10);
  const rounds = roundsThatFit(planned(budget, { schedule: 'adaptive' }).state, bounds);
  expect(rounds).toBeLessThan(10);
  expect(rounds).toBeGreaterThan(0);
  expect(spent(0, rounds)).toBeLessThanOrEqual(Number(budget));
  expect(roundsThatFit(planned(String(spent(2, 8)), { schedule: 'adaptive' }).state, bounds)).toBe(10);
});

describe('a study with noise, budget and different sampling rates', () => {
  const budgetOf = (privacy: string, rate: string): number => resolveStudy(ledgerStudy('epsilon: 3, noiseMultiplier: 1.7', privacy, rate)).budget.epsilon;

  it('is refused where its rounds do not fit, unless it binds RDP or samples all modalities alike', () => {
    const given = 'epsilon: 0.5, noiseMultiplier: 1.1';
    const other = ', samplingRate: 0.35';
    expect(() => budgetOf(given, other)).toThrow(/^the planned rounds spend epsilon [\d.]+ at a noise multiplier of 1\.1, above privacy\.epsilon 0\.5: where modalities differ in samplingRate, PLD holds only if the whole plan fits/);
    expect(budgetOf(given, '')).toBe(0.5);
    expect(budgetOf(`${given}, accountant: rdp`, other)).toBe(0.5);
    expect(budgetOf('epsilon: 50, noiseMultiplier: 1.1', other)).toBe(50);
  });
});
