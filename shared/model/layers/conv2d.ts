import type { Layer } from '../layer.ts';
import { tf, type Rank, type Tensor, type Tensor2D, type Tensor3D, type Tensor4D } from '../tf.ts';
import { convolutionPlan, type ConvolutionPlan, type Conv2dShape } from './conv2d-plan.ts';

/**
 * Strided convolution with 'same' padding and a bias. The per-example kernel gradients G_i' P_i, with P_i [positions, patch] the image's patches and
 * G_i [positions, filters] its output gradient, are materialised [batch, filters, patch] (smaller than the Gram form at these sizes), and
 * give both the norms and the weighted sum.
 */
export function conv2d(name: string, shape: Conv2dShape): Layer {
  const { input: [, , channels], filters, kernel, stride } = shape;
  const plan = convolutionPlan(shape);
  const { rows, columns } = plan;
  const positions = rows * columns;
  const patch = kernel * kernel * channels;

  /** [1, filters * patch], patches in the order (channel, row, column), to the order of the kernel [row, column, channel, filter]. */
  const toKernel = (sum: Tensor): Tensor => tf.reshape(tf.transpose(tf.reshape(sum, [filters, channels, kernel * kernel]), [2, 1, 0]), [kernel, kernel, channels, filters]);
  return {
    name,
    parameters: [
      { name: `${name}/kernel`, shape: [kernel, kernel, channels, filters], initial: { type: 'he', fanIn: patch } },
      { name: `${name}/bias`, shape: [filters], initial: { type: 'zeros' } },
    ],
    outputShape: [rows, columns, filters],
    longestReduction: (patch + 1) * filters,
    forward: (x, [weights, bias]) => {
      const padded = pad(plan, x as Tensor4D);
      return { output: tf.add(tf.conv2d(padded, weights as Tensor4D, stride, plan.padding), bias!), saved: [padded] };
    },
    backward: (_saved, [weights], gradient) => inputGradient(plan, weights as Tensor4D, gradient as Tensor4D),
    perExample: ([padded], gradient) => {
      const g = tf.reshape<Rank.R3>(gradient, [-1, positions, filters]);
      const patches = tf.reshape<Rank.R3>(extractPatches(plan, padded as Tensor4D), [-1, positions, patch]);
      const kernels: Tensor3D = tf.matMul(tf.transpose(g, [0, 2, 1]), patches);
      return [tf.reshape(kernels, [-1, filters * patch]), tf.sum(g, 1)];
    },
    squaredNorms: ([kernels, biases]) => tf.add(tf.sum(tf.square(kernels!), 1), tf.sum(tf.square(biases!), 1)),
    weightedSums: ([kernels, biases], factors) => {
      const row: Tensor2D = tf.expandDims(factors, 0);
      return [toKernel(tf.matMul(row, kernels as Tensor2D)), tf.reshape(tf.matMul(row, biases as Tensor2D), [filters])];
    },
    sums: ([padded], gradient) => {
      const g = tf.reshape<Rank.R2>(gradient, [-1, filters]);
      const patches = tf.reshape<Rank.R2>(extractPatches(plan, padded as Tensor4D), [-1, patch]);
      return [toKernel(tf.matMul(tf.transpose(g), patches)), tf.reshape(tf.matMul(tf.ones<Rank.R2>([1, g.shape[0]]), g), [filters])];
    },
  };
}

/** TFJS' own 'same' is wrong on wasm where the stride exceeds the kernel; there the zeros are put by hand. */
function pad({ padding, edges: [top, bottom, left, right] }: ConvolutionPlan, x: Tensor4D): Tensor4D {
  return padding === 'same' || top + bottom + left + right === 0 ? x : tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]]);
}

/**
 * im2col, [batch, rows, columns, patch]: a depthwise convolution whose filters each pick one pixel of the window (exact: a product with 1 and zeros);
 * forty times as fast on wasm as strided slices.
 */
function extractPatches({ kernel, stride, padding }: ConvolutionPlan, x: Tensor4D): Tensor4D {
  const taps = kernel * kernel;
  const channels = x.shape[3];
  const picks = tf.reshape<Rank.R4>(tf.tile(tf.expandDims(tf.eye(taps), 1), [1, channels, 1]), [kernel, kernel, channels, taps]);
  return tf.depthwiseConv2d(x, picks, stride, padding);
}

/**
 * The transposed convolution as `stride` plain convolutions, one per row phase: input row s Y + p receives output row Y - t through kernel row
 * s t + p + top. The column phases of a row lie side by side in the channels of one convolution, so that its result is in order already.
 */
function inputGradient({ kernel, stride, taps, before, after, picks, height, width, rows, columns }: ConvolutionPlan, weights: Tensor4D, gradient: Tensor4D): Tensor {
  const [, , channels, filters] = weights.shape;
  const flat = tf.reshape<Rank.R2>(weights, [kernel * kernel, channels * filters]);
  const withZeros = tf.concat([flat, tf.zeros<Rank.R2>([1, channels * filters])], 0);
  const padded = tf.pad(gradient, [[0, 0], [before[0], after[0]], [before[1], after[1]], [0, 0]]);
  const byPhase = picks.map((indices) => {
    const gathered = tf.reshape(tf.gather(withZeros, tf.tensor1d(indices, 'int32')), [taps[0] * taps[1], stride, channels, filters]);
    const phase = tf.reshape<Rank.R4>(tf.transpose(gathered, [0, 3, 1, 2]), [taps[0], taps[1], filters, stride * channels]);
    return tf.reshape(tf.conv2d(padded, phase, 1, 'valid'), [-1, rows, columns * stride * channels]);
  });
  const whole = tf.reshape(byPhase.length === 1 ? byPhase[0]! : tf.concat(byPhase, 2), [-1, rows * stride, columns * stride, channels]);
  return rows * stride === height && columns * stride === width ? whole : tf.slice(whole, [0, 0, 0, 0], [gradient.shape[0], height, width, channels]);
}
