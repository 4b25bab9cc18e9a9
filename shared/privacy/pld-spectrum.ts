import { fftError, realFft, rootsOfUnity } from './fft.ts';
import { connectTheDots, MASS_ERROR } from './pld-dots.ts';
import type { OneStep } from './pld-exact.ts';
import { cumulantsOfStep, nameOfStep, stepLoss, tiltAt } from './pld-step.ts';

/** A grid of losses and the tilt under which a composition is computed on it. */
export interface Grid {
  /** Index of the tilt lambda on its ladder (pld-step.ts). */
  readonly tiltIndex: number;
  /** The composed distribution is wrapped around a ring of so many grid steps, a power of two. */
  readonly size: number;
  readonly step: number;
  /** At most e^-tail of one step's mass may count as infinite loss. */
  readonly tail: number;
  /** Of dots, where one step decides alone (pld-dots.ts): spacing, and ln of the density that counts. */
  readonly widest: number;
  readonly logDensityThatCounts: number;
  /** Whether low frequencies are summed directly, with less rounding. */
  readonly refined: boolean;
}

/** The characteristic function of one step's dots under the tilt, on the ring's frequencies 2 pi k / size, k = 0 .. size/2. */
export interface Spectrum {
  readonly re: Float64Array;
  readonly im: Float64Array;
  /** ln |phi_k|, no less than ln 1e-13. */
  readonly logMagnitude: Float64Array;
  /** Bound on the error of phi_k, of its logarithm times |phi_k|, by rounding. */
  readonly errorAt: (k: number) => number;
  /** ln E[e^(lambda L)], the bound on its error included. */
  readonly log: number;
  readonly infinity: number;
}

const ROUNDOFF = 2 ** -53;
const SMALLEST_MAGNITUDE = 1e-13;
/** Frequencies summed directly. */
const DIRECT = 256;

/**
 * Spectra of the steps asked for lately, the oldest first, within so many numbers (48 MiB of them): a study asks for the same few mechanisms with
 * other step counts.
 */
const cache = new Map<string, Spectrum>();
const MAX_NUMBERS = 6 * 2 ** 20;
let cachedNumbers = 0;

function numbersIn({ re }: Pick<Spectrum, 're'>): number {
  return 3 * re.length;
}

/** Undefined where a step does not fit the grid. */
export function spectrumOf(mechanism: OneStep, grid: Grid): Spectrum | undefined {
  const name = `${nameOfStep(mechanism)}:${grid.tiltIndex}:${grid.size}:${grid.step}:${grid.tail}:${grid.widest}:${grid.logDensityThatCounts}:${grid.refined}`;
  const known = cache.get(name);
  if (known !== undefined) return known;
  const spectrum = computeSpectrum(mechanism, grid);
  if (spectrum === undefined) return undefined;
  cachedNumbers += numbersIn(spectrum);
  for (const [oldest, { re }] of cache) {
    if (cachedNumbers <= MAX_NUMBERS) break;
    cachedNumbers -= numbersIn({ re });
    cache.delete(oldest);
  }
  cache.set(name, spectrum);
  return spectrum;
}

function computeSpectrum(mechanism: OneStep, { tiltIndex, size, step, tail, widest, logDensityThatCounts, refined }: Grid): Spectrum | undefined {
  const tilt = tiltAt(tiltIndex);
  const rough = cumulantsOfStep(mechanism, tiltIndex);
  const loss = stepLoss(mechanism);
  const precision = { tilt, log: rough.log, variance: rough.variance, widest, densityThatCounts: Math.exp(logDensityThatCounts) };
  const dots = connectTheDots({ step: loss, gridStep: step, tailMass: Math.exp(-tail), ...precision });
  if (dots === undefined) return undefined;
  const { indices, masses, infinity } = dots;
  const exponent = (i: number): number => tilt * step * indices[i]!;
  let highest = -Infinity;
  for (let i = 0; i < indices.length; i += 1) if (masses[i]! > 0) highest = Math.max(highest, exponent(i) + Math.log(masses[i]!));
  let sum = 0;
  for (let i = 0; i < indices.length; i += 1) sum += masses[i]! * Math.exp(exponent(i) - highest);
  const ring = new Float64Array(size);
  for (let i = 0; i < indices.length; i += 1) ring[modulo(indices[i]!, size)]! += (masses[i]! * Math.exp(exponent(i) - highest)) / sum;

  const { re, im } = realFft(ring);
  const direct = refined ? Math.min(DIRECT, re.length) : 0;
  if (refined) sumDirectly(ring, { re, im }, direct);
  const logMagnitude = new Float64Array(re.length);
  for (let k = 0; k < re.length; k += 1) logMagnitude[k] = 0.5 * Math.log(Math.max(SMALLEST_MAGNITUDE * SMALLEST_MAGNITUDE, re[k]! * re[k]! + im[k]! * im[k]!));
  const [summed, transformed] = [12 * ROUNDOFF, fftError(size) + 4 * ROUNDOFF];
  return {
    re,
    im,
    logMagnitude,
    errorAt: (k) => (k < direct ? summed : transformed),
    log: highest + Math.log(sum) + relativeError(mechanism, tilt, indices.length),
    infinity: infinity * (1 + 1e-12),
  };
}

/** The first frequencies term by term, sums compensated (Neumaier): a few u off. */
function sumDirectly(ring: Float64Array, { re, im }: { readonly re: Float64Array; readonly im: Float64Array }, count: number): void {
  const size = ring.length;
  const { cos, sin } = rootsOfUnity(size);
  const filled: number[] = [];
  for (let j = 0; j < size; j += 1) if (ring[j]! > 0) filled.push(j);
  const sumOf = (k: number, roots: Float64Array): number => {
    let [sum, lost] = [0, 0];
    for (const j of filled) {
      const term = ring[j]! * roots[(j * k) % size]!;
      const next = sum + term;
      lost += Math.abs(sum) >= Math.abs(term) ? sum - next + term : term - next + sum;
      sum = next;
    }
    return sum + lost;
  };
  for (let k = 0; k < count; k += 1) {
    re[k] = sumOf(k, cos);
    im[k] = -sumOf(k, sin);
  }
}

/** Of E[e^(lambda L)], a bound: masses, their sum and powers, and losses that are off by the rounding of their exponent. */
function relativeError({ samplingRate, noiseMultiplier, direction }: OneStep, tilt: number, count: number): number {
  const mu = 1 / noiseMultiplier;
  const { slope, to } = stepLoss({ samplingRate, noiseMultiplier, direction });
  const lossError = 8 * ROUNDOFF * (slope(direction === 'remove' ? to : -to) / mu) * (mu * to + mu * mu + 1e-3);
  return MASS_ERROR + 2 * ROUNDOFF * count + tilt * lossError;
}

function modulo(index: number, size: number): number {
  return ((index % size) + size) % size;
}
