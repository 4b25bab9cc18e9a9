import { AntiphonError } from '../errors.ts';
import { randomIntegers, type RandomIntegers, type RandomSource } from './random.ts';

/**
 * The discrete Gaussian on the integers, P(x) proportional to e^{-x^2 / 2 sigma^2}, for integer sigma: Karney's rejection (2016, 1303.6257,
 * algorithm D) with mean 0. k has P(k) proportional to e^{-k^2/2}, a sign, j is uniform on [0, sigma); x = j / sigma is kept with
 * probability e^{-x (2k + x) / 2}; the value is sign (k sigma + j). "-0" is rejected, so zero is not counted twice.
 *
 * Exact: every decision compares 53 random bits with a double that is known to within 2^-40. Only when they are closer than
 * that are 192 more bits drawn and both sides computed in integers of 256 bits; what remains is below 2^-180 a decision.
 *
 * Why the discrete Gaussian: for integer shifts its moments E[(P/Q)^k] are at most the continuous ones in any dimension (Canonne, Kamath,
 * Steinke 2020, 2004.00010), so the RDP at integer orders holds under subsampling too; at other orders both agree to e^{-2 pi^2 sigma^2},
 * and sigma is at least 10^4 here. The accountants are those of the continuous mechanism.
 */
export interface DiscreteGaussian {
  readonly sample: () => number;
  readonly fill: (target: Float64Array) => void;
}

const TWO_53 = 2 ** 53;
/** Bound on the relative error of the doubles below, with room to spare (each is a handful of roundings of 2^-53). */
const MARGIN = 2 ** -40 * TWO_53;
const BITS = 256n;
const ONE = 1n << BITS;

/** e^{-n/d} in units of 2^-256, by halving the argument and squaring; error below 2^-200. */
function expNegative(numerator: bigint, denominator: bigint): bigint {
  const GUARD = 64n;
  const one = ONE << GUARD;
  let argument = (numerator * one) / denominator;
  let halvings = 0;
  while (argument > one >> 3n) {
    argument >>= 1n;
    halvings += 1;
  }
  let term = one;
  let sum = one;
  for (let n = 1n; n < 60n; n += 1n) {
    term = (term * argument) / (one * n);
    sum += n % 2n === 0n ? term : -term;
  }
  for (let i = 0; i < halvings; i += 1) sum = (sum * sum) / one;
  return sum >> GUARD;
}

/** u = (53 bits already drawn, 203 fresh ones): is it below the threshold (units of 2^-256)? */
function decideExactly(drawn: number, integers: RandomIntegers, threshold: bigint): boolean {
  let u = BigInt(drawn);
  for (let i = 0; i < 7; i += 1) u = (u << 29n) | BigInt(integers.uint32() >>> 3);
  return u < threshold;
}

/** Cumulative P(K <= k), P(K = k) proportional to e^{-k^2/2}, k = 0 .. 25; beyond lies less than 2^-480. */
const cumulative: readonly bigint[] = (() => {
  const masses = Array.from({ length: 26 }, (_, k) => expNegative(BigInt(k * k), 2n));
  const total = masses.reduce((a, b) => a + b);
  let sum = 0n;
  return masses.map((mass) => {
    sum += mass;
    return (sum * ONE) / total;
  });
})();
const cumulativeDoubles = cumulative.map((value) => Number(value >> 203n));

function drawK(integers: RandomIntegers): number {
  const u = integers.uint53();
  for (let k = 0; k < cumulative.length; k += 1) {
    const difference = u - cumulativeDoubles[k]!;
    if (difference < -MARGIN) return k;
    if (difference <= MARGIN) return drawKExactly(u, integers);
  }
  return cumulative.length;
}

function drawKExactly(drawn: number, integers: RandomIntegers): number {
  let u = BigInt(drawn);
  for (let i = 0; i < 7; i += 1) u = (u << 29n) | BigInt(integers.uint32() >>> 3);
  const k = cumulative.findIndex((bound) => u < bound);
  return k === -1 ? cumulative.length : k;
}

/** `sigma`: standard deviation parameter in grid units, an integer from 1 to 2^40. */
export function createDiscreteGaussian(sigma: number, random: RandomSource): DiscreteGaussian {
  if (!Number.isInteger(sigma) || sigma < 1 || sigma > 2 ** 40) throw new AntiphonError('internal', `expected an integer standard deviation from 1 to 2^40 grid units, found ${sigma}`);
  const integers = randomIntegers(random);
  const { uint32, uint53 } = integers;
  /** Largest multiple of sigma that 53 bits can count: values above are rejected, so j is exactly uniform. */
  const uniformLimit = Math.floor(TWO_53 / sigma) * sigma;
  const sigmaSquared = BigInt(sigma) * BigInt(sigma);

  const sample = (): number => {
    for (;;) {
      const k = drawK(integers);
      const negative = (uint32() & 1) === 1;
      const uniform = uint53();
      if (uniform >= uniformLimit) continue;
      const j = uniform % sigma;
      if (negative && k === 0 && j === 0) continue;
      const x = j / sigma;
      const u = uint53();
      const difference = u - Math.exp(-0.5 * x * (2 * k + x)) * TWO_53;
      if (difference > MARGIN) continue;
      if (difference >= -MARGIN && !decideExactly(u, integers, expNegative(BigInt(j) * (2n * BigInt(k) * BigInt(sigma) + BigInt(j)), 2n * sigmaSquared))) continue;
      const value = k * sigma + j;
      return negative ? -value : value;
    }
  };
  return {
    sample,
    fill: (target) => {
      for (let i = 0; i < target.length; i += 1) target[i] = sample();
    },
  };
}
