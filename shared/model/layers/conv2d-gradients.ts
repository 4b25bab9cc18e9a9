import type { Layer } from '../layer.ts';
import { tf, type Rank, type Tensor, type Tensor2D, type Tensor3D, type Tensor4D } from '../tf.ts';
import type { ConvolutionPlan, Pair } from './conv2d-plan.ts';

export type ConvolutionGradients = Pick<Layer, 'perExample' | 'squaredNorms' | 'weightedSums' | 'sums'>;

export interface ConvolutionSizes {
  readonly plan: ConvolutionPlan;
  readonly channels: number;
  readonly filters: number;
}

/**
 * The kernels of shared/platform/wasm, registered for the wasm backend where they run. The first two take {x, g}, the (padded) input and the gradient at the output,
 * and a `PatchGeometry`; `patches`: [batch, patch + 1, filters], the last row the bias, and [batch] squared norms; `sum`: [patch + 1, filters].
 * `weighted` takes {values, factors}, [batch, ...] and [batch].
 */
export const PATCH_KERNELS = { patches: 'AntiphonPatchGradients', sum: 'AntiphonPatchGradientSum', weighted: 'AntiphonWeightedSum' } as const;

export interface PatchGeometry {
  readonly kernel: Pair;
  readonly stride: Pair;
  /** Zeros above and left of x that are not in it. */
  readonly top: number;
  readonly left: number;
}

/** With a kernel of our own where the current backend has one, else with TFJS' operations. */
export function convolutionGradients(sizes: ConvolutionSizes): ConvolutionGradients {
  const composed = composedGradients(sizes);
  const fused = fusedGradients(sizes);
  const current = (): ConvolutionGradients => (isRegistered(PATCH_KERNELS.patches) ? fused : composed);
  return {
    perExample: (saved, gradient) => current().perExample(saved, gradient),
    squaredNorms: (perExample) => current().squaredNorms(perExample),
    weightedSums: (perExample, factors) => current().weightedSums(perExample, factors),
    sums: (saved, gradient) => current().sums(saved, gradient),
  };
}

/** TFJS' types leave out that there may be none. */
function isRegistered(kernelName: string): boolean {
  return (tf.getKernel(kernelName, tf.getBackend()) as object | undefined) !== undefined;
}

/** Gradients and their squared norms in one go, patches never in memory as a whole. */
export function fusedGradients({ plan: { kernel, stride, padding, edges }, channels, filters }: ConvolutionSizes): ConvolutionGradients {
  const patch = kernel[0] * kernel[1] * channels;
  const geometry = { kernel, stride, top: padding === 'same' ? edges[0] : 0, left: padding === 'same' ? edges[2] : 0 } satisfies PatchGeometry;
  const split = (sum: Tensor): readonly Tensor[] => {
    const flat = tf.reshape(sum, [-1]);
    return [tf.reshape(tf.slice(flat, 0, patch * filters), [...kernel, channels, filters]), tf.slice(flat, patch * filters, filters)];
  };
  return {
    perExample: ([x], g) => tf.engine().runKernel<Tensor[]>(PATCH_KERNELS.patches, { x: x!, g }, { ...geometry }),
    squaredNorms: ([, squared]) => squared!,
    weightedSums: ([values], factors) => split(tf.engine().runKernel(PATCH_KERNELS.weighted, { values: values!, factors })),
    sums: ([x], g) => split(tf.engine().runKernel(PATCH_KERNELS.sum, { x: x!, g }, { ...geometry })),
  };
}

/**
 * The per-example kernel gradients G_i' P_i, with P_i [positions, patch] the image's patches and G_i [positions, filters] its output gradient, are
 * materialised [batch, filters, patch] (smaller than the Gram form at these sizes), and give both the norms and the weighted sum.
 */
export function composedGradients({ plan, channels, filters }: ConvolutionSizes): ConvolutionGradients {
  const { kernel, rows, columns } = plan;
  const positions = rows * columns;
  const patch = kernel[0] * kernel[1] * channels;

  /** [1, filters * patch], patches in the order (channel, row, column), to the order of the kernel [row, column, channel, filter]. */
  const toKernel = (sum: Tensor): Tensor => tf.reshape(tf.transpose(tf.reshape(sum, [filters, channels, kernel[0] * kernel[1]]), [2, 1, 0]), [...kernel, channels, filters]);
  return {
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

/**
 * im2col, [batch, rows, columns, patch]: a depthwise convolution whose filters each pick one pixel of the window (exact: a product with 1 and zeros);
 * forty times as fast on wasm as strided slices.
 */
function extractPatches({ kernel, told, padding }: ConvolutionPlan, x: Tensor4D): Tensor4D {
  const taps = kernel[0] * kernel[1];
  const channels = x.shape[3];
  const picks = tf.reshape<Rank.R4>(tf.tile(tf.expandDims(tf.eye(taps), 1), [1, channels, 1]), [...kernel, channels, taps]);
  return tf.depthwiseConv2d(x, picks, told, padding);
}
