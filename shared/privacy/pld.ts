import type { PrivacyEvent } from './event.ts';
import { mergeEqual } from './merge.ts';
import { compose } from './pld-compose.ts';
import { epsilonOfDelta, gaussianDelta, oneStepDelta, type Direction } from './pld-exact.ts';
import { chernoffBound, LARGEST_CHARGE, planGrid, type Answer, type Part, type Plan, type Question } from './pld-grid.ts';
import { epsilonOfRdp, isStepCount, ORDERS_ANTIPHON_1, rdpOfEvent } from './rdp.ts';

/**
 * The accountant by privacy loss distributions: epsilon of a composition of Poisson-subsampled Gaussian mechanisms, add-or-remove-one, as an
 * upper bound that is 1e-5 above the truth or less (relative; 2e-5 where few steps of very unlike mechanisms meet a delta below 1e-11). Remove is composed with remove and add with add, and the worse counts.
 * Valid for mechanisms that were fixed in advance; where they depend on outputs, rdp.ts is the filter.
 *
 * Always an upper bound: closed forms where there are (one step; no subsampling), else a pessimistic discretisation (pld-dots.ts) on a grid that
 * suits the question (pld-grid.ts), composed by one tilted Fourier inversion whose wrap-around, truncation and rounding are charged (pld-compose.ts).
 * Where the grid would have to be finer than memory allows (above some 10^7 steps), for noise multipliers below 0.01 and for deltas below
 * 1e-270, RDP and the same steps without subsampling bound it too, and the least bound counts.
 *
 * Numbers that describe no mechanism (a rate above 1, no noise, NaN) and unprotected releases cost infinity, as in rdp.ts.
 */
export function pldEpsilon({ events, delta }: { readonly events: readonly PrivacyEvent[]; readonly delta: number }): number {
  const mechanisms = mechanismsOf(events);
  if (mechanisms === 'infinite') return Infinity;
  if (mechanisms.length === 0 || delta >= 1) return 0;
  if (!(delta > 0)) return Infinity;
  const name = `${delta}:${mechanisms.map(({ samplingRate, noiseMultiplier, steps }) => `${samplingRate}:${noiseMultiplier}:${steps}`).join()}`;
  const known = answers.get(name);
  if (known !== undefined) return known;
  const epsilon = epsilonOf(mechanisms, delta);
  if (answers.size >= MOST_ANSWERS) answers.clear();
  answers.set(name, epsilon);
  return epsilon;
}

/** Epsilons asked for lately: before and after a round, by the ledger and by whoever checks it. */
const answers = new Map<string, number>();
const MOST_ANSWERS = 4096;

function epsilonOf(mechanisms: readonly Mechanism[], delta: number): number {
  // Total variation adds up.
  if (mechanisms.reduce((sum, one) => sum + one.steps * oneStepDelta({ ...one, direction: 'remove' }, 0), 0) <= delta * (1 - 1e-12)) return 0;
  const exact = exactDelta(mechanisms);
  if (exact !== undefined && delta > SMALLEST_DELTA) return epsilonOfDelta(exact, delta);
  const logDelta = Math.log(delta);
  const answer = isOnGrid(mechanisms) && delta > SMALLEST_DELTA ? onGrid(mechanisms, { type: 'epsilon', logDelta }) : HOPELESS;
  return answer.isTight ? answer.value : Math.min(answer.value, coarseEpsilon(mechanisms, delta));
}

/** The delta of an epsilon >= 0, from above, and not below 1e-270. */
export function pldDelta({ events, epsilon }: { readonly events: readonly PrivacyEvent[]; readonly epsilon: number }): number {
  const mechanisms = mechanismsOf(events);
  if (mechanisms === 'infinite' || !(epsilon >= 0)) return 1;
  if (mechanisms.length === 0 || epsilon === Infinity) return 0;
  const exact = exactDelta(mechanisms);
  if (exact !== undefined) return Math.max(SMALLEST_DELTA, exact(epsilon) * (1 + 1e-12));
  const answer = isOnGrid(mechanisms) ? onGrid(mechanisms, { type: 'delta', epsilon }) : HOPELESS;
  const bound = answer.isTight ? Math.exp(answer.value) : Math.min(Math.exp(answer.value), coarseDelta(mechanisms, epsilon));
  return Math.min(1, Math.max(SMALLEST_DELTA, bound));
}

