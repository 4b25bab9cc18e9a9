import type { Layer } from '../layer.ts';
import { tf, type Rank, type Tensor, type Tensor4D } from '../tf.ts';
import { convolutionGradients } from './conv2d-gradients.ts';
import { convolutionPlan, type ConvolutionPlan, type Conv2dShape } from './conv2d-plan.ts';

/** Strided convolution with 'same' padding and a bias; the examples' own gradients in conv2d-gradients.ts. */
export function conv2d(name: string, shape: Conv2dShape): Layer {
  const { input: [, , channels], filters } = shape;
  const plan = convolutionPlan(shape);
  const { kernel, told, rows, columns } = plan;
  const patch = kernel[0] * kernel[1] * channels;
  return {
    name,
    parameters: [
      { name: `${name}/kernel`, shape: [...kernel, channels, filters], initial: { type: 'he', fanIn: patch } },
      { name: `${name}/bias`, shape: [filters], initial: { type: 'zeros' } },
    ],
    outputShape: [rows, columns, filters],
    longestReduction: (patch + 1) * filters,
    forward: (x, [weights, bias]) => {
      const padded = pad(plan, x as Tensor4D);
      return { output: tf.add(tf.conv2d(padded, weights as Tensor4D, told, plan.padding), bias!), saved: [padded] };
    },
    backward: (_saved, [weights], gradient) => inputGradient(plan, weights as Tensor4D, gradient as Tensor4D),
    ...convolutionGradients({ plan, channels, filters }),
  };
}

/** TFJS' own 'same' is wrong on wasm where the stride exceeds the kernel; there, and for kernels that are not square, the zeros are put by hand. */
function pad({ padding, edges: [top, bottom, left, right] }: ConvolutionPlan, x: Tensor4D): Tensor4D {
  return padding === 'same' || top + bottom + left + right === 0 ? x : tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]]);
}

/**
 * The transposed convolution as plain convolutions, one per row phase (of s, the vertical stride): input row s Y + p receives output row Y - t through kernel row
 * s t + p + top. The column phases of a row lie side by side in the channels of one convolution, so that its result is in order already.
 */
function inputGradient({ kernel, stride, taps, before, after, picks, height, width, rows, columns }: ConvolutionPlan, weights: Tensor4D, gradient: Tensor4D): Tensor {
  const [, , channels, filters] = weights.shape;
  const flat = tf.reshape<Rank.R2>(weights, [kernel[0] * kernel[1], channels * filters]);
  const withZeros = tf.concat([flat, tf.zeros<Rank.R2>([1, channels * filters])], 0);
  const padded = tf.pad(gradient, [[0, 0], [before[0], after[0]], [before[1], after[1]], [0, 0]]);
  const byPhase = picks.map((indices) => {
    const gathered = tf.reshape(tf.gather(withZeros, tf.tensor1d(indices, 'int32')), [taps[0] * taps[1], stride[1], channels, filters]);
    const phase = tf.reshape<Rank.R4>(tf.transpose(gathered, [0, 3, 1, 2]), [taps[0], taps[1], filters, stride[1] * channels]);
    return tf.reshape(tf.conv2d(padded, phase, 1, 'valid'), [-1, rows, columns * stride[1] * channels]);
  });
  const whole = tf.reshape(byPhase.length === 1 ? byPhase[0]! : tf.concat(byPhase, 2), [-1, rows * stride[0], columns * stride[1], channels]);
  return rows * stride[0] === height && columns * stride[1] === width ? whole : tf.slice(whole, [0, 0, 0, 0], [gradient.shape[0], height, width, channels]);
}
