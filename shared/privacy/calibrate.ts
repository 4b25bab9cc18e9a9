import { AntiphonError } from '../errors.ts';

const SMALLEST = 0.05;
export const LARGEST_NOISE = 1e4;
/** Multipliers with five digits, in order: mantissas 10000 .. 99999 of each power of ten. */
const PER_DECADE = 90_000;

/** The five-digit number of an index; 1 has index 0. */
function multiplierAt(index: number): number {
  const decade = Math.floor(index / PER_DECADE);
  const mantissa = 10_000 + index - PER_DECADE * decade;
  return decade <= 4 ? mantissa / 10 ** (4 - decade) : mantissa * 10 ** (decade - 4);
}

/** The index of the smallest five-digit number at or above. */
function indexAbove(multiplier: number): number {
  const decade = Math.floor(Math.log10(multiplier));
  return PER_DECADE * decade + Math.ceil(multiplier * 10 ** (4 - decade) - 1e-6) - 10_000;
}

/**
 * The smallest five-digit noise multiplier from 0.05 to 10^4 whose epsilon is at most the target: guaranteed, it has been evaluated, and so has the
 * next below it. `epsilonOf` is non-increasing in the noise multiplier; it is called about ten times, because ln epsilon over ln multiplier is
 * almost straight. Throws AntiphonError('study-invalid') when even the largest misses the target.
 */
export function calibrateNoiseMultiplier(input: { readonly targetEpsilon: number; readonly epsilonOf: (noiseMultiplier: number) => number }): number {
  const { targetEpsilon, epsilonOf } = input;
  const [lowest, highest] = [indexAbove(SMALLEST), indexAbove(LARGEST_NOISE)];
  /** ln(epsilon / target); NaN is no success. */
  const excessAt = (index: number): number => {
    const epsilon = epsilonOf(multiplierAt(index));
    const excess = Math.log(epsilon / targetEpsilon);
    return epsilon <= targetEpsilon ? Math.min(0, excess) : excess > 0 ? excess : Infinity;
  };
  let low: Point | undefined;
  let high: Point | undefined;
  let index = indexAbove(1);
  let turn = 0;
  let last: 'low' | 'high' | undefined;
  // The answer is in (low, high].
  while (high === undefined || high.index - (low?.index ?? lowest - 1) > 1) {
    const excess = excessAt(index);
    // The end that stays twice counts half, so that it is dragged along (Illinois).
    if (excess <= 0) {
      if (low !== undefined && last === 'high') low = { ...low, weight: low.weight / 2 };
      last = 'high';
      high = { index, excess, weight: 1 };
    } else {
      if (index === highest) {
        const found = Number(epsilonOf(LARGEST_NOISE).toPrecision(4));
        const what = `even a noise multiplier of ${LARGEST_NOISE} gives ${found}`;
        throw new AntiphonError('study-invalid', `no noise reaches epsilon ${targetEpsilon}: ${what}; raise epsilon or delta, or plan fewer rounds`);
      }
      if (high !== undefined && last === 'low') high = { ...high, weight: high.weight / 2 };
      last = 'low';
      low = { index, excess, weight: 1 };
    }
    turn += 1;
    index = Math.max((low?.index ?? lowest - 1) + 1, Math.min((high?.index ?? highest + 1) - 1, guess(low, high, turn)));
  }
  return multiplierAt(high.index);
}

interface Point {
  readonly index: number;
  readonly excess: number;
  readonly weight: number;
}

/** An index near where the excess is 0. */
function guess(low: Point | undefined, high: Point | undefined, turn: number): number {
  if (low !== undefined && high !== undefined) {
    const [logLow, logHigh] = [Math.log(multiplierAt(low.index)), Math.log(multiplierAt(high.index))];
    const [above, below] = [low.excess * low.weight, high.excess * high.weight];
    const share = (turn > 9 && turn % 2 === 0) || !Number.isFinite(above - below) ? 0.5 : above / (above - below);
    return indexAbove(Math.exp(logLow + (logHigh - logLow) * share));
  }
  // Epsilon falls about as fast as the multiplier grows, or faster; ever longer steps where it does not.
  const { index, excess } = low ?? high!;
  const [shortest, longest] = [0.03 * 2 ** turn, Math.max(3, 0.03 * 2 ** turn)];
  return indexAbove(multiplierAt(index) * Math.exp(excess > 0 ? Math.max(shortest, Math.min(longest, excess)) : Math.min(-shortest, Math.max(-longest, excess))));
}
