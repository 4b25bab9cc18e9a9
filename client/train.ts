import { AntiphonError } from '../shared/errors.ts';
import type { Dataset } from '../shared/data/dataset.ts';
import { gatherRecords } from '../shared/data/features.ts';
import { clippedGradientSum, gradientSum } from '../shared/model/gradients.ts';
import type { Network } from '../shared/model/network.ts';
import { disposeWeights, loadWeights } from '../shared/model/weights.ts';
import { planMechanism, releaseNoisySum, type MechanismPlan } from '../shared/privacy/mechanism.ts';
import { poissonSample, shuffleInPlace, uniformIndex } from '../shared/privacy/poisson.ts';
import type { RandomSource } from '../shared/privacy/random.ts';
import type { RoundMechanism } from '../shared/study/resolve.ts';

/** Patients per forward and backward pass: bounds memory, and the float32 error of a sum (shared/privacy/mechanism.ts). */
export const MICRO_BATCH = 64;

/** Whole micro-batches of records that are in memory together where the data set is not. */
const STORED_AT_ONCE = 4 * MICRO_BATCH;

export interface LocalTraining {
  readonly network: Network;
  /** Sensitive: stays in this process. */
  readonly dataset: Dataset;
  /** Flat (encoder, head) weights the round starts from. */
  readonly weights: Float32Array;
  readonly mechanism: RoundMechanism;
  /** Public cap on this site's patients, the n of q n. */
  readonly patients: number;
  readonly learningRate: number;
  readonly momentum: number;
  /** The CSPRNG: sampling coins and noise. */
  readonly random: RandomSource;
}

/**
 * K local steps of patient-level DP-SGD (Abadi et al. 2016) and the update they add up to, new minus starting weights. With
 * `local-noise` every step is one release of the mechanism in shared/privacy/mechanism.ts; all else is post-processing of it.
 * With `none` nothing is clipped or noised.
 */
export async function trainRound(input: LocalTraining): Promise<Float32Array<ArrayBuffer>> {
  const { weights, mechanism, patients, learningRate, momentum } = input;
  const plan = mechanism.protection === 'none' ? undefined : planFor(input, mechanism);
  const current = new Float64Array(weights);
  const velocity = new Float64Array(weights.length);

  for (let step = 0; step < mechanism.steps; step += 1) {
    const sampled = samplePatients(input, plan);
    const sum = await sumOfGradients(input, { current: new Float32Array(current), sampled, plan });
    const released = plan === undefined ? sum : releaseNoisySum(plan, sum, input.random);
    // Divided by the public q n, never by the realised batch: an empty batch is noised and applied like any other.
    const divisor = mechanism.samplingRate * patients;
    for (let i = 0; i < current.length; i += 1) {
      velocity[i] = momentum * velocity[i]! + released[i]! / divisor;
      current[i]! -= learningRate * velocity[i]!;
    }
  }
  // A loop: `from` with a function takes some seventy times as long.
  const update = new Float32Array(current.length);
  for (let i = 0; i < update.length; i += 1) update[i] = current[i]! - weights[i]!;
  return update;
}

function planFor({ network, patients }: LocalTraining, mechanism: Extract<RoundMechanism, { protection: 'local-noise' }>): MechanismPlan {
  const { clipNorm, noiseMultiplier, samplingRate, steps } = mechanism;
  return planMechanism({ parameters: network.size, clipNorm, noiseMultiplier, samplingRate, patients, steps, longestReduction: network.longestReduction, microBatch: MICRO_BATCH });
}

/** One record of every sampled patient, drawn uniformly: a patient's sensitivity is one clipped gradient, whatever they own. */
function samplePatients({ dataset, mechanism, random }: LocalTraining, plan: MechanismPlan | undefined): Int32Array {
  let sampled = poissonSample(dataset.patients.ids.length, mechanism.samplingRate, random);
  if (plan !== undefined && sampled.length > plan.maxSampled) sampled = shuffleInPlace(sampled, random).slice(0, plan.maxSampled);
  return Int32Array.from(sampled, (patient) => {
    const records = dataset.patients.records[patient]!;
    return records[records.length === 1 ? 0 : uniformIndex(records.length, random)]!;
  });
}

async function sumOfGradients(
  { network, dataset }: LocalTraining,
  { current, sampled, plan }: { readonly current: Float32Array; readonly sampled: Int32Array; readonly plan: MechanismPlan | undefined },
): Promise<Float64Array> {
  const total = new Float64Array(network.size);
  const atOnce = dataset.features instanceof Float32Array ? Math.max(1, sampled.length) : STORED_AT_ONCE;
  const loaded = loadWeights(network, current);
  try {
    for (let from = 0; from < sampled.length; from += atOnce) {
      const chosen = sampled.subarray(from, from + atOnce);
      const labels = Int32Array.from(chosen, (record) => dataset.labels[record]!);
      const batch = { network, weights: loaded, features: gatherRecords(dataset, chosen), labels, microBatch: MICRO_BATCH };
      const sum = plan === undefined ? await gradientSum(batch) : await clippedGradientSum({ ...batch, clipThreshold: plan.clipThreshold });
      for (let i = 0; i < total.length; i += 1) total[i]! += sum[i]!;
    }
    return total;
  } finally {
    disposeWeights(loaded);
  }
}

/** The site's own data must fit what the study says of it in public; the message stays at the site. */
export function checkPatientCap(site: string, found: number, cap: number): void {
  if (found > cap) {
    throw new AntiphonError('data-invalid', `the study allows site "${site}" at most ${cap} patients, its data hold ${found}; narrow the site's selection, or ask the study lead to raise sites[].patients before the study starts`);
  }
}
