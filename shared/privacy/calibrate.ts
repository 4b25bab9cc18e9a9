import { AntiphonError } from '../errors.ts';

const SMALLEST = 0.05;
const LARGEST = 1e4;

/**
 * The smallest noise multiplier (to 1e-4 relative, rounded up to five digits) whose epsilon is at most the target. `epsilonOf` is
 * non-increasing in the noise multiplier.
 */
export function calibrateNoiseMultiplier(input: { readonly targetEpsilon: number; readonly epsilonOf: (noiseMultiplier: number) => number }): number {
  const { targetEpsilon, epsilonOf } = input;
  if (epsilonOf(LARGEST) > targetEpsilon) {
    throw new AntiphonError('study-invalid', `no noise reaches epsilon ${targetEpsilon}: even a noise multiplier of ${LARGEST} gives ${epsilonOf(LARGEST).toFixed(4)}; raise epsilon or delta, or plan fewer rounds`);
  }
  let low = SMALLEST;
  let high = LARGEST;
  while (high / low > 1 + 1e-5) {
    const middle = Math.sqrt(low * high);
    if (epsilonOf(middle) <= targetEpsilon) high = middle;
    else low = middle;
  }
  const digits = 10 ** (4 - Math.floor(Math.log10(high)));
  const rounded = Math.ceil(high * digits) / digits;
  return epsilonOf(rounded) <= targetEpsilon ? rounded : high;
}
