import { beforeAll, describe, expect, it } from 'vitest';
import { checkPatientCap, trainRound, type LocalTraining } from '../../client/train.ts';
import type { Dataset } from '../../shared/data/dataset.ts';
import { gatherRecords } from '../../shared/data/features.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { gradientSum } from '../../shared/model/gradients.ts';
import { createNetwork, type Network } from '../../shared/model/network.ts';
import { tf } from '../../shared/model/tf.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import type { RoundMechanism } from '../../shared/study/resolve.ts';

const mlp = createNetwork({ shape: [40], encoder: { type: 'mlp', hidden: [30], activation: 'relu', normalise: 'none' }, features: 20, classes: 3 });
const small = createNetwork({ shape: [6], encoder: { type: 'mlp', hidden: [5], activation: 'tanh', normalise: 'layer' }, features: 4, classes: 3 });
const cnn = createNetwork({ shape: [6, 5, 2], encoder: { type: 'cnn', filters: [2, 4], kernel: 3, stride: 2, activation: 'relu', normalise: 'group', groups: 2 }, features: 4, classes: 2 });

const CLIP = 0.7;
/** A standard normal is beyond this with probability 6e-10. */
const RARE = 6.2;
/** So little that the grid's own step, the least noise there is, takes its place. */
const HARDLY_ANY = 1e-12;

function noisy(change: { steps?: number; samplingRate?: number; noiseMultiplier?: number } = {}): RoundMechanism {
  return { protection: 'local-noise', clipNorm: CLIP, noiseMultiplier: HARDLY_ANY, samplingRate: 1, steps: 1, ...change };
}
const plain = (steps: number): RoundMechanism => ({ protection: 'none', samplingRate: 1, steps });

/** By default each record is its patient's only one. */
function records(network: Network, count: number, scale = 1, owners = Array.from({ length: count }, (_, i) => [i])): Dataset {
  return {
    size: network.inputSize,
    features: Float32Array.from({ length: count * network.inputSize }, (_, i) => scale * (Math.sin(1.7 * i) - 0.3)),
    labels: Int32Array.from({ length: count }, (_, i) => (i + 1) % network.spec.classes),
    patients: { ids: owners.map((_, i) => `p${i}`), records: owners.map((own) => Int32Array.from(own)) },
    lines: Int32Array.from({ length: count }, (_, i) => i + 2),
  };
}

/** Patients who all have the same enormous record: their gradients, clipped one by one, add up to as many C. */
const crowd = (count: number): Dataset => records(mlp, 1, 1e6, Array.from({ length: count }, () => [0]));

/** By default the cap is larger than the data: what is divided by is the public one. */
function round(network: Network, dataset: Dataset, mechanism: RoundMechanism, change: Partial<LocalTraining> = {}): Promise<Float32Array> {
  return trainRound({ network, dataset, mechanism, weights: network.initialise(3, 'm'), patients: 100, learningRate: 0.3, momentum: 0.9, random: createKeyStream(), ...change });
}

const norm = (values: ArrayLike<number>): number => Math.hypot(...Array.from(values));
const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number => norm(Array.from(a, (value, i) => value - b[i]!));

/** Plain gradients of some of the records, added up. */
async function gradientOf(network: Network, data: Dataset, { chosen, weights = network.initialise(3, 'm') }: { chosen: readonly number[]; weights?: Float32Array }): Promise<Float64Array> {
  const loaded = loadWeights(network, weights);
  const features = gatherRecords(data, chosen);
  const sum = await gradientSum({ network, weights: loaded, features, labels: Int32Array.from(chosen, (record) => data.labels[record]!), microBatch: 1000 });
  disposeWeights(loaded);
  return sum;
}

beforeAll(async () => {
  await openBackend('wasm');
});

