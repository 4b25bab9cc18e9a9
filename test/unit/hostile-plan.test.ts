import { describe, expect, it } from 'vitest';
import type { EntryBody, LedgerMechanism, PlanEntry } from '../../shared/ledger/entry.ts';
import { formatLine } from '../../shared/ledger/line.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { chargesIfReserved, statedSpending } from '../../shared/ledger/spending.ts';
import { verifyLedger } from '../../shared/ledger/verify.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { rdpEpsilon } from '../../shared/privacy/accountant.ts';
import { isRdpOrder, rdpOfEvent, rdpOfStep } from '../../shared/privacy/rdp.ts';
import { LedgerBuilder, MECHANISM } from '../support/ledger-builder.ts';
import { ledgerStudy } from '../support/ledger-study.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';

const UNPROTECTED: LedgerMechanism = { protection: 'none', samplingRate: '0.2', steps: 3 };
const order = (rdpOrder: string): Partial<PlanEntry> => ({ accountant: { binding: 'rdp', pld: 'antiphon-pld-1', rdpOrder } });
const image = (mechanism: LedgerMechanism): Partial<PlanEntry> => ({
  modalities: { image: { mechanism, rounds: 5, sitesDisjoint: true } },
  sites: [{ name: 'a', modality: 'image', patients: 90 }],
  order: ['image'],
});

function codeOf(change: Partial<PlanEntry>): string {
  const builder = new LedgerBuilder();
  const { next } = builder.write(builder.plan('3', change));
  return isLedgerProblem(next) ? next.code : 'accepted';
}

describe('a PLAN without meaning is refused as the first line, whoever signed it', () => {
  it.each<[string, Partial<PlanEntry>, string]>([
    ['RDP of order 0', order('0'), 'not-an-entry'],
    ['RDP of order 0.5', order('0.5'), 'not-an-entry'],
    ['RDP of order 1', order('1'), 'not-an-entry'],
    ['RDP of order -5', order('-5'), 'not-an-entry'],
    ['RDP of order 1025', order('1025'), 'not-an-entry'],
    ['RDP of order 1e21', order('1e+21'), 'not-an-entry'],
    ['RDP of order Infinity', order('Infinity'), 'not-an-entry'],
    ['no modality in turn', { order: [] }, 'bad-plan'],
    ['a modality in turn that is none', { order: ['image', 'sound'] }, 'bad-plan'],
    ['a modality in turn that every object has', { order: ['constructor'] }, 'bad-plan'],
    ['a site of a modality that every object has', { sites: [{ name: 'a', modality: 'toString', patients: 9 }] }, 'bad-plan'],
    ['two sites of one name', { sites: [{ name: 'a', modality: 'image', patients: 9 }, { name: 'a', modality: 'table', patients: 9 }] }, 'bad-plan'],
    ['delta 0', { budget: { delta: '0', epsilon: '3' } }, 'bad-plan'],
    ['delta 1', { budget: { delta: '1', epsilon: '3' } }, 'bad-plan'],
    ['delta below 0', { budget: { delta: '-0.1', epsilon: '3' } }, 'bad-plan'],
    ['delta Infinity', { budget: { delta: 'Infinity', epsilon: '3' } }, 'bad-plan'],
    ['no budget', { budget: { delta: '0.00001', epsilon: 'Infinity' } }, 'bad-plan'],
    ['a budget below 0', { budget: { delta: '0.00001', epsilon: '-3' } }, 'bad-plan'],
    ['a finite budget without any protection', image(UNPROTECTED), 'bad-plan'],
  ])('%s', (_what, change, code) => {
    expect(codeOf(change)).toBe(code);
  });

  it('while one that protects all, or nothing and says so, is accepted', () => {
    expect(codeOf(order('1024'))).toBe('accepted');
    expect(codeOf(order('1.01'))).toBe('accepted');
    expect(codeOf({ ...image(UNPROTECTED), budget: { delta: '0', epsilon: 'Infinity' } })).toBe('accepted');
  });
});

it.each<[string, Partial<Extract<LedgerMechanism, { protection: 'local-noise' }>>]>([
  ['9007199254740991 steps', { steps: 9007199254740991 }],
  ['every patient in each of a million steps', { samplingRate: '1', steps: 1_000_000 }],
  ['more patients than there are', { samplingRate: '1.5' }],
  ['noise of 1e-4', { noiseMultiplier: '0.0001', steps: 100_000 }],
  ['no noise', { noiseMultiplier: '0' }],
  ['noise below zero', { noiseMultiplier: '-1.7' }],
  ['noise of 0.06 over a hundred million steps', { samplingRate: '0.00001', noiseMultiplier: '0.06', steps: 123_456_789 }],
])('a ledger whose mechanism has %s ends as a false sum: no crash, no hang, no small epsilon', (_what, change) => {
  const mechanism = { ...MECHANISM, ...change } as LedgerMechanism;
  const builder = new LedgerBuilder();
  builder.add(builder.plan('3', image(mechanism)), builder.enrolment('a', 'image'));
  const reserve: EntryBody = { ...builder.reserve('image', ['a']), mechanism, epsilonAfter: { delta: '0.00001', pld: '1', rdp: '1' } };
  const lines = [...builder.lines, formatLine({ index: builder.state.length, time: '2026-01-02T03:04:05.678Z', body: reserve })];
  expect(verifyLedger({ lines, primitives }).problem?.code).toBe('wrong-epsilon');
});

