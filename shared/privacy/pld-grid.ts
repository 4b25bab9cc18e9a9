import type { OneStep } from './pld-exact.ts';
import { cumulantsOfStep, tiltAt } from './pld-step.ts';
import type { Grid } from './pld-spectrum.ts';

/** Steps of one mechanism in one direction. */
export interface Part {
  readonly step: OneStep;
  readonly steps: number;
}

/** What is asked: epsilon for a delta, or delta for an epsilon. */
export type Question = { readonly type: 'epsilon'; readonly logDelta: number } | { readonly type: 'delta'; readonly epsilon: number };

/** A point of the curve and its slope there, -d ln delta / d epsilon: what an error in epsilon costs in delta. */
export interface Answer {
  readonly epsilon: number;
  readonly logDelta: number;
  readonly fall: number;
  /** What part of the bound was charged for rounding and truncation. */
  readonly chargedShare: number;
}

export interface Plan {
  readonly grid: Grid;
  /** What the plan was made for. */
  readonly expected: Omit<Answer, 'chargedShare'>;
  /** How far discretisation moves epsilon, roughly. */
  readonly epsilonError: number;
}

interface Total {
  readonly log: number;
  readonly mean: number;
  readonly variance: number;
}

function totalAt(parts: readonly Part[], tiltIndex: number): Total {
  let [log, mean, variance] = [0, 0, 0];
  for (const { step, steps } of parts) {
    const one = cumulantsOfStep(step, tiltIndex);
    log += steps * one.log;
    mean += steps * one.mean;
    variance += steps * one.variance;
  }
  return { log, mean, variance };
}

/** ln sup_x e^(-lambda x) (1 - e^-x): delta(epsilon) <= e^(log - lambda epsilon) times it. */
function logPayoff(tilt: number): number {
  return -tilt * Math.log1p(1 / tilt) - Math.log1p(tilt);
}

/** Aimed at: discretisation error relative to epsilon. */
const RELATIVE_ERROR = 4e-6;
/** Wrapped-around mass relative to delta, e^-18; truncated mass, e^-23. */
const WRAPPED = 18;
const TRUNCATED = 23;
/** Of delta: above, rounding is worth work. */
export const LARGEST_CHARGE = 1e-4;
const LARGEST_EXPONENT = 1e7;
/** A tilt of 2^-250: none. */
const UNTILTED = -1000;
const SMALLEST_SIZE = 2 ** 9;
const LARGEST_SIZE = 2 ** 20;
const LARGEST_TOTAL_SIZE = 2 ** 23;

/**
 * Chernoff's bound, best over the ladder of tilts: an epsilon, or ln delta, that is good to some tenths in ln delta where the sum is nearly normal and far
 * off where single rare losses decide. Undefined where doubles cannot hold the losses.
 */
export function chernoffBound(parts: readonly Part[], question: Question): { readonly tiltIndex: number; readonly bound: number } | undefined {
  const boundAt = (index: number): number => {
    const { log, mean, variance } = totalAt(parts, index);
    const tilt = tiltAt(index);
    // Beyond, exponents are so large that their rounding counts.
    if (tilt * (Math.abs(mean) + Math.sqrt(variance)) > LARGEST_EXPONENT) return Infinity;
    return question.type === 'epsilon' ? (log + logPayoff(tilt) - question.logDelta) / tilt : log + logPayoff(tilt) - tilt * question.epsilon;
  };
  const wanted = question.type === 'epsilon' ? -question.logDelta : 10;
  const plain = Math.sqrt(totalAt(parts, UNTILTED).variance);
  if (!(plain > 0 && plain < Infinity)) return undefined;
  let start = Math.round(4 * Math.log2(Math.sqrt(2 * Math.max(1, wanted)) / plain));
  while (boundAt(start) === Infinity) start -= 4;
  const tiltIndex = descend(boundAt, start);
  return { tiltIndex, bound: boundAt(tiltIndex) };
}

/**
 * Tilt, grid step and ring for a composition. Nothing here can make a result wrong: each choice gives an upper bound, these make it tight.
 *
 * ring: wrapping adds at most sum_m e^(-lambda m P) from below and e^(lambda P) delta(epsilon + P) from above to delta, P the ring's length.
 * step: connecting dots h apart adds h^2/6 to a step's variance, which moves epsilon by (1 + lambda) steps h^2 / 12.
 * tilt: near that of the best Chernoff bound, which centres the tilted sum on the answer; the one that needs the fewest points.
 *
 * `near`: an answer from before, better than Chernoff's bound. Undefined where doubles cannot hold the losses.
 */