describe('noise, when nobody is ever sampled', () => {
  const [z, q, n, rate] = [1.3, 1e-12, 100, 0.3];
  const oneStep = (rate * z * CLIP) / (q * n);

  async function updates(runs: number, steps: number, momentum: number): Promise<Float64Array> {
    const all = new Float64Array(runs * mlp.size);
    const dataset = crowd(20);
    const mechanism = noisy({ steps, samplingRate: q, noiseMultiplier: z });
    for (let run = 0; run < runs; run += 1) all.set(await round(mlp, dataset, mechanism, { patients: n, learningRate: rate, momentum }), run * mlp.size);
    return all;
  }

  /** Standard normals, if the values are independent, of mean 0 and of this standard deviation. */
  function scores(values: Float64Array, stddev: number): { variance: number; mean: number; neighbours: number } {
    const count = values.length;
    let [sum, squares, products] = [0, 0, 0];
    values.forEach((value, i) => {
      sum += value / stddev;
      squares += (value / stddev) ** 2;
      products += (value * (values[i + 1] ?? 0)) / stddev ** 2;
    });
    // Chi-square by Wilson and Hilferty: its cube root is all but normal.
    const spread = 2 / (9 * count);
    return { variance: (Math.cbrt(squares / count) - 1 + spread) / Math.sqrt(spread), mean: sum / Math.sqrt(count), neighbours: products / Math.sqrt(count) };
  }

  function expectNoise(values: Float64Array, stddev: number): void {
    const found = scores(values, stddev);
    console.log(`noise of ${values.length} coordinates, in standard errors: ${Object.entries(found).map(([name, score]) => `${name} ${score.toFixed(2)}`).join(', ')}`);
    for (const score of Object.values(found)) expect(Math.abs(score)).toBeLessThan(RARE);
    // The check can fail: at a standard deviation one per cent off, it does.
    expect(scores(values, stddev * 1.01).variance).toBeLessThan(-RARE);
    expect(scores(values, stddev / 1.01).variance).toBeGreaterThan(RARE);
  }

  it('a step adds independent noise of variance (learningRate z C / q n)^2 and mean 0', async () => {
    expectNoise(await updates(520, 1, 0.9), oneStep);
  });

  it.each([0, 0.9])('the noise of five steps adds up in the velocity, momentum %f', async (momentum) => {
    const steps = 5;
    // Noise of step k is in the velocities of steps k .. K-1, with weights 1, mu, mu^2, ...
    const weights = Array.from({ length: steps }, (_, k) => (1 - momentum ** (steps - k)) / (1 - momentum));
    expectNoise(await updates(520, steps, momentum), oneStep * norm(weights));
  });
});

it('records that are not in memory train the same model, some at a time', async () => {
  const dataset = records(small, 300);
  const features = gatherRecords(dataset, [...dataset.labels.keys()]);
  const copied: number[] = [];
  const stored: Dataset = {
    ...dataset,
    features: {
      copy: (record, target, offset) => {
        copied.push(record);
        target.set(features.subarray(record * small.inputSize, (record + 1) * small.inputSize), offset);
      },
      close: () => undefined,
    },
  };
  const [inMemory, fromStore] = [await round(small, dataset, plain(2)), await round(small, stored, plain(2))];
  expect(copied).toHaveLength(600);
  expect(norm(inMemory)).toBeGreaterThan(0.01);
  expect(distance(inMemory, fromStore)).toBeLessThan(1e-6 * norm(inMemory));
});

