/** What a mechanism did, apart from how it is analysed (dp_accounting's dp_event.py teaches the separation). */

/**
 * `steps` releases of a Poisson-subsampled Gaussian mechanism, add-or-remove-one patient.
 * samplingRate in (0, 1]; noiseMultiplier = noise standard deviation / L2 sensitivity, > 0; steps a positive integer.
 */
export interface GaussianEvent {
  readonly type: 'poisson-gaussian';
  readonly samplingRate: number;
  readonly noiseMultiplier: number;
  readonly steps: number;
}

/** A release without noise: its epsilon is infinite, and every accountant says so. */
export interface UnprotectedEvent {
  readonly type: 'unprotected';
  readonly steps: number;
}

export type PrivacyEvent = GaussianEvent | UnprotectedEvent;

/** A privacy guarantee over the whole history; never subtracted, only recomputed. */
export interface EpsilonSpent {
  readonly epsilon: number;
  readonly delta: number;
}
