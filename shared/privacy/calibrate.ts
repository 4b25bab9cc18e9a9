import { AntiphonError } from '../errors.ts';

const SMALLEST = 0.05;
const LARGEST = 1e4;

/**
 * The smallest noise multiplier from 0.05 to 10^4 (to 1e-4 relative, rounded up to five digits, so that it prints short) whose epsilon is at most
 * the target: guaranteed, it has been evaluated. `epsilonOf` is non-increasing in the noise multiplier.
 * Throws AntiphonError('study-invalid') when even the largest misses the target.
 */
export function calibrateNoiseMultiplier(input: { readonly targetEpsilon: number; readonly epsilonOf: (noiseMultiplier: number) => number }): number {
  const { targetEpsilon, epsilonOf } = input;
  const smallestEpsilon = epsilonOf(LARGEST);
  // Written so that NaN is refused.
  if (!(smallestEpsilon <= targetEpsilon)) {
    throw new AntiphonError('study-invalid', `no noise reaches epsilon ${targetEpsilon}: even a noise multiplier of ${LARGEST} gives ${Number(smallestEpsilon.toPrecision(4))}; raise epsilon or delta, or plan fewer rounds`);
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