describe('clipping', () => {
  const n = 4;
  const unit = 0.3 / n;
  const change = { patients: n, learningRate: 0.3 };
  /** Rounding and noise of one grid step per coordinate, but for a probability below 1e-10. */
  const slack = 1e-3 * CLIP * (1.5 + 7 / Math.sqrt(mlp.size));

  it.each([1, 3])('bounds the update by C for each of %i patients with enormous features', async (count) => {
    const dataset = crowd(count);
    const update = await round(mlp, dataset, noisy(), change);
    expect(norm(update)).toBeLessThanOrEqual(unit * (count * CLIP + slack));
    expect(norm(update)).toBeGreaterThan(unit * (count * 0.998 * CLIP - slack));
    const unclipped = await round(mlp, dataset, plain(1), change);
    expect(norm(unclipped)).toBeGreaterThan(1e5 * norm(update));
    // Shortened, not turned.
    const factor = norm(update) / norm(unclipped);
    expect(distance(update, unclipped.map((value) => factor * value))).toBeLessThan(0.01 * norm(update));
  });

  it('one of a patient\'s five records is drawn, each as often as the others', async () => {
    const owned = [5, 2, 6, 1, 3];
    const dataset = records(mlp, 7, 6, [owned]);
    const alone = await Promise.all(owned.map(async (record) => {
      const gradient = await gradientOf(mlp, dataset, { chosen: [record] });
      expect(norm(gradient)).toBeGreaterThan(5 * CLIP);
      return gradient.map((value) => (-unit * CLIP * value) / norm(gradient));
    }));
    const tolerance = unit * (slack + 2e-3 * CLIP);
    for (const [i, a] of alone.entries()) for (const b of alone.slice(i + 1)) expect(distance(a, b)).toBeGreaterThan(10 * tolerance);

    const runs = 400;
    const drawn = new Float64Array(owned.length);
    for (let run = 0; run < runs; run += 1) {
      const update = await round(mlp, dataset, noisy(), change);
      expect(norm(update)).toBeLessThanOrEqual(unit * (CLIP + slack));
      const matches = alone.map((one) => distance(update, one) < tolerance);
      expect(matches.filter(Boolean)).toHaveLength(1);
      drawn[matches.indexOf(true)]! += 1;
    }
    const even = runs / owned.length;
    // Chi-square with four degrees of freedom: above 60 with probability 3e-12; one record never drawn gives 100.
    expect(drawn.reduce((sum, found) => sum + (found - even) ** 2 / even, 0)).toBeLessThan(60);
  });

  it('of more sampled patients than the mechanism allows for, only so many take part', async () => {
    // All bits zero: every patient is sampled, no noise is drawn.
    const random = { fill: (target: Uint8Array) => target.fill(0) };
    const update = await round(mlp, crowd(100), noisy({ samplingRate: 0.01 }), { patients: 100, learningRate: 1, random });
    // q n = 1: at most 1 + 10 + 10.
    expect(norm(update)).toBeLessThanOrEqual(21 * CLIP);
    expect(norm(update)).toBeGreaterThan(20.9 * CLIP);
  });

  it('and which of them is drawn, not the first of the list', async () => {
    const key = createKeyStream();
    // Zeros for the 100 patients' own draws of 53 bits: every one is sampled.
    const random = { fill: (target: Uint8Array) => void (target.length === 800 ? target.fill(0) : key.fill(target)) };
    const halves = records(mlp, 2, 1e6, Array.from({ length: 100 }, (_, patient) => [patient < 50 ? 0 : 1]));
    const [first, second] = await Promise.all([0, 1].map(async (record) => {
      const gradient = await gradientOf(mlp, halves, { chosen: [record] });
      return gradient.map((value) => (-CLIP * value) / norm(gradient));
    }));
    const update = await round(mlp, halves, noisy({ samplingRate: 0.01 }), { patients: 100, learningRate: 1, random });
    // Which mixture of 21: none of a half with probability 1e-8.
    const ofFirst = Array.from({ length: 22 }, (_, count) => distance(update, first!.map((value, i) => count * value + (21 - count) * second![i]!)));
    const count = ofFirst.indexOf(Math.min(...ofFirst));
    expect(ofFirst[count]).toBeLessThan(0.1 * CLIP);
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(21);
  });
});

it('without privacy, steps are those of plain gradient descent with momentum', async () => {
  const [steps, patients, learningRate, momentum] = [6, 100, 0.4, 0.8];
  const dataset = records(mlp, 70);
  const start = mlp.initialise(3, 'm');
  const everyone = Array.from(dataset.labels.keys());
  // The heavy ball, without a velocity: what the last step moved, it moves again, shortened.
  let before = Float64Array.from(start);
  let now = before;
  for (let step = 0; step < steps; step += 1) {
    const gradient = await gradientOf(mlp, dataset, { chosen: everyone, weights: Float32Array.from(now) });
    const next = now.map((value, i) => value - (learningRate * gradient[i]!) / patients + momentum * (value - before[i]!));
    [before, now] = [now, next];
  }
  const reference = now.map((value, i) => value - start[i]!);
  const update = await round(mlp, dataset, plain(steps), { patients, learningRate, momentum });
  console.log(`relative difference from the reference: ${(distance(update, reference) / norm(reference)).toExponential(1)}`);
  expect(start).toEqual(mlp.initialise(3, 'm'));
  expect(distance(update, reference)).toBeLessThan(1e-6 * norm(reference));
});

describe.each([['mlp', small], ['cnn', cnn]] as const)('tensors, %s', (_name, network) => {
  const memory = (): readonly number[] => [tf.memory().numTensors, tf.memory().numBytes];

  it('are as many, of as many bytes, after each of 200 private rounds', async () => {
    const before = memory();
    const dataset = records(network, 3);
    for (let run = 0; run < 200; run += 1) {
      await round(network, dataset, noisy({ steps: 2, samplingRate: 0.6, noiseMultiplier: 1 }));
      expect(memory()).toEqual(before);
    }
  });

  it('are let go of when no gradient is finite; the round is noise alone and succeeds, as it does for everybody', async () => {
    const before = memory();
    const dataset = { ...records(network, 3), features: new Float32Array(3 * network.inputSize).fill(NaN) };
    expect((await round(network, dataset, noisy())).every(Number.isFinite)).toBe(true);
    expect(memory()).toEqual(before);
  });
});

it('more patients than the study allows the site are refused, as many are not', () => {
  expect(() => checkPatientCap('north', 12, 12)).not.toThrow();
  expect(() => checkPatientCap('north', 13, 12)).toThrow(AntiphonError);
  expect(() => checkPatientCap('north', 13, 12)).toThrow(expect.objectContaining({ code: 'data-invalid' }) as Error);
});
