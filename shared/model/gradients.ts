import { AntiphonError } from '../errors.ts';
import type { Network } from './network.ts';
import { tf, type Rank, type Tensor, type Tensor1D, type Tensor2D } from './tf.ts';
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
 * Throws AntiphonError('training-failed') when a norm is not finite, or all of them are zero: no number of the data is in the message.
 */
export async function clippedGradientSum(batch: Batch & { readonly clipThreshold: number }): Promise<Float64Array> {
  const { clipThreshold } = batch;
  return sumOverMicroBatches(batch, async (pass) => {
    const squared = tf.tidy(() => pass.reduceLayers<Tensor>((layer, saved, gradient, sum) => {
      const own = layer.squaredNorms(saved, gradient);
      return sum === undefined ? own : tf.add(sum, own);
    }));
    const norms = (await squared.data()).map(Math.sqrt);
    tf.dispose(squared);
    checkNorms(norms);
    return tf.tensor1d(Float32Array.from(norms, (norm) => (norm > clipThreshold ? clipThreshold / norm : 1)));
  });
}

/** sum_i g_i [size], neither clipped nor private. */
export async function gradientSum(batch: Batch): Promise<Float64Array> {
  return sumOverMicroBatches(batch, (pass) => Promise.resolve(tf.ones<Rank.R1>([pass.count])));
}

function checkNorms(norms: ArrayLike<number>): void {
  let largest = 0;
  for (let i = 0; i < norms.length; i += 1) {
    if (!Number.isFinite(norms[i])) throw new AntiphonError('training-failed', 'a gradient is not finite; lower the learning rate, and check the data for extreme values');
    largest = Math.max(largest, norms[i]!);
  }
  if (largest === 0) throw new AntiphonError('training-failed', 'every gradient of a batch is zero: the model is dead or the compute backend does not work; run again with another --backend');
}

interface Pass {
  readonly count: number;
  /** From the last layer to the first, each with the gradient at its output. */
  readonly reduceLayers: <T>(visit: (layer: Network['layers'][number], saved: readonly Tensor[], gradient: Tensor, accumulated: T | undefined) => T) => T;
}

async function sumOverMicroBatches(batch: Batch, factorsOf: (pass: Pass) => Promise<Tensor1D>): Promise<Float64Array> {
  const { network, labels, microBatch } = batch;
  const total = new Float64Array(network.size);
  for (let from = 0; from < labels.length; from += microBatch) {
    await addMicroBatch({ batch, from, to: Math.min(labels.length, from + microBatch), total, factorsOf });
  }
  return total;
}

async function addMicroBatch(input: { readonly batch: Batch; readonly from: number; readonly to: number; readonly total: Float64Array; readonly factorsOf: (pass: Pass) => Promise<Tensor1D> }): Promise<void> {
  const { batch, from, to, total, factorsOf } = input;
  const { network, weights, features, labels } = batch;
  const { layers, inputSize, spec } = network;
  const kept: Tensor[] = [];
  const keep = <T extends Tensor>(tensor: T): T => {
    kept.push(tf.keep(tensor));
    return tensor;
  };
  try {
    // One forward and one backward pass; what the layers saved and the gradients at their outputs stay for norms and sums.
    const { saved, gradients } = tf.tidy(() => {
      let x: Tensor = tf.tensor(features.subarray(from * inputSize, to * inputSize), [to - from, ...spec.shape]);
      const savedByLayer = layers.map((layer, i) => {
        const { output, saved: own } = layer.forward(x, weights[i]!);
        x = output;
        return own.map(keep);
      });
      const truth = tf.oneHot(tf.tensor1d(labels.subarray(from, to), 'int32'), spec.classes);
      let gradient: Tensor = tf.sub(tf.softmax(x as Tensor2D), truth);
      const atOutput: Tensor[] = [];
      for (let i = layers.length - 1; i >= 0; i -= 1) {
        atOutput[i] = keep(gradient);
        if (i > 0) gradient = layers[i]!.backward(savedByLayer[i]!, weights[i]!, gradient);
      }
      return { saved: savedByLayer, gradients: atOutput };
    });
    const pass: Pass = {
      count: to - from,
      reduceLayers: (visit) => {
        let accumulated: Parameters<typeof visit>[3];
        for (let i = layers.length - 1; i >= 0; i -= 1) if (layers[i]!.parameters.length > 0) accumulated = visit(layers[i]!, saved[i]!, gradients[i]!, accumulated);
        return accumulated as NonNullable<typeof accumulated>;
      },
    };
    const factors = keep(await factorsOf(pass));
    const flat = tf.tidy(() => tf.concat(layers.flatMap((layer, i) => layer.weightedSums(saved[i]!, gradients[i]!, factors)).map((sum) => tf.reshape(sum, [-1]))));
    const values = await flat.data();
    tf.dispose(flat);
    for (let i = 0; i < total.length; i += 1) total[i]! += values[i]!;
  } finally {
    tf.dispose(kept);
  }
}