export function planGrid(parts: readonly Part[], question: Question, near?: Answer): Plan | undefined {
  const chernoff = chernoffBound(parts, question);
  if (chernoff === undefined) return undefined;
  const { tiltIndex: best, bound } = chernoff;
  const plain = Math.sqrt(totalAt(parts, UNTILTED).variance);
  // Chernoff's bound is loose by about lambda times the standard deviation.
  const slack = Math.log(10 * (1 + tiltAt(best) * Math.sqrt(totalAt(parts, best).variance)));
  const epsilon = question.type === 'delta' ? question.epsilon : (near?.epsilon ?? Math.max(0, bound));
  const lowest = question.type === 'delta' ? question.epsilon : (near?.epsilon ?? Math.max(0, bound - slack / tiltAt(best)));
  const logDelta = question.type === 'epsilon' ? question.logDelta : (near?.logDelta ?? Math.min(0, bound) - slack);

  let index = best;
  let length = Infinity;
  for (let candidate = best - 16; candidate <= best + 8; candidate += 1) {
    const needed = ringLength(parts, candidate, lowest, logDelta);
    if (needed * Math.sqrt(1 + tiltAt(candidate)) < length * Math.sqrt(1 + tiltAt(index))) [index, length] = [candidate, needed];
  }
  const tilt = tiltAt(index);
  length = tiltAt(Math.ceil(4 * Math.log2(length)));

  const steps = parts.reduce((sum, part) => sum + part.steps, 0);
  const fall = near?.fall ?? Math.max(tilt, tiltAt(best));
  const aim = Math.min(RELATIVE_ERROR * Math.max(epsilon, 0.05 * plain), question.type === 'epsilon' ? Infinity : (6 * RELATIVE_ERROR) / fall);
  const alone = Math.sqrt((4 * aim) / (1 + fall));
  const finest = Math.min(Math.sqrt((12 * aim) / ((1 + fall) * steps)), 0.1 / fall);
  const largest = Math.min(LARGEST_SIZE, 2 ** Math.floor(Math.log2(LARGEST_TOTAL_SIZE / parts.length)));
  const size = Math.max(SMALLEST_SIZE, Math.min(largest, 2 ** Math.ceil(Math.log2(length / finest))));
  const step = Math.max(length / size, 2 ** -36 * Math.max(...parts.map((part) => scaleOf(part.step))));
  return {
    grid: {
      tiltIndex: index,
      size,
      step,
      tail: 8 * Math.ceil((TRUNCATED - logDelta + Math.log(steps)) / 8),
      widest: step * 2 ** Math.max(0, Math.floor(Math.log2(alone / step))),
      refined: near !== undefined && near.chargedShare > LARGEST_CHARGE,
      logDensityThatCounts: 2 * Math.floor((logDelta + Math.log(tilt) - Math.log(steps)) / 2),
    },
    expected: { epsilon, logDelta, fall },
    epsilonError: ((1 + fall) * steps * step * step) / 12,
  };
}

/** Typical size of a step's loss. */
function scaleOf(step: OneStep): number {
  const { mean, variance } = cumulantsOfStep(step, UNTILTED);
  return Math.abs(mean) + Math.sqrt(variance);
}

/** Long enough for what wraps around to be negligible. */
function ringLength(parts: readonly Part[], tiltIndex: number, epsilon: number, logDelta: number): number {
  const tilt = tiltAt(tiltIndex);
  let fromAbove = Infinity;
  for (let above = tiltIndex + 1; above <= tiltIndex + 80; above += 1) {
    const t = tiltAt(above);
    const needed = (totalAt(parts, above).log - t * epsilon + logPayoff(t) - logDelta + WRAPPED) / (t - tilt);
    if (needed > 2 * fromAbove) break;
    fromAbove = Math.min(fromAbove, needed);
  }
  return Math.max((WRAPPED - logDelta) / tilt, fromAbove);
}

/** The index of the minimum of a function that falls and then rises; where it falls on and on, one beyond which it hardly falls. */
function descend(valueAt: (index: number) => number, start: number): number {
  let best = start;
  let lowest = valueAt(best);
  for (const stride of [16, 4, 1]) {
    for (const direction of [stride, -stride]) {
      for (let turn = 0; turn < 64; turn += 1) {
        const value = valueAt(best + direction);
        if (!(value < lowest - 1e-6 * Math.abs(lowest)) || lowest < -1000) break;
        best += direction;
        lowest = value;
      }
    }
  }
  return best;
}