it('RDP of numbers that describe no mechanism, or of no order, is infinite: at the edges too, and alone', () => {
  for (const [q, sigma] of [[1.0001, 2], [0, 2], [-0.1, 2], [NaN, 2], [0.2, 0], [0.2, -1], [0.2, NaN]] as const) expect(rdpOfStep(q, sigma, 8), `${q} ${sigma}`).toBe(Infinity);
  for (const order of [1, 0.5, 0, -3, 1024.001, 1025, Infinity, NaN]) expect(rdpOfStep(0.2, 2, order), `order ${order}`).toBe(Infinity);
  for (const order of [1.01, 8, 1024]) expect(rdpOfStep(0.2, 2, order)).toBeLessThan(Infinity);
  // Everybody in every step: the plain Gaussian, however much noise.
  expect(rdpOfStep(1, 2, 8)).toBe(1);
  expect(rdpOfStep(1, 1e200, 8)).toBeGreaterThan(0);
  expect(rdpOfStep(0.2, 1e200, 8)).toBeGreaterThan(0);
  for (const steps of [1.5, -1, NaN, Infinity, 2 ** 53]) expect(rdpOfEvent({ type: 'poisson-gaussian', samplingRate: 0.2, noiseMultiplier: 2, steps }, [8])[0], `${steps} steps`).toBe(Infinity);
});

it('RDP at one order is not another’s of before, and epsilon is the least over the orders and never below 0', () => {
  const event = { type: 'poisson-gaussian', samplingRate: 0.2, noiseMultiplier: 2, steps: 3 } as const;
  const at = (order: number): number => rdpOfEvent(event, [order])[0]!;
  expect(at(3)).toBeLessThan(at(7));
  expect([...rdpOfEvent(event, [7, 3])]).toEqual([at(7), at(3)]);
  // Below an order of noise too small to integrate: the chord, an upper bound between its ends.
  const small = (order: number): number => (order - 1) * rdpOfStep(0.1, 0.04, order);
  for (const share of [0.25, 0.75]) expect(small(5 + share)).toBeCloseTo((1 - share) * small(5) + share * small(6), 6);
  expect(small(1.5)).toBeCloseTo(small(2) / 2, 6);
  const epsilons = [2.5, 6, 20].map((order) => rdpEpsilon({ events: [event], delta: 1e-5, orders: [order] }).epsilon);
  expect(rdpEpsilon({ events: [event], delta: 1e-5, orders: [2.5, 6, 20] })).toEqual({ epsilon: Math.min(...epsilons), order: [2.5, 6, 20][epsilons.indexOf(Math.min(...epsilons))] });
  expect(rdpEpsilon({ events: [{ ...event, noiseMultiplier: 1e5 }], delta: 0.5, orders: [2, 3] }).epsilon).toBe(0);
  expect(rdpEpsilon({ events: [], delta: 1e-5 }).epsilon).toBe(0);
});

it('a release without protection is infinite by both accountants: a finite PLD beside an honest RDP is a false sum', () => {
  const builder = new LedgerBuilder();
  const plan = builder.plan();
  builder.add({ ...plan, modalities: { ...plan.modalities, table: { mechanism: UNPROTECTED, rounds: 5, sitesDisjoint: false } }, order: ['table', 'image'] }, builder.enrolment('c', 'table'));
  const truth = statedSpending(builder.state, chargesIfReserved(builder.state, { sites: ['c'], mechanism: UNPROTECTED }));
  expect(truth).toMatchObject({ pld: 'Infinity', rdp: 'Infinity' });
  const reserve = { ...builder.reserve('table', ['c']), mechanism: UNPROTECTED };
  expect(builder.write({ ...reserve, epsilonAfter: { ...truth, pld: '1' } }).next).toMatchObject({ code: 'wrong-epsilon' });
  expect(builder.write({ ...reserve, epsilonAfter: truth }).next).toMatchObject({ code: 'budget-exceeded' });
});

it('what is no order of RDP, and what is no rate or noise, is charged as infinite', () => {
  for (const wrong of [-5, 0, 0.5, 1, 1024.5, 1e21, Infinity, NaN]) {
    expect(isRdpOrder(wrong)).toBe(false);
    expect(rdpOfStep(0.2, 1.7, wrong)).toBe(Infinity);
    expect(rdpEpsilon({ events: [{ type: 'poisson-gaussian', samplingRate: 0.2, noiseMultiplier: 1.7, steps: 3 }], delta: 1e-5, orders: [wrong] }).epsilon).toBe(Infinity);
  }
  for (const wrong of [-0.2, 1.0000001, 1.5, 7, Infinity, NaN]) expect(rdpOfStep(wrong, 1.7, 6.5)).toBe(Infinity);
  for (const wrong of [-1.7, 0, NaN]) expect(rdpOfStep(0.2, wrong, 6.5)).toBe(Infinity);
  expect(rdpOfStep(0.2, 1.7, 1024)).toBeLessThan(1024 / (2 * 1.7 ** 2));
});

it('a study whose noise protects nothing is refused before any PLAN is written', () => {
  expect(() => resolveStudy(ledgerStudy('epsilon: 3, noiseMultiplier: 1.7', 'noiseMultiplier: 1e-200'))).toThrow(/protects nothing/);
});
