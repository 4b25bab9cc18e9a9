import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reserveRound } from '../../coordinator/budget.ts';
import { beginRound } from '../../coordinator/round.ts';
import type { EntryBody, LedgerMechanism } from '../../shared/ledger/entry.ts';
import { sameMechanism } from '../../shared/ledger/mechanism.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { verifyLedger } from '../../shared/ledger/verify.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { agrees, epsilonOf, roundedUp } from '../../shared/privacy/accountant.ts';
import { planMechanism } from '../../shared/privacy/mechanism.ts';
import { LedgerBuilder, MECHANISM } from '../support/ledger-builder.ts';

/** Rules that are easily a little wrong: each of these once was, or could be, without any other test noticing. */

const codeOf = (builder: LedgerBuilder, body: EntryBody): string => {
  const { next } = builder.write(body);
  return isLedgerProblem(next) ? next.code : 'accepted';
};
const enrolled = (builder: LedgerBuilder, plan: EntryBody): LedgerBuilder => builder.add(plan, builder.enrolment('a', 'image'), builder.enrolment('b', 'image'));
const ofBudget = (budget: string): LedgerBuilder => {
  const builder = new LedgerBuilder();
  return enrolled(builder, builder.plan(budget));
};

describe('the budget', () => {
  const spent = ofBudget('3').reserve('image', ['a', 'b']).epsilonAfter.pld;

  it('holds to its last digit: what it is may be spent, not a millionth more', () => {
    const after = (budget: string): string => {
      const builder = ofBudget(budget);
      return codeOf(builder, builder.reserve('image', ['a', 'b']));
    };
    expect(Number(spent)).toBeGreaterThan(0.3);
    expect(after(spent)).toBe('accepted');
    for (const less of [1e-6, 0.001, 0.009]) expect(after(String(Number((Number(spent) - less).toFixed(6))))).toBe('budget-exceeded');
  });

  it('holds alike for the coordinator, who reserves what the ledger then takes: what it is, and not a millionth more', () => {
    const round = { round: 1, modality: 'image', sites: ['a', 'b'], mechanism: MECHANISM, modelIn: 'cd'.repeat(32) };
    const exact = ofBudget(spent);
    const decided = reserveRound(exact.state, round);
    if (decided.type !== 'reserve') throw new Error(decided.detail);
    expect(codeOf(exact, decided.entry)).toBe('accepted');
    const less = String(Number((Number(spent) - 1e-6).toFixed(6)));
    expect(reserveRound(ofBudget(less).state, round)).toMatchObject({ type: 'exhausted', detail: expect.stringContaining(`above the budget of ${less}`) as string });
  });

  it('holds for the last number of a ledger too, after a refund that states as much more as is let pass', () => {
    const builder = ofBudget(spent);
    builder.add(builder.reserve('image', ['a', 'b']));
    const refund = builder.outcome('abort', [], ['b']) as Extract<EntryBody, { type: 'abort' }>;
    expect(refund.epsilonSpent.pld).toBe(spent);
    builder.add({ ...refund, epsilonSpent: { ...refund.epsilonSpent, pld: String(Number((Number(spent) + 2e-6).toFixed(6))) } });
    expect(verifyLedger({ lines: builder.lines, primitives }).problem?.code).toBe('budget-exceeded');
  });
});

it('a ledger that states too little where PLD is not recomputed is found by its last number', () => {
  const long = (understated: boolean): ReturnType<typeof verifyLedger> => {
    const builder = new LedgerBuilder();
    builder.recomputePld = () => false;
    enrolled(builder, { ...builder.plan('9', { order: ['image'], modalities: { image: { mechanism: MECHANISM, rounds: 4000, sitesDisjoint: true }, table: { mechanism: MECHANISM, rounds: 0, sitesDisjoint: false } } }), rounds: 4000 });
    for (let round = 1; round <= 3; round += 1) {
      const reserve = builder.reserve('image', ['a', 'b']);
      const { pld } = understated && round === 3 ? builder.state.spent : reserve.epsilonAfter;
      builder.add({ ...reserve, epsilonAfter: { ...reserve.epsilonAfter, pld } });
      const { open, spent } = builder.state;
      builder.add({ type: 'abort', round, reserve: open?.hash ?? '', reason: 'quorum', refusals: [], epsilonSpent: spent });
    }
    return verifyLedger({ lines: builder.lines, primitives });
  };
  expect(long(false).problem).toBeUndefined();
  const { problem, lines } = long(true);
  expect(problem).toMatchObject({ code: 'wrong-epsilon', line: lines - 1 });
});

