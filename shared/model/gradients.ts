import { AntiphonError, invariant } from '../errors.ts';
import type { Layer } from './layer.ts';
import type { Network } from './network.ts';
import { tf, type Tensor, type Tensor2D } from './tf.ts';
import type { WeightTensors } from './weights.ts';

export interface Batch {
  readonly network: Network;
  readonly weights: WeightTensors;
  /** [n, inputSize], row-major. Sensitive. */
  readonly features: Float32Array;
  /** [n], 0 .. classes-1. */
  readonly labels: Int32Array;
  /** Examples per forward and backward pass. */
  readonly microBatch: number;
}

/**
 * sum_i c_i g_i [size], g_i the cross-entropy gradient of example i over encoder AND head, c_i = min(1, clipThreshold / ||g_i||): one forward and
 * one backward pass by book-keeping (Bu et al. 2022, 2210.00038). float32 inside a micro-batch, float64 across. No example: zeros.
 *
 * Total for all weights and records: an example whose gradient is not finite counts as zero, like one that was not sampled. Whoever chooses the weights could else choose for whom
 * training fails, and a failure is seen from outside. Throws AntiphonError('training-failed') only when a sum is longer than the clipped gradients in it can make it (a backend
 * that computes wrongly): no number of the data is in the message.
 */
export async function clippedGradientSum(batch: Batch & { readonly clipThreshold: number }): Promise<Float64Array> {
  const { network, clipThreshold } = batch;
  invariant(clipThreshold > 0, 'a positive clip threshold');
  const total = new Float64Array(network.size);
  for (const part of microBatches(batch)) {
    let rest: Batch | undefined = part;
    // Fewer examples each time: it ends.
    while (rest !== undefined && rest.labels.length > 0) {
      const outcome = await clippedPart(rest, clipThreshold);
      if (outcome.type === 'sum') add(total, outcome.sum);
      rest = outcome.type === 'sum' ? undefined : withExamples(rest, outcome.finite);
    }
  }
  return total;
}

type ClippedPart = { readonly type: 'sum'; readonly sum: Float32Array } | { readonly type: 'not-finite'; readonly finite: readonly number[] };

async function clippedPart(part: Batch, clipThreshold: number): Promise<ClippedPart> {
  const pass = tf.tidy(() => {
    const perExample = backpropagate(part, (layer, saved, gradient) => ({ layer, own: layer.perExample(saved, gradient) }));
    const squared = perExample.map(({ layer, own }) => layer.squaredNorms(own)).reduce((a, b) => tf.add(a, b));
    return { perExample: perExample.map(({ own }) => [...own]), squared };
  });
  try {
    const norms = Float64Array.from(await pass.squared.data(), Math.sqrt);
    const finite = Array.from(norms.keys()).filter((i) => Number.isFinite(norms[i]));
    if (finite.length < norms.length) return { type: 'not-finite', finite };
    const sum = await flatValues(() => {
      const factors = tf.tensor1d(Float32Array.from(norms, (norm) => (norm > clipThreshold ? clipThreshold / norm : 1)));
      return trainedLayers(part.network).flatMap((layer, i) => layer.weightedSums(pass.perExample[i]!, factors));
    });
    checkLength(sum, norms, { clipThreshold, network: part.network });
    return { type: 'sum', sum };
  } finally {
    tf.dispose(pass);
  }
}

function withExamples(batch: Batch, examples: readonly number[]): Batch {
  const { inputSize } = batch.network;
  const features = new Float32Array(examples.length * inputSize);
  examples.forEach((example, i) => {
    features.set(batch.features.subarray(example * inputSize, (example + 1) * inputSize), i * inputSize);
  });
  return { ...batch, features, labels: Int32Array.from(examples, (example) => batch.labels[example]!) };
}

/** sum_i g_i [size], neither clipped nor private. */
export async function gradientSum(batch: Batch): Promise<Float64Array> {
  const total = new Float64Array(batch.network.size);
  for (const part of microBatches(batch)) {
    add(total, await flatValues(() => backpropagate(part, (layer, saved, gradient) => layer.sums(saved, gradient)).flat()));
  }
  return total;
}

function trainedLayers({ layers }: Network): readonly Layer[] {
  return layers.filter(({ parameters }) => parameters.length > 0);
}

function* microBatches(batch: Batch): Generator<Batch> {
  const { network, features, labels, microBatch } = batch;
  invariant(Number.isInteger(microBatch) && microBatch > 0, 'a micro-batch of at least one example');
  invariant(features.length === labels.length * network.inputSize, 'as many records as labels');
  for (let from = 0; from < labels.length; from += microBatch) {
    const to = Math.min(labels.length, from + microBatch);
    yield { ...batch, features: features.subarray(from * network.inputSize, to * network.inputSize), labels: labels.subarray(from, to) };
  }
}

/** One forward and one backward pass; `visit` sees every layer with parameters, with the gradient at its output. In the order of the layers. */
function backpropagate<T>({ network, weights, features, labels }: Batch, visit: (layer: Layer, saved: readonly Tensor[], gradient: Tensor) => T): readonly T[] {
  const { layers, spec } = network;
  let x: Tensor = tf.tensor(features, [labels.length, ...spec.shape]);
  const saved = layers.map((layer, i) => {
    const pass = layer.forward(x, weights[i]!);
    x = pass.output;
    return pass.saved;
  });
  const truth = tf.oneHot(tf.tensor1d(labels, 'int32'), spec.classes);
  // Of the softmax cross-entropy -ln softmax(x)[label], per example.
  let gradient: Tensor = tf.sub(tf.softmax(x as Tensor2D), truth);
  const visited: T[] = [];
  // Nobody asks for the gradient of the data, nor of what layers without parameters make of them.
  const first = layers.findIndex(({ parameters }) => parameters.length > 0);
  for (let i = layers.length - 1; i >= first; i -= 1) {
    const layer = layers[i]!;
    if (layer.parameters.length > 0) visited.unshift(visit(layer, saved[i]!, gradient));
    if (i > first) gradient = layer.backward(saved[i]!, weights[i]!, gradient);
  }
  return visited;
}

async function flatValues(compute: () => readonly Tensor[]): Promise<Float32Array> {
  const flat = tf.tidy(() => tf.concat(compute().map((tensor) => tf.reshape(tensor, [-1]))));
  try {
    return (await flat.data()) as Float32Array;
  } finally {
    flat.dispose();
  }
}

/**
 * The triangle inequality, with room for float32: fails only where norms or sums are computed wrongly, and then nothing may be released. A hundredth of the threshold is
 * room, too: squares of less than 1e-45 are lost, and no weights and records may bring about a failure by that.
 */
function checkLength(sum: Float32Array, norms: Float64Array, { clipThreshold, network }: { readonly clipThreshold: number; readonly network: Network }): void {
  const slack = 1e-3 + (network.longestReduction + norms.length) * 2 ** -23;
  const bound = norms.reduce((total, norm) => total + Math.min(norm, clipThreshold), 0);
  let squared = 0;
  for (let i = 0; i < sum.length; i += 1) squared += sum[i]! ** 2;
  if (!(Math.sqrt(squared) <= bound * (1 + slack) + 0.01 * clipThreshold)) {
    throw new AntiphonError('training-failed', `the compute backend "${tf.getBackend()}" gives a sum of clipped gradients that is longer than it can be; nothing is released: choose another with --backend`);
  }
}

function add(total: Float64Array, values: Float32Array): void {
  for (let i = 0; i < total.length; i += 1) total[i]! += values[i]!;
}
