import { invariant } from '../shared/errors.ts';
import type { ServerOptimiserSpec } from '../shared/study/schema.ts';

/** One site's released (noised) update, new minus starting weights, and its public weight (the study's `patients`). */
export interface WeightedUpdate {
  readonly update: Float32Array;
  readonly weight: number;
}

/** Weighted mean of the updates, in float64; the weights are public constants. All updates have the same length. */
export function combineUpdates(updates: readonly WeightedUpdate[]): Float64Array {
  const [first] = updates;
  invariant(first !== undefined, 'at least one update to combine');
  const total = updates.reduce((sum, { weight }) => sum + weight, 0);
  const mean = new Float64Array(first.update.length);
  for (const { update, weight } of updates) {
    invariant(update.length === mean.length && weight > 0, 'updates of one shape with positive weights');
    const share = weight / total;
    for (let i = 0; i < mean.length; i += 1) mean[i]! += share * update[i]!;
  }
  return mean;
}

/** What the server optimiser remembers of one modality's (encoder, head) vector; zeros before its first round. */
export interface OptimiserState {
  readonly first: Float32Array;
  readonly second: Float32Array;
}

export function freshOptimiser(size: number): OptimiserState {
  return { first: new Float32Array(size), second: new Float32Array(size) };
}

/**
 * One server step (Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2; no bias correction, as there).
 * `fedavg`: v <- momentum v + delta, w <- w + lr v. `fedadam`: Adam on the pseudo-gradient delta. Post-processing of
 * released updates: costs no privacy.
 */
export function serverStep(input: {
  readonly weights: Float32Array;
  readonly delta: Float64Array;
  readonly state: OptimiserState;
  readonly spec: ServerOptimiserSpec;
}): { readonly weights: Float32Array<ArrayBuffer>; readonly state: OptimiserState } {
  const { weights, delta, state, spec } = input;
  const next = new Float32Array(weights.length);
  const first = new Float32Array(weights.length);
  const second = new Float32Array(weights.length);
  for (let i = 0; i < weights.length; i += 1) {
    const d = delta[i]!;
    if (spec.type === 'fedavg') {
      first[i] = spec.momentum * state.first[i]! + d;
      next[i] = weights[i]! + spec.learningRate * first[i]!;
    } else {
      first[i] = spec.beta1 * state.first[i]! + (1 - spec.beta1) * d;
      second[i] = spec.beta2 * state.second[i]! + (1 - spec.beta2) * d * d;
      next[i] = weights[i]! + (spec.learningRate * first[i]!) / (Math.sqrt(second[i]!) + spec.epsilon);
    }
  }
  return { weights: next, state: { first, second } };
}
