import type { Part } from './pld-grid.ts';
import { spectrumOf, type Grid, type Spectrum } from './pld-spectrum.ts';
import { tiltAt } from './pld-step.ts';

/**
 * delta(epsilon) of a composition, from above. S is the sum of all steps' dots, M = E[e^(lambda S)], a_j = P(S = j h) e^(lambda j h) / M its
 * tilted law. Then
 *
 *   delta(epsilon) = M sum_{j h > epsilon} a_j e^(-lambda j h) (1 - e^(epsilon - j h)) + P(S infinite).
 *
 * Wrapped around a ring of N points, a_j can only grow (all its terms are positive); so with the wrapped a_j, taken turn after turn for ALL j,
 * the sum is an upper bound however short the ring. The wrapped a_j are (1/N) sum_k Phi_k e^(2 pi i j k / N), Phi the product of the steps'
 * spectra to their powers: one exponentially tilted Fourier inversion, in which the geometric sums over j have a closed form for every k.
 * A composition is smooth, so that often a few dozen k of some 10^5 are above rounding.
 */
export interface Composition {
  /** ln of the bound, at most 0, and the part of the bound that is a charge for rounding and truncation. */
  readonly at: (epsilon: number) => { readonly logDelta: number; readonly chargedShare: number };
  /** The smallest epsilon >= 0 that the bound allows for a delta; Infinity where there is none. `guess` only saves time. */
  readonly epsilon: (logDelta: number, guess: number) => number;
}

interface PoweredSpectrum {
  readonly spectrum: Spectrum;
  readonly steps: number;
}

/** U_j = (1/N) sum_k re_k cos(2 pi j k / N) - im_k sin(...), with a bound on its error, whatever the j. */
interface Inversion {
  readonly re: Float64Array;
  readonly im: Float64Array;
  readonly error: number;
}

const ROUNDOFF = 2 ** -53;
/** Frequencies at which the product is below e^-46 (1 at frequency 0) are dropped, and charged. */
const DROPPED = -46;
/** ln |phi| below which a phase may be all rounding. */
const LOG_LOST = -27;
/** Sums are taken, and rotations begin anew, every so many frequencies: errors grow no further. */
const RESYNCHRONISED = 32;

/** Undefined where a step does not fit the grid. */
export function compose(parts: readonly Part[], grid: Grid): Composition | undefined {
  const { size, step } = grid;
  const tilt = tiltAt(grid.tiltIndex);
  const spectra: PoweredSpectrum[] = [];
  for (const part of parts) {
    const spectrum = spectrumOf(part.step, grid);
    if (spectrum === undefined) return undefined;
    spectra.push({ spectrum, steps: part.steps });
  }
  const logMoment = spectra.reduce((sum, { spectrum, steps }) => sum + steps * spectrum.log, 0);
  const infinity = spectra.reduce((sum, { spectrum, steps }) => sum + steps * spectrum.infinity, 0);
  const inversion = invert(spectra, { size, step, tilt });

  const charges = 8 * ROUNDOFF * (parts.length + 2);
  /** ln of M e^(-lambda j h) `sum`, rounded up. */
  const logFinite = (j: number, sum: number): number => {
    const exponent = tilt * step * j;
    return logMoment - exponent + Math.log(sum) + charges * (1 + Math.abs(logMoment) + Math.abs(exponent));
  };
  const logInfinity = Math.log(infinity);
  /** At epsilon = j h only the payoffs from j + 1 on are left. */
  const logDeltaAtDot = (j: number): number => {
    const sum = evaluate(inversion, size, j + 1) + inversion.error;
    return logAddExp(logFinite(j, Math.exp(-tilt * step) * -Math.expm1(-step) * sum), logInfinity);
  };
  return {
    at: (epsilon) => {
      const j = Math.ceil(epsilon / step);
      const rest = Math.max(0, j * step - epsilon);
      const [first, second] = [-Math.expm1(-rest), -Math.exp(-tilt * step - rest) * Math.expm1(Math.min(0, rest - step))];
      const sum = first * evaluate(inversion, size, j) + second * evaluate(inversion, size, j + 1);
      const bound = logAddExp(logFinite(j, sum + (first + second) * inversion.error), logInfinity);
      return { logDelta: Math.min(0, bound), chargedShare: -Math.expm1(logFinite(j, sum) - bound) };
    },
    epsilon: (logDelta, guess) => {
      const wanted = logDelta - 1e-12;
      const found = firstAtMost(logDeltaAtDot, wanted, { start: Math.max(0, Math.ceil(guess / step)), slope: tilt * step, farthest: 64 * size });
      if (found === undefined) return Infinity;
      if (found.index === 0) return 0;
      // Between two dots delta is linear in e^epsilon.
      const [above, below] = [Math.exp(found.before - wanted), Math.exp(found.at - wanted)];
      return (found.index * step + Math.log1p((Math.expm1(-step) * (1 - below)) / (above - below))) * (1 + 1e-13);
    },
  };
}

/**
 * sum_{j >= J} a_j e^(-lambda h (j - J)) (1 - e^(-h (j - J + 1))) / (1 - e^-h), for every J, as a Fourier sum: Phi_k over (1 - z)(1 - z e^-h),
 * z = e^(2 pi i k / N - lambda h).
 */
