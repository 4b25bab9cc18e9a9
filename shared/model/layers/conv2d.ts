import type { Layer } from '../layer.ts';
import { tf, type Rank, type Tensor, type Tensor2D, type Tensor3D, type Tensor4D } from '../tf.ts';

export interface Conv2dShape {
  /** [height, width, channels] of the input. */
  readonly input: readonly [number, number, number];
  readonly filters: number;
  readonly kernel: number;
  readonly stride: number;
}

/**
 * Strided convolution with 'same' padding and a bias. The per-example kernel gradients are P_i' G_i with P_i the image's patches
 * [positions, kernel^2 channels]; they are materialised [batch, kernel^2 channels, filters] (smaller than the Gram form at these
 * sizes), and give both the norms and the weighted sum.
 */
export function conv2d(name: string, shape: Conv2dShape): Layer {
  const { input: [height, width, channels], filters, kernel, stride } = shape;
  const rows = Math.ceil(height / stride);
  const columns = Math.ceil(width / stride);
  const positions = rows * columns;
  const patch = kernel * kernel * channels;

  const perExample = ([x]: readonly Tensor[], gradient: Tensor): { kernels: Tensor3D; biases: Tensor } => {
    const patches = extractPatches(x as Tensor4D, { ...shape, rows, columns });
    const g: Tensor3D = tf.reshape(gradient, [-1, positions, filters]);
    return { kernels: tf.matMul(tf.transpose(patches, [0, 2, 1]), g), biases: tf.sum(g, 1) };
  };
  return {
    name,
    parameters: [
      { name: `${name}/kernel`, shape: [kernel, kernel, channels, filters], initial: { type: 'he', fanIn: patch } },
      { name: `${name}/bias`, shape: [filters], initial: { type: 'zeros' } },
    ],
    outputShape: [rows, columns, filters],
    longestReduction: (patch + 1) * filters,
    forward: (x, [weights, bias]) => ({ output: tf.add(tf.conv2d(x as Tensor4D, weights as Tensor4D, stride, 'same'), bias!), saved: [x] }),
    backward: ([x], [weights], gradient) => tf.conv2dTranspose(gradient as Tensor4D, weights as Tensor4D, x!.shape as [number, number, number, number], stride, 'same'),
    squaredNorms: (saved, gradient) => {
      const { kernels, biases } = perExample(saved, gradient);
      return tf.add(tf.sum(tf.square(tf.reshape(kernels, [-1, patch * filters])), 1), tf.sum(tf.square(biases), 1));
    },
    weightedSums: (saved, gradient, factors) => {
      const { kernels, biases } = perExample(saved, gradient);
      const row: Tensor2D = tf.expandDims(factors, 0);
      const sum = tf.matMul(row, tf.reshape<Rank.R2>(kernels, [-1, patch * filters]));
      return [tf.reshape(sum, [kernel, kernel, channels, filters]), tf.reshape(tf.matMul(row, biases as Tensor2D), [filters])];
    },
  };
}

/** [batch, positions, kernel^2 channels], in the order of the kernel's own axes: im2col by strided slices. */
function extractPatches(x: Tensor4D, shape: Conv2dShape & { readonly rows: number; readonly columns: number }): Tensor3D {
  const { input: [height, width, channels], kernel, stride, rows, columns } = shape;
  const padRows = Math.max(0, (rows - 1) * stride + kernel - height);
  const padColumns = Math.max(0, (columns - 1) * stride + kernel - width);
  const top = Math.floor(padRows / 2);
  const left = Math.floor(padColumns / 2);
  const padded = tf.pad(x, [[0, 0], [top, padRows - top + stride], [left, padColumns - left + stride], [0, 0]]);
  const batch = x.shape[0];
  const slices: Tensor[] = [];
  for (let dy = 0; dy < kernel; dy += 1) {
    for (let dx = 0; dx < kernel; dx += 1) {
      const slice = tf.stridedSlice(padded, [0, dy, dx, 0], [batch, dy + (rows - 1) * stride + 1, dx + (columns - 1) * stride + 1, channels], [1, stride, stride, 1]);
      slices.push(tf.reshape(slice, [batch, rows * columns, channels]));
    }
  }
  return (slices.length === 1 ? slices[0]! : tf.concat(slices, 2)) as Tensor3D;
}
