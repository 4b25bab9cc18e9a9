import { mostSampled } from '../shared/privacy/mechanism.ts';
import { failure, type Failure } from '../shared/protocol/failure.ts';
import type { RoundMechanism } from '../shared/study/resolve.ts';

/**
 * The largest L2 norm that K honest local steps can give an update: each step moves by at most lr (maxSampled C + noise) / (q n),
 * momentum adds up to 1 / (1 - momentum) of it. The noise norm is below z C (sqrt(d) + 12) but for a probability of e^-72;
 * a hundredth is room for the grid.
 * Undefined without clipping: there is no honest bound then.
 */
export function updateNormBound(input: {
  readonly mechanism: RoundMechanism;
  readonly parameters: number;
  readonly patients: number;
  readonly learningRate: number;
  readonly momentum: number;
}): number | undefined {
  const { mechanism, parameters, patients, learningRate, momentum } = input;
  if (mechanism.protection === 'none') return undefined;
  const { clipNorm, noiseMultiplier, samplingRate, steps } = mechanism;
  const step = (mostSampled(samplingRate, patients) * clipNorm + noiseMultiplier * clipNorm * (Math.sqrt(parameters) + 12)) / (samplingRate * patients);
  return (1.01 * steps * learningRate * step) / (1 - momentum);
}

/** The update as it may be combined, or the named reason why it must not be. Nothing of its content is in the message. */
export function checkUpdate(update: Float32Array, expected: { readonly parameters: number; readonly normBound: number | undefined }): Failure | undefined {
  if (update.length !== expected.parameters) {
    return failure('wrong-length', `expected an update of ${expected.parameters} weights, found ${update.length}`);
  }
  let squared = 0;
  for (let i = 0; i < update.length; i += 1) squared += update[i]! * update[i]!;
  if (!Number.isFinite(squared)) return failure('not-finite', 'the update holds NaN or infinity: the site should check its data and learning rate');
  if (expected.normBound !== undefined && Math.sqrt(squared) > expected.normBound) {
    return failure('norm-too-large', 'the update is larger than clipping, noise and the learning rate of the study allow');
  }
  return undefined;
}
