import { invariant } from '../errors.ts';
import { randomIntegers, type RandomSource } from './random.ts';

/**
 * The discrete Gaussian on the integers, P(x) proportional to e^{-x^2 / 2 sigma^2}, for integer sigma: Karney's rejection (2016, 1303.6257,
 * algorithm D) with mean 0. k has P(k) proportional to e^{-k^2/2}, a sign, j is uniform on [0, sigma); x = j / sigma is kept with
 * probability e^{-x (2k + x) / 2}; the value is sign (k sigma + j). "-0" is rejected, so zero is not counted twice.
 *
 * Exact: every decision compares 53 random bits with a double that is known to within 2^-40. Only when they are closer than that (twice in
 * 10^12 decisions) are 203 more bits drawn and both sides compared as integers of 256 bits. What remains: a value differs from the
 * exact distribution with probability below 2^-180, and at most 26 sigma (beyond lies less than 2^-480); the float sampler's holes and steps
 * (Mironov 2012) do not exist. Time depends on the value drawn, as with every rejection sampler.
 *
 * Why the discrete Gaussian: for integer shifts its moments E[(P/Q)^k] are at most the continuous ones in any dimension (Canonne, Kamath,
 * Steinke 2020, 2004.00010), so the RDP at integer orders holds under subsampling too; at other orders both agree to e^{-2 pi^2 sigma^2},
 * which is below 10^-300 from sigma = 6 on (the mechanism's grid gives at least 1000 noiseMultiplier). The accountants are those of the
 * continuous mechanism.
 */
export interface DiscreteGaussian {
  readonly sample: () => number;
  readonly fill: (target: Float64Array) => void;
}

/** Of the standard deviation, in grid units. */
export const LARGEST_STDDEV = 2 ** 40;
const TWO_53 = 2 ** 53;
/**
 * Bound on the absolute error of the doubles below, in units of 2^-53: exponents are at most 26 and a few roundings off (2^-46), `Math.exp` and the
 * probabilities, at most 1, less than that.
 */
const MARGIN = 2 ** 13;
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

/** The uniform number whose first 53 bits are `drawn`, in units of 2^-256: 203 fresh bits behind them. */
function refine(drawn: number, uint32: () => number): bigint {
  let u = BigInt(drawn);
  for (let i = 0; i < 7; i += 1) u = (u << 29n) | BigInt(uint32() >>> 3);
  return u;
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

/**
 * `sigma`: standard deviation parameter in grid units, an integer from 1 to 2^40. Values are integers of at most 26 sigma < 2^45.
 * `margin`: only tests widen it, to force exact decisions.
 */
export function createDiscreteGaussian(sigma: number, random: RandomSource, margin = MARGIN): DiscreteGaussian {
  invariant(Number.isInteger(sigma) && sigma >= 1 && sigma <= LARGEST_STDDEV, `an integer standard deviation from 1 to 2^40 grid units, found ${sigma}`);
  const { uint32, uint53 } = randomIntegers(random);
  /** Largest multiple of sigma that 53 bits can count: values above are rejected, so j is exactly uniform. */
  const uniformLimit = Math.floor(TWO_53 / sigma) * sigma;
  const sigmaSquared = BigInt(sigma) * BigInt(sigma);

  const chooseK = (u: number): number => {
    for (let k = 0; k < cumulative.length; k += 1) {
      const difference = u - cumulativeDoubles[k]!;
      if (difference < -margin) return k;
      if (difference <= margin) break;
    }
    const exact = refine(u, uint32);
    return cumulative.findIndex((bound) => exact < bound);
  };

  /** With probability e^{-x (2k + x) / 2}, x = j / sigma. */
  const keep = (k: number, j: number): boolean => {
    const x = j / sigma;
    const u = uint53();
    const difference = u - Math.exp(-0.5 * x * (2 * k + x)) * TWO_53;
    if (difference < -margin) return true;
    if (difference > margin) return false;
    return refine(u, uint32) < expNegative(BigInt(j) * (2n * BigInt(k) * BigInt(sigma) + BigInt(j)), 2n * sigmaSquared);
  };

  const sample = (): number => {
    for (;;) {
      // 53 bits for k; the sign is a bit that they leave over.
      const high = uint32();
      const negative = (high & 1) === 1;
      const k = chooseK((high >>> 11) * 2 ** 32 + uint32());
      const uniform = uint53();
      if (uniform >= uniformLimit) continue;
      const j = remainder(uniform, sigma);
      if (negative && k === 0 && j === 0) continue;
      if (!keep(k, j)) continue;
      return negative ? -(k * sigma + j) : k * sigma + j;
    }
  };
  return {
    sample,
    fill: (target) => {
      for (let i = 0; i < target.length; i += 1) target[i] = sample();
    },
  };
}

/** value mod sigma for 0 <= value < 2^53, exact: the rounded quotient is at most one too large (`%` is slow above 2^31). */
function remainder(value: number, sigma: number): number {
  const rest = value - Math.floor(value / sigma) * sigma;
  return rest < 0 ? rest + sigma : rest;
}