interface Mechanism {
  readonly samplingRate: number;
  readonly noiseMultiplier: number;
  readonly steps: number;
}

const SMALLEST_DELTA = 1e-270;
const SMALLEST_NOISE = 0.01;
/** Above: charged as this. */
const LARGEST_NOISE = 1e6;
/** Above: charged as 1, which subsampling never exceeds. */
const LARGEST_RATE = 1 - 1e-9;

/** Each mechanism once, in an order of their own; unsampled steps become one Gaussian step. */
function mechanismsOf(events: readonly PrivacyEvent[]): readonly Mechanism[] | 'infinite' {
  const merged: Mechanism[] = [];
  let muSquared = 0;
  for (const event of mergeEqual(events)) {
    if (event.steps === 0) continue;
    if (event.type === 'unprotected' || !isStepCount(event.steps) || !(event.samplingRate > 0 && event.samplingRate <= 1 && event.noiseMultiplier > 0)) return 'infinite';
    const { samplingRate, noiseMultiplier, steps } = event;
    merged.push({ samplingRate: samplingRate > LARGEST_RATE ? 1 : samplingRate, noiseMultiplier: Math.min(noiseMultiplier, LARGEST_NOISE), steps });
  }
  merged.sort((a, b) => a.samplingRate - b.samplingRate || a.noiseMultiplier - b.noiseMultiplier);
  for (const { samplingRate, noiseMultiplier, steps } of merged) if (samplingRate === 1) muSquared += steps / (noiseMultiplier * noiseMultiplier);
  const sampled = merged.filter(({ samplingRate }) => samplingRate < 1);
  return muSquared === 0 ? sampled : [...sampled, { samplingRate: 1, noiseMultiplier: 1 / Math.sqrt(muSquared), steps: 1 }];
}

/** delta as a function of epsilon for a single step, sampled or Gaussian. */
function exactDelta(mechanisms: readonly Mechanism[]): ((epsilon: number) => number) | undefined {
  const [only, another] = mechanisms;
  if (only === undefined || another !== undefined || only.steps !== 1) return undefined;
  if (only.samplingRate === 1) return (epsilon) => gaussianDelta(1 / only.noiseMultiplier, epsilon);
  return (epsilon) => Math.max(oneStepDelta({ ...only, direction: 'remove' }, epsilon), oneStepDelta({ ...only, direction: 'add' }, epsilon));
}

function isOnGrid(mechanisms: readonly Mechanism[]): boolean {
  return mechanisms.every(({ noiseMultiplier }) => noiseMultiplier >= SMALLEST_NOISE);
}

interface Bound {
  /** epsilon, or ln delta, as asked. */
  readonly value: number;
  /** Whether discretisation cost little. */
  readonly isTight: boolean;
}

const HOPELESS: Bound = { value: Infinity, isTight: false };
const MOST_TURNS = 8;
/** A delta of 1e-43: bounded by Chernoff alone. */
const LOG_NEVER = -100;

/** The worse of both directions. */
function onGrid(mechanisms: readonly Mechanism[], question: Question): Bound {
  const remove = oneDirection(mechanisms, 'remove', question);
  // Mostly remove is the worse, and by so much that Chernoff's bound of add shows it; without subsampling both are the same.
  const rough = chernoffBound(partsOf(mechanisms, 'add'), question)?.bound ?? Infinity;
  if (rough < remove.value - 1e-6 * Math.abs(remove.value) || mechanisms.every(({ samplingRate }) => samplingRate === 1)) return remove;
  const add = oneDirection(mechanisms, 'add', question);
  return { value: Math.max(remove.value, add.value), isTight: remove.isTight && add.isTight };
}

function partsOf(mechanisms: readonly Mechanism[], direction: Direction): readonly Part[] {
  return mechanisms.map(({ samplingRate, noiseMultiplier, steps }) => ({ step: { samplingRate, noiseMultiplier, direction }, steps }));
}