function invert(spectra: readonly PoweredSpectrum[], { size, step, tilt }: { readonly size: number; readonly step: number; readonly tilt: number }): Inversion {
  const logs = new Float64Array(size / 2 + 1);
  for (const { spectrum, steps } of spectra) {
    const { logMagnitude } = spectrum;
    for (let k = 0; k < logs.length; k += 1) logs[k]! += steps * logMagnitude[k]!;
  }
  let count = logs.length;
  while (count > 1 && logs[count - 1]! < DROPPED) count -= 1;
  const re = new Float64Array(count);
  const im = new Float64Array(count);
  const decay = Math.exp(-tilt * step);
  const decayMore = Math.exp(-(tilt + 1) * step);
  const [gap, gapMore] = [-Math.expm1(-tilt * step), -Math.expm1(-(tilt + 1) * step)];
  // ln |phi| is off by at most error / |phi|: twice the error where |phi| is above 1/2, below by a hundredth of itself.
  const slack = spectra.reduce((sum, { spectrum, steps }) => sum + 2 * steps * spectrum.errorAt(size / 2), 0.5);
  let error = Math.exp(DROPPED + slack) / (gap * gapMore);
  for (let k = 0; k < count; k += 1) {
    if (logs[k]! < DROPPED) continue;
    let angle = 0;
    let shift = 0;
    let relative = (256 + count / RESYNCHRONISED) * ROUNDOFF - 8 * ROUNDOFF * logs[k]!;
    for (const { spectrum, steps } of spectra) {
      const own = Math.atan2(spectrum.im[k]!, spectrum.re[k]!);
      angle += steps * own;
      shift += steps * spectrum.errorAt(k) * Math.exp(-spectrum.logMagnitude[k]!);
      if (spectrum.logMagnitude[k]! < LOG_LOST) relative += 2;
      relative += 8 * ROUNDOFF * steps * Math.abs(own);
    }
    // |(phi + e)^T - phi^T| <= |phi|^T ((1 + |e / phi|)^T - 1).
    relative += Math.expm1(shift);
    const half = Math.sin((Math.PI * k) / size);
    const [versine, sine] = [2 * half * half, Math.sin((2 * Math.PI * k) / size)];
    // (1 - z) and (1 - z e^-h), without cancellation.
    const [aRe, aIm] = [gap + decay * versine, -decay * sine];
    const [bRe, bIm] = [gapMore + decayMore * versine, -decayMore * sine];
    const [denominatorRe, denominatorIm] = [aRe * bRe - aIm * bIm, aRe * bIm + aIm * bRe];
    const squared = denominatorRe * denominatorRe + denominatorIm * denominatorIm;
    const weight = ((k === 0 || 2 * k === size ? 1 : 2) / size) * Math.exp(logs[k]!);
    const [phiRe, phiIm] = [weight * Math.cos(angle), weight * Math.sin(angle)];
    re[k] = (phiRe * denominatorRe + phiIm * denominatorIm) / squared;
    im[k] = (phiIm * denominatorRe - phiRe * denominatorIm) / squared;
    error += (relative * weight) / Math.sqrt(squared);
  }
  return { re, im, error };
}

/** The sum for J = j. */
function evaluate({ re, im }: Inversion, size: number, j: number): number {
  const onRing = ((j % size) + size) % size;
  const turn = (2 * Math.PI * onRing) / size;
  const [cosTurn, sinTurn] = [Math.cos(turn), Math.sin(turn)];
  let sum = re[0]!;
  let [block, c, s] = [0, 1, 0];
  for (let k = 1; k < re.length; k += 1) {
    if (k % RESYNCHRONISED === 0) {
      sum += block;
      block = 0;
      const angle = (2 * Math.PI * ((k * onRing) % size)) / size;
      c = Math.cos(angle);
      s = Math.sin(angle);
    } else {
      const turned = c * cosTurn - s * sinTurn;
      s = s * cosTurn + c * sinTurn;
      c = turned;
    }
    block += re[k]! * c - im[k]! * s;
  }
  sum += block;
  return Math.max(0, sum);
}

/** The first index >= 0 at which a function that does not increase is at most `wanted`; undefined beyond `farthest` of the start. */
function firstAtMost(
  valueAt: (index: number) => number,
  wanted: number,
  { start, slope, farthest }: { readonly start: number; readonly slope: number; readonly farthest: number },
): { readonly index: number; readonly at: number; readonly before: number } | undefined {
  let low = -1;
  let before = Infinity;
  let high = Infinity;
  let at = -Infinity;
  let next = start;
  for (let turn = 0; high - low > 1; turn += 1) {
    const value = valueAt(next);
    if (value <= wanted) [high, at] = [next, value];
    else [low, before] = [next, value];
    if (low > start + farthest) return undefined;
    const jump = Math.ceil(Math.abs(value - wanted) / slope);
    if (high === Infinity) next = low + Math.max(1, 2 ** Math.max(0, turn - 4)) * Math.max(1, jump);
    else if (before === Infinity) next = Math.max(low + 1, high - Math.max(1, 2 ** Math.max(0, turn - 4)) * Math.max(1, jump));
    else if (turn % 4 === 3) next = Math.floor((low + high) / 2);
    else next = low + Math.ceil(((before - wanted) / (before - at)) * (high - low));
    next = Math.max(low + 1, Math.min(high - 1, next));
  }
  return { index: high, at, before };
}

function logAddExp(a: number, b: number): number {
  const high = Math.max(a, b);
  return high === -Infinity ? -Infinity : high + Math.log1p(Math.exp(-Math.abs(a - b)));
}