it('a mechanism is the same only in every number: rate, noise, clip norm, steps and protection', () => {
  const others: LedgerMechanism[] = [
    { ...MECHANISM, samplingRate: '0.21' },
    { ...MECHANISM, noiseMultiplier: '1.8' } as LedgerMechanism,
    { ...MECHANISM, clipNorm: '1.9' } as LedgerMechanism,
    { ...MECHANISM, steps: 4 },
    { protection: 'none', samplingRate: '0.2', steps: 3 },
  ];
  expect(sameMechanism(MECHANISM, { ...MECHANISM })).toBe(true);
  const builder = ofBudget('3');
  const reserve = builder.reserve('image', ['a', 'b']);
  for (const other of others) {
    expect(sameMechanism(MECHANISM, other)).toBe(false);
    expect(sameMechanism(other, MECHANISM)).toBe(false);
    expect(codeOf(builder, { ...reserve, mechanism: other })).toBe('wrong-mechanism');
  }
  builder.add(reserve);
  for (const other of others) expect(codeOf(builder, { ...builder.receipt('a'), mechanism: other })).toBe('wrong-mechanism');
});

it('nobody is combined twice, and nobody enrols inside a round', () => {
  const builder = new LedgerBuilder();
  builder.add(builder.plan(), builder.enrolment('a', 'image'));
  builder.add(builder.reserve('image', ['a']));
  expect(codeOf(builder, builder.enrolment('b', 'image'))).toBe('round-open');
  builder.push(builder.receipt('a'));
  expect(codeOf(builder, builder.outcome('commit', ['a', 'a']))).toBe('missing-receipt');
  expect(codeOf(builder, builder.outcome('commit', ['a']))).toBe('accepted');
});

it('stated and computed epsilon agree to two millionths, PLD besides to 2e-5 of the value, and no further', () => {
  for (const scale of [0.7, 1, 6]) {
    for (const sign of [1, -1]) {
      expect(agrees('pld', scale, scale * (1 + sign * 1.9e-5))).toBe(true);
      expect(agrees('pld', scale, scale * (1 + sign * 1e-3))).toBe(false);
      expect(agrees('pld', scale, scale + sign * (2.2e-5 * scale + 2e-6))).toBe(false);
      expect(agrees('rdp', scale, scale + sign * 1.9e-6)).toBe(true);
      expect(agrees('rdp', scale, scale + sign * 2.1e-6)).toBe(false);
    }
  }
  expect(agrees('pld', 1, Infinity)).toBe(false);
  expect(agrees('pld', Infinity, Infinity)).toBe(true);
  expect(agrees('rdp', NaN, NaN)).toBe(false);
});

it('epsilon is stated rounded up to the sixth decimal, never down', () => {
  expect([0.1234561, 0.1234569, 1e-9, 7.0000001, 0, 2.5].map(roundedUp)).toEqual([0.123457, 0.123457, 1e-6, 7.000001, 0, 2.5]);
  expect([Infinity, NaN].map(roundedUp)).toEqual([Infinity, NaN]);
  fc.assert(
    fc.property(fc.double({ min: 0, max: 50, noNaN: true }), (epsilon) => {
      const stated = roundedUp(epsilon);
      expect(stated).toBeGreaterThanOrEqual(epsilon * (1 - 1e-15));
      expect(stated - epsilon).toBeLessThan(1e-6 + 1e-14);
    }),
  );
  // As a ledger says it: above what its charges come to.
  const { epsilonAfter } = ofBudget('3').reserve('image', ['a', 'b']);
  const events = [{ type: 'poisson-gaussian', samplingRate: 0.2, noiseMultiplier: 1.7, steps: 3 }] as const;
  const truth = epsilonOf({ events, delta: 1e-5, rdpOrder: 6.5 });
  for (const accountant of ['pld', 'rdp'] as const) {
    expect(Number(epsilonAfter[accountant])).toBeGreaterThanOrEqual(truth[accountant]);
    expect(Number(epsilonAfter[accountant]) - truth[accountant]).toBeLessThan(1e-6);
  }
});

