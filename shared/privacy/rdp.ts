import type { PrivacyEvent } from './event.ts';

/**
 * Renyi differential privacy of the Poisson-subsampled Gaussian mechanism, add-or-remove-one (Mironov 2017, 1702.07476; Mironov, Talwar,
 * Zhang 2019, 1908.10530). The remove direction dominates for this mechanism (same paper, theorem 5).
 */

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.round((to - from) / step) + 1 }, (_, i) => Number((from + i * step).toFixed(6)));
}

/** The order set named `antiphon-1` in ledgers: fixed for ever under that name. */
export const ORDERS_ANTIPHON_1: readonly number[] = [
  1.01, 1.02, 1.05,
  ...range(1.1, 10.9, 0.1),
  ...range(11, 63, 1),
  ...range(64, 124, 4),
  ...range(128, 248, 8),
  ...range(256, 480, 32),
  ...range(512, 1024, 64),
];

function logAddExp(a: number, b: number): number {
  const high = Math.max(a, b);
  return high === -Infinity ? -Infinity : high + Math.log1p(Math.exp(-Math.abs(a - b)));
}

/** ln(e^x - 1), x > 0. */
function logExpm1(x: number): number {
  return x > 30 ? x + Math.log1p(-Math.exp(-x)) : Math.log(Math.expm1(x));
}

/** ln(1 + e^x). */
function log1pExp(x: number): number {
  return x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x));
}

/**
 * A - 1 = sum_{k=2}^{alpha} C(alpha, k) (1-q)^(alpha-k) q^k (e^{(k^2-k)/2 sigma^2} - 1): the terms k = 0, 1 cancel against 1
 * exactly, so nothing is lost when A is close to 1. Returns ln A.
 */
function logMomentInteger(q: number, sigma: number, alpha: number): number {
  let logSum = -Infinity;
  let logBinomial = Math.log(alpha);
  for (let k = 2; k <= alpha; k += 1) {
    logBinomial += Math.log((alpha - k + 1) / k);
    const term = logBinomial + k * Math.log(q) + (alpha - k) * Math.log1p(-q) + logExpm1((k * k - k) / (2 * sigma * sigma));
    logSum = logAddExp(logSum, term);
  }
  return log1pExp(logSum);
}

/**
 * ln A for real orders: trapezoid rule for E_{z ~ N(0, sigma^2)}[(1 - q + q e^{(2z-1)/2 sigma^2})^alpha], step sigma/24. The
 * integrand is analytic and decays like a Gaussian, so the rule converges geometrically (error below 4e-12). A - 1 is summed
 * as expm1 minus its known mean alpha E[l - 1] = 0, which keeps the digits when A is close to 1.
 */
function logMomentReal(q: number, sigma: number, alpha: number): number {
  const step = sigma / 24;
  const last = alpha + 14 * sigma + 1;
  const logRatio = (z: number): number => {
    const x = (2 * z - 1) / (2 * sigma * sigma);
    return x < 30 ? Math.log1p(q * Math.expm1(x)) : x + Math.log(q + (1 - q) * Math.exp(-x));
  };
  const logWeight = (z: number): number => -(z * z) / (2 * sigma * sigma) - Math.log(24 * Math.sqrt(2 * Math.PI));
  let logPositive = -Infinity;
  let near = 0;
  for (let z = -14 * sigma; z <= last; z += step) {
    const logL = logRatio(z);
    const y = alpha * logL;
    if (y > 1) {
      // l^alpha - 1 - alpha (l - 1), all in the exponent: the last two are small beside the first.
      const rest = -Math.exp(-y) - alpha * Math.exp(logL - y) + alpha * Math.exp(-y);
      logPositive = logAddExp(logPositive, logWeight(z) + y + Math.log1p(rest));
    } else {
      near += Math.exp(logWeight(z)) * secondOrder(logL, alpha);
    }
  }
  const logNear = near > 0 ? Math.log(near) : -Infinity;
  return log1pExp(logAddExp(logPositive, logNear));
}

/** l^alpha - 1 - alpha (l - 1) with l = e^t: by series where the difference would cancel. */
function secondOrder(t: number, alpha: number): number {
  if (Math.abs(t) * alpha > 0.05) return Math.expm1(alpha * t) - alpha * Math.expm1(t);
  // sum_{n>=2} (alpha^n - alpha) t^n / n!
  let sum = 0;
  let power = t;
  let alphaPower = alpha;
  for (let n = 2; n <= 14; n += 1) {
    power *= t / n;
    alphaPower *= alpha;
    sum += (alphaPower - alpha) * power;
  }
  return sum;
}

