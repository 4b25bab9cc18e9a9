import { AntiphonError, invariant } from '../errors.ts';
import { createDiscreteGaussian, LARGEST_STDDEV } from './discrete-gaussian.ts';
import type { GaussianEvent } from './event.ts';
import type { RandomSource } from './random.ts';

/**
 * The mechanism: clip -> sum -> grid -> noise, and the event it is charged as.
 *
 * Formal guarantees. Let f(D) be the sum, over the sampled patients of D, of one gradient each, scaled to L2 norm at most
 * `clipThreshold`, computed in float32 within micro-batches and float64 across, rounded to multiples of `gridStep`. For D and D'
 * that differ in one patient, ||f(D) - f(D')|| <= clipNorm. `releaseNoisySum` adds discrete Gaussian noise of standard deviation at least
 * noiseMultiplier * clipNorm on the same grid, so with Poisson sampling each step is at least as private as `event` says.
 *
 * The study's clipNorm C IS that sensitivity, everything included: the threshold inside is C (1 - margin), where margin bounds
 *   normError  u (longestReduction + 8): a float32 norm that comes out too small lets a patient exceed the threshold by that much;
 *   sumError   2 u (microBatch + 2) maxSampled: one more patient may move the others between micro-batches, whose float32 sums err by at
 *              most u (B + 2) times the sum of B norms, on both inputs (u = 2^-24; Higham 2002, section 4.2): B - 1 additions, the rounding of
 *              the clip factor and of its product, and one u to spare, which covers the float64 additions across micro-batches;
 *   lostSquares 2^-62 sqrt(d): squares below 2^-126 may count as 0 in a norm (dense.ts makes up for those that a product of norms would magnify);
 *   gridError  g sqrt(d) <= 1e-3 C: two rounded sums differ by at most one grid step more in each coordinate.
 * So (1 - margin)(1 + normError) + sumError + lostSquares + gridError <= 1, in units of C. What is bounded are the errors of norms and sums of the SAME float32
 * gradients: whoever computes the norms must sum what was measured (shared/model/layer.ts, `perExample`). Assumed, not bounded: a patient's float32
 * gradient is the same whoever shares its micro-batch (each row of a kernel is computed by itself).
 *
 * | edge case                  | what happens                                                                     |
 * |----------------------------|----------------------------------------------------------------------------------|
 * | nobody is sampled          | the zero sum is noised and released like any other                                |
 * | more than maxSampled are   | the caller keeps a uniform maxSampled of them (truncated Poisson, 2508.15089); this  |
 * |                            | adds at most (1 + e^epsilon) steps 3e-19 to delta, which is not charged            |
 * | a non-finite gradient      | the network refuses before this point; here it is a broken invariant               |
 * | the patient has 10 records | one is drawn per step; the sensitivity is that of one gradient                     |
 */
export interface MechanismPlan {
  /** Length of the sums that are released. */
  readonly parameters: number;
  readonly clipNorm: number;
  /** What gradients are clipped to: clipNorm (1 - margin). */
  readonly clipThreshold: number;
  readonly gridStep: number;
  /** Noise standard deviation in grid steps, an integer, rounded up. */
  readonly noiseStddevGrid: number;
  /** Physical cap on sampled patients: q n + 10 sqrt(q n) + 10, exceeded with probability below e^-42 a step (Chernoff), at most n. */
  readonly maxSampled: number;
  readonly margin: number;
  readonly event: GaussianEvent;
}

const UNIT_ROUNDOFF = 2 ** -24;
const LOST = 2 ** -62;
const GRID_SHARE = 1e-3;
const MAX_MARGIN = 0.1;
/** Added and taken away again: rounds to the nearest integer, half to even, below 2^51 (sums stay below 2^42 grid steps); `Math.round` takes five times as long. */
const TO_INTEGER = 1.5 * 2 ** 52;

export interface MechanismInput {
  /** Dimension d of the (encoder, head) vector. */
  readonly parameters: number;
  readonly clipNorm: number;
  readonly noiseMultiplier: number;
  readonly samplingRate: number;
  /** Public cap on the site's patients. */
  readonly patients: number;
  readonly steps: number;
  /** Longest float32 sum inside a per-patient norm (the network knows it). */
  readonly longestReduction: number;
  readonly microBatch: number;
}

/** Patients that may take part in a step (`maxSampled` above). */
export function mostSampled(samplingRate: number, patients: number): number {
  const expected = samplingRate * patients;
  return Math.min(patients, Math.ceil(expected + 10 * Math.sqrt(expected) + 10));
}

/** Throws AntiphonError('study-invalid') when the errors leave too little of the clip norm, or the noise does not fit the grid. */
export function planMechanism(input: MechanismInput): MechanismPlan {
  const { parameters, clipNorm, noiseMultiplier, samplingRate, patients, steps, longestReduction, microBatch } = input;
  const maxSampled = mostSampled(samplingRate, patients);
  // A power of two: its multiples are exact in doubles.
  const gridStep = 2 ** Math.floor(Math.log2((GRID_SHARE * clipNorm) / Math.sqrt(parameters)));
  const margin = UNIT_ROUNDOFF * (longestReduction + 8) + ((gridStep + LOST) * Math.sqrt(parameters)) / clipNorm + 2 * UNIT_ROUNDOFF * (microBatch + 2) * maxSampled;
  if (margin > MAX_MARGIN) {
    throw new AntiphonError('study-invalid', `float32 errors could reach ${(100 * margin).toFixed(1)} % of the clip norm with up to ${maxSampled} sampled patients a step; lower the sampling rate, split the site, or raise a clip norm that is nearly 0`);
  }
  const noiseStddevGrid = Math.ceil((noiseMultiplier * clipNorm) / gridStep);
  if (noiseStddevGrid > LARGEST_STDDEV) {
    throw new AntiphonError('study-invalid', `a noise multiplier of ${noiseMultiplier} is too large for ${parameters} parameters (2^40 grid steps at most); lower it: nothing can be learnt under such noise`);
  }
  return {
    parameters,
    clipNorm,
    clipThreshold: clipNorm * (1 - margin),
    gridStep,
    noiseStddevGrid,
    maxSampled,
    margin,
    event: { type: 'poisson-gaussian', samplingRate, noiseMultiplier, steps },
  };
}

/** One release: the clipped sum [parameters], rounded to the grid, plus integer noise, in the sum's own unit. */
export function releaseNoisySum(plan: MechanismPlan, clippedSum: Float64Array, random: RandomSource): Float64Array {
  const { gridStep, noiseStddevGrid } = plan;
  assertBounded(plan, clippedSum);
  const stepsPerUnit = 1 / gridStep;
  const released = new Float64Array(clippedSum.length);
  createDiscreteGaussian(noiseStddevGrid, random).fill(released);
  for (let i = 0; i < released.length; i += 1) released[i] = (clippedSum[i]! * stepsPerUnit + TO_INTEGER - TO_INTEGER + released[i]!) * gridStep;
  return released;
}

/** The clipped sum as the mechanism's proof needs it; anything else is our own fault and stops the site before a release. */
export function assertBounded({ parameters, clipNorm, maxSampled }: MechanismPlan, clippedSum: Float64Array): void {
  invariant(clippedSum.length === parameters, `a clipped sum of ${parameters} coordinates, found ${clippedSum.length}`);
  let squared = 0;
  for (let i = 0; i < clippedSum.length; i += 1) squared += clippedSum[i]! * clippedSum[i]!;
  invariant(Number.isFinite(squared), 'a finite clipped sum');
  invariant(Math.sqrt(squared) <= maxSampled * clipNorm, 'a clipped sum no longer than its patients allow');
}