it('the noise is whole grid steps, rounded up: never less than the clip norm times the multiplier, never a step more', () => {
  const input = { parameters: 5000, clipNorm: 0.7, noiseMultiplier: 1.3, samplingRate: 0.2, patients: 300, steps: 4, longestReduction: 600, microBatch: 64 };
  for (const noiseMultiplier of [0.05, 0.9131, 1.3, 1.30001, 7.777, 123.4]) {
    for (const clipNorm of [0.7, 0.33, 5.1]) {
      const { gridStep, noiseStddevGrid, event } = planMechanism({ ...input, clipNorm, noiseMultiplier });
      expect(noiseStddevGrid * gridStep).toBeGreaterThanOrEqual(noiseMultiplier * clipNorm);
      expect((noiseStddevGrid - 1) * gridStep).toBeLessThan(noiseMultiplier * clipNorm);
      expect(gridStep * Math.sqrt(5000)).toBeLessThanOrEqual(1e-3 * clipNorm);
      expect(event).toEqual({ type: 'poisson-gaussian', samplingRate: 0.2, noiseMultiplier, steps: 4 });
    }
  }
  expect(() => planMechanism({ ...input, noiseMultiplier: 1e9 })).toThrow(/noise multiplier of 1000000000 is too large/);
});

it('what clipping leaves of the clip norm are its float32 and grid errors, term by term', () => {
  const input = { parameters: 5000, clipNorm: 0.7, noiseMultiplier: 1.3, samplingRate: 0.2, patients: 300, steps: 4, longestReduction: 600, microBatch: 64 };
  const { margin, clipThreshold, maxSampled, gridStep } = planMechanism(input);
  const u = 2 ** -24;
  expect(maxSampled).toBe(Math.ceil(60 + 10 * Math.sqrt(60) + 10));
  expect(gridStep).toBe(2 ** -17);
  const grid = (2 ** -17 * Math.sqrt(5000)) / 0.7;
  const relative = (found: number, expected: number): void => expect(Math.abs(found / expected - 1)).toBeLessThan(1e-9);
  relative(margin, u * 608 + grid + 2 * u * 66 * 148);
  relative(clipThreshold, 0.7 * (1 - margin));
  // (1 - margin)(1 + normError) + sumError + gridError <= 1: what the proof needs.
  expect((1 - margin) * (1 + u * 608) + 2 * u * 66 * 148 + grid).toBeLessThanOrEqual(1);
  relative(planMechanism({ ...input, longestReduction: 60_600 }).margin - margin, u * 60_000);
  relative(planMechanism({ ...input, microBatch: 564 }).margin - margin, 2 * u * 500 * 148);
  // Squares that are lost matter to a clip norm near 0 alone, in units of which the grid is what it was.
  const tiny = planMechanism({ ...input, clipNorm: 0.7 * 2 ** -40 });
  expect((tiny.margin - margin) / ((2 ** -62 * Math.sqrt(5000)) / (0.7 * 2 ** -40))).toBeCloseTo(1, 3);
  expect(() => planMechanism({ ...input, clipNorm: 1e-16 })).toThrow(/clip norm that is nearly 0/);
  expect(() => planMechanism({ ...input, longestReduction: 1_700_000 })).toThrow(/float32 errors could reach 10/);
});

it.each([
  [0.28, 25, 7],
  [0.07, 100, 7],
  [0.29, 25, 8],
  [1 / 3, 9, 3],
  [0.001, 30, 1],
  [1, 6, 6],
])('a quorum of %f of %i sites is %i, whatever the product rounds to', (quorum, sites, needed) => {
  expect(beginRound(3, Array.from({ length: sites }, (_, i) => `s${i}`), quorum).needed).toBe(needed);
});