/** Below: the trapezoid rule would need millions of nodes for an epsilon in the hundreds. */
const SMALLEST_INTEGRATED = 0.05;
/** Above: charged as this, an upper bound (1e-12 and less); larger squares would overflow. */
const LARGEST_DISTINGUISHED = 1e6;

/** ln A is convex in the order and 0 at order 1: the chord between the integers on both sides is an upper bound. */
function logMomentChord(q: number, sigma: number, alpha: number): number {
  const below = Math.floor(alpha);
  const share = alpha - below;
  const low = below === 1 ? 0 : logMomentInteger(q, sigma, below);
  return share === 0 ? low : (1 - share) * low + share * logMomentInteger(q, sigma, below + 1);
}

/** The largest of `antiphon-1`. Work grows with the order, and the bound there is of no use to anyone long before. */
export const LARGEST_ORDER = 1024;

/** Renyi divergence of order 1 and below bounds nothing that converts to (epsilon, delta). */
export function isRdpOrder(order: number): boolean {
  return order > 1 && order <= LARGEST_ORDER;
}

/**
 * RDP of one step at one order in (1, 1024]: samplingRate q in (0, 1], noiseMultiplier sigma > 0. Exact for sigma in [0.05, 1e6], an upper bound outside.
 * Numbers that describe no mechanism (a rate above 1, no noise, NaN) and no order are charged as infinite: a ledger may come from anyone.
 */
export function rdpOfStep(samplingRate: number, noiseMultiplier: number, order: number): number {
  if (!(samplingRate > 0 && samplingRate <= 1 && noiseMultiplier > 0 && isRdpOrder(order))) return Infinity;
  const sigma = Math.min(noiseMultiplier, LARGEST_DISTINGUISHED);
  if (samplingRate === 1) return order / (2 * sigma * sigma);
  const logMoment = Number.isInteger(order) ? logMomentInteger : sigma < SMALLEST_INTEGRATED ? logMomentChord : logMomentReal;
  return logMoment(samplingRate, sigma, order) / (order - 1);
}

export function isStepCount(steps: number): boolean {
  return Number.isSafeInteger(steps) && steps >= 0;
}

/** One-step curves by (q, sigma, orders): a study asks for the same few again and again. */
const curves = new Map<string, Float64Array>();
const MAX_CURVES = 4096;

/** RDP of an event at every order; infinite for a release without noise, and for a number of steps that is none. */
export function rdpOfEvent(event: PrivacyEvent, orders: readonly number[]): Float64Array {
  if (event.steps === 0) return new Float64Array(orders.length);
  if (event.type === 'unprotected' || !isStepCount(event.steps)) return new Float64Array(orders.length).fill(Infinity);
  const { samplingRate, noiseMultiplier, steps } = event;
  const name = `${samplingRate}:${noiseMultiplier}:${orders === ORDERS_ANTIPHON_1 ? 'antiphon-1' : orders.join()}`;
  let curve = curves.get(name);
  if (curve === undefined) {
    curve = Float64Array.from(orders, (order) => rdpOfStep(samplingRate, noiseMultiplier, order));
    if (curves.size >= MAX_CURVES) curves.clear();
    curves.set(name, curve);
  }
  return curve.map((rdp) => rdp * steps);
}

/**
 * The smallest epsilon over the orders: rho + ln(1 - 1/alpha) - ln(delta alpha) / (alpha - 1) (Canonne, Kamath, Steinke 2020, 2004.00010,
 * proposition 12; Balle et al. 2020). Never below 0.
 */
export function epsilonOfRdp(orders: readonly number[], rdp: ArrayLike<number>, delta: number): { readonly epsilon: number; readonly order: number } {
  let epsilon = Infinity;
  let best = orders[0] ?? NaN;
  orders.forEach((order, i) => {
    const candidate = rdp[i]! + Math.log1p(-1 / order) - Math.log(delta * order) / (order - 1);
    if (candidate < epsilon) {
      epsilon = candidate;
      best = order;
    }
  });
  return { epsilon: Math.max(0, epsilon), order: best };
}