function oneDirection(mechanisms: readonly Mechanism[], direction: Direction, question: Question): Bound {
  const parts = partsOf(mechanisms, direction);
  if (question.type === 'delta') {
    const { bound } = chernoffBound(parts, question) ?? { bound: Infinity };
    if (bound < LOG_NEVER) return { value: bound + 1e-6, isTight: true };
  }
  let near: Answer | undefined;
  let best = Infinity;
  for (let turn = 0; ; turn += 1) {
    const plan = planGrid(parts, question, near);
    const found = plan === undefined ? undefined : solve(parts, plan, question);
    if (plan === undefined || found === undefined) return { value: best, isTight: false };
    const { expected } = plan;
    const value = question.type === 'epsilon' ? found.epsilon : found.logDelta;
    if (!Number.isFinite(value)) return { value: best, isTight: false };
    best = Math.min(best, value);
    // Chernoff's bound, which the first grid is planned for, is far off where single rare losses decide: again, knowing better.
    const isAsExpected = question.type === 'epsilon' ? found.epsilon >= 0.8 * expected.epsilon : found.logDelta >= expected.logDelta - 2;
    const isRefined = plan.grid.refined || found.chargedShare <= LARGEST_CHARGE;
    if ((isAsExpected && isRefined && found.fall <= 2 * expected.fall) || best === 0 || turn === MOST_TURNS) {
      const isTight = found.chargedShare < 1e-3 && plan.epsilonError <= 1e-3 * Math.max(expected.epsilon, 0.01 / expected.fall);
      return { value: best, isTight };
    }
    near = found;
  }
}

function solve(parts: readonly Part[], { grid, expected }: Plan, question: Question): Answer | undefined {
  const composition = compose(parts, grid);
  if (composition === undefined) return undefined;
  const epsilon = question.type === 'epsilon' ? composition.epsilon(question.logDelta, expected.epsilon) : question.epsilon;
  if (!Number.isFinite(epsilon)) return { epsilon, logDelta: 0, fall: expected.fall, chargedShare: 1 };
  const { logDelta, chargedShare } = composition.at(epsilon);
  const apart = 0.1 / expected.fall;
  return { epsilon, logDelta, fall: Math.max(expected.fall, (logDelta - composition.at(epsilon + apart).logDelta) / apart), chargedShare };
}

/** RDP of all steps, by order. */
function rdpOf(mechanisms: readonly Mechanism[]): Float64Array {
  const sum = new Float64Array(ORDERS_ANTIPHON_1.length);
  for (const one of mechanisms) rdpOfEvent({ type: 'poisson-gaussian', ...one }, ORDERS_ANTIPHON_1).forEach((rdp, i) => (sum[i]! += rdp));
  return sum;
}

/** Subsampling never hurts (the hockey-stick divergence is jointly convex): the mu of the same steps without it. */
function unsampledMu(mechanisms: readonly Mechanism[]): number {
  return Math.sqrt(mechanisms.reduce((sum, { noiseMultiplier, steps }) => sum + steps / (noiseMultiplier * noiseMultiplier), 0));
}

function coarseEpsilon(mechanisms: readonly Mechanism[], delta: number): number {
  const unsampled = delta > SMALLEST_DELTA ? epsilonOfDelta((epsilon) => gaussianDelta(unsampledMu(mechanisms), epsilon), delta) : Infinity;
  return Math.min(unsampled, epsilonOfRdp(ORDERS_ANTIPHON_1, rdpOf(mechanisms), delta).epsilon);
}

function coarseDelta(mechanisms: readonly Mechanism[], epsilon: number): number {
  const rdp = rdpOf(mechanisms);
  // The same conversion, solved for delta.
  const logs = ORDERS_ANTIPHON_1.map((order, i) => (order - 1) * (rdp[i]! - epsilon + Math.log1p(-1 / order)) - Math.log(order));
  return Math.min(gaussianDelta(unsampledMu(mechanisms), epsilon), Math.exp(Math.min(...logs)));
}
