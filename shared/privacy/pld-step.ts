import { normalTail } from './normal.ts';
import { logRatioOfMixture, type Direction, type OneStep } from './pld-exact.ts';

/**
 * The privacy loss of one step as a function that increases along a line, t in noise standard deviations: remove has t ~ the mixture and
 * loss(t) = ln(1 - q + q e^(mu t - mu^2/2)), mu = 1/sigma; add, mirrored, has t ~ N(0, 1) and loss(t) = -ln(1 - q + q e^(-mu t - mu^2/2)).
 */
export interface StepLoss {
  readonly loss: (t: number) => number;
  /** d loss / dt. */
  readonly slope: (t: number) => number;
  /** The t with that loss; -Infinity, Infinity below and above all losses. */
  readonly inverse: (loss: number) => number;
  /** ln of the density of t whose loss is given, without the constant ln sqrt(2 pi). */
  readonly logDensity: (t: number, loss: number) => number;
  readonly massAbove: (t: number) => number;
  readonly massBelow: (t: number) => number;
  /** Where the density is below 1e-300. */
  readonly from: number;
  readonly to: number;
  readonly mu: number;
}

const FARTHEST = 37;

/** ln(1 - q + q e^x), to full relative precision near 0, without overflow or cancellation. */
function logMixture(x: number, q: number): number {
  if (q === 1) return x;
  if (x > 30) return x + Math.log(q + (1 - q) * Math.exp(-x));
  return x > -1 ? Math.log1p(q * Math.expm1(x)) : Math.log(1 - q + q * Math.exp(x));
}

export function stepLoss({ samplingRate: q, noiseMultiplier, direction }: OneStep): StepLoss {
  const mu = 1 / noiseMultiplier;
  const shift = 0.5 * mu * mu;
  const sign: 1 | -1 = direction === 'remove' ? 1 : -1;
  const exponent = (t: number): number => sign * mu * t - shift;
  const loss = (t: number): number => sign * logMixture(exponent(t), q);
  return {
    loss,
    slope: q === 1 ? () => mu : (t) => mu / (1 + ((1 - q) / q) * Math.exp(-exponent(t))),
    inverse: (y) => sign * ((logRatioOfMixture(sign * y, q) + shift) / mu),
    logDensity: direction === 'remove' ? (t, ofT) => ofT - 0.5 * t * t : (t) => -0.5 * t * t,
    massAbove: direction === 'remove' ? (t) => (1 - q) * normalTail(t) + q * normalTail(t - mu) : normalTail,
    massBelow: direction === 'remove' ? (t) => (1 - q) * normalTail(-t) + q * normalTail(mu - t) : (t) => normalTail(-t),
    from: -FARTHEST,
    to: FARTHEST + (direction === 'remove' ? mu : 0),
    mu,
  };
}

/** Moments of the loss of one step, tilted by lambda: ln E[e^(lambda L)] and mean and variance under e^(lambda L) P. */
export interface Cumulants {
  readonly log: number;
  readonly mean: number;
  readonly variance: number;
}

/** Tilts on a ladder of quarter octaves: what is computed for one composition serves the next. */
export function tiltAt(index: number): number {
  const octave = Math.floor(index / 4);
  return 2 ** octave * [1, 2 ** 0.25, Math.SQRT2, 2 ** 0.75][index - 4 * octave]!;
}

interface Integrand {
  readonly losses: Float64Array;
  readonly logWeights: Float64Array;
  readonly known: Map<number, Cumulants>;
}

const integrands = new Map<string, Integrand>();
const MAX_INTEGRANDS = 512;

function integrandOf(step: OneStep): Integrand {
  const name = nameOfStep(step);
  const known = integrands.get(name);
  if (known !== undefined) return known;
  const { loss, logDensity, from, to, mu } = stepLoss(step);
  // The integrand is analytic in a strip of half-width pi / mu.
  const spacing = Math.min(1 / 8, 1 / (3 * mu));
  const count = Math.ceil((to - from) / spacing) + 1;
  const losses = new Float64Array(count);
  const logWeights = new Float64Array(count);
  for (let i = 0; i < count; i += 1) {
    const t = from + i * spacing;
    losses[i] = loss(t);
    logWeights[i] = logDensity(t, losses[i]!) + Math.log(spacing / Math.sqrt(2 * Math.PI));
  }
  const integrand = { losses, logWeights, known: new Map<number, Cumulants>() };
  if (integrands.size >= MAX_INTEGRANDS) integrands.clear();
  integrands.set(name, integrand);
  return integrand;
}

export function nameOfStep({ samplingRate, noiseMultiplier, direction }: { readonly samplingRate: number; readonly noiseMultiplier: number; readonly direction: Direction }): string {
  return `${direction}:${samplingRate}:${noiseMultiplier}`;
}

/** By the trapezoidal rule, for choosing tilts and grids: nothing that is reported rests on it. */
export function cumulantsOfStep(step: OneStep, tiltIndex: number): Cumulants {
  const { losses, logWeights, known } = integrandOf(step);
  const before = known.get(tiltIndex);
  if (before !== undefined) return before;
  const tilt = tiltAt(tiltIndex);
  let top = 0;
  let highest = -Infinity;
  for (let i = 0; i < losses.length; i += 1) {
    const exponent = logWeights[i]! + tilt * losses[i]!;
    if (exponent > highest) [top, highest] = [i, exponent];
  }
  // Moments about the mode, which cancel little.
  const mode = losses[top]!;
  let [sum, first, second] = [0, 0, 0];
  for (let i = 0; i < losses.length; i += 1) {
    const weight = Math.exp(logWeights[i]! + tilt * losses[i]! - highest);
    const apart = losses[i]! - mode;
    sum += weight;
    first += weight * apart;
    second += weight * apart * apart;
  }
  const offset = first / sum;
  const cumulants = { log: highest + Math.log(sum), mean: mode + offset, variance: Math.max(0, second / sum - offset * offset) };
  known.set(tiltIndex, cumulants);
  return cumulants;
}
