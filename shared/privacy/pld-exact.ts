import { tailDifference } from './normal.ts';

/**
 * Where delta as a function of epsilon is known in closed form: one step of the Poisson-subsampled Gaussian mechanism, and any number of
 * steps of the plain one (Balle and Wang 2018, 1805.06530, theorem 8). Both to about 1e-13 relative.
 *
 * remove: P = (1-q) N(0, sigma^2) + q N(1, sigma^2) against Q = N(0, sigma^2); add: the other way round. delta(epsilon) is the hockey-stick
 * divergence E_P[(1 - e^(epsilon - L))+] of the privacy loss L = ln(P/Q).
 */
export type Direction = 'remove' | 'add';

/** ln((e^y - 1 + q) / q), the log-ratio of the two Gaussians where the mixture's is y; -Infinity where it never is. */
export function logRatioOfMixture(y: number, q: number): number {
  if (q === 1) return y;
  if (y > 30) return y - Math.log(q) + Math.log1p(-(1 - q) * Math.exp(-y));
  const share = Math.expm1(y) / q;
  return share > -1 ? Math.log1p(share) : -Infinity;
}

export interface OneStep {
  readonly samplingRate: number;
  readonly noiseMultiplier: number;
  readonly direction: Direction;
}

/** One step, for any real epsilon. No term cancels: with R the Mills ratio, remove is q density(x - mu) (R(x - mu) - R(x)), and add alike. */
export function oneStepDelta({ samplingRate: q, noiseMultiplier, direction }: OneStep, epsilon: number): number {
  const mu = 1 / noiseMultiplier;
  const remove = direction === 'remove';
  const logRatio = logRatioOfMixture(remove ? epsilon : -epsilon, q);
  // Remove: the loss is nowhere below ln(1-q), here above epsilon everywhere. Add: it is nowhere above -ln(1-q).
  if (logRatio === -Infinity) return remove ? -Math.expm1(epsilon) : 0;
  /** Where the loss is epsilon, in noise standard deviations. */
  const x = logRatio / mu + 0.5 * mu;
  return remove ? q * tailDifference(x - mu, mu) : q * Math.exp(epsilon + logRatio) * tailDifference(-x, mu);
}

/** Plain Gaussian steps of noise multipliers sigma_i together: mu^2 = sum 1/sigma_i^2 (Dong, Roth, Su 2019, 1905.02383, corollary 3.3). */
export function gaussianDelta(mu: number, epsilon: number): number {
  return mu === Infinity ? 1 : mu === 0 ? 0 : tailDifference(epsilon / mu - 0.5 * mu, mu);
}

const EXACT_TO = 1e-13;

/** The smallest epsilon >= 0 with deltaOf(epsilon) <= delta, to 1e-13 relative and never below; `deltaOf` does not increase. Infinity beyond 1e300. */
export function epsilonOfDelta(deltaOf: (epsilon: number) => number, delta: number): number {
  const enough = delta * (1 - EXACT_TO);
  if (deltaOf(0) <= enough) return 0;
  let low = 0;
  let high = 1;
  while (deltaOf(high) > enough) {
    low = high;
    high *= 2;
    if (high > 1e300) return Infinity;
  }
  while (low === 0 && high > 1e-300 && deltaOf(high / 2) <= enough) high /= 2;
  while (high - low > EXACT_TO * high) {
    const middle = low === 0 ? high / 2 : 0.5 * (low + high);
    if (deltaOf(middle) <= enough) high = middle;
    else low = middle;
  }
  return high;
}
