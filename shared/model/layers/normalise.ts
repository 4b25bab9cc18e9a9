import type { Layer } from '../layer.ts';
import { tf, type Tensor, type Tensor2D } from '../tf.ts';

const EPSILON = 1e-5;

/**
 * GroupNorm (Wu, He 2018, 1803.08494) with gain and bias per channel; one group over [features] is LayerNorm. Statistics are an example's own: nothing
 * couples patients, nothing is remembered. `shape`: [features] or [height, width, channels].
 */
export function groupNorm(name: string, shape: readonly number[], groups: number): Layer {
  const channels = shape.at(-1)!;
  const positions = shape.reduce((a, b) => a * b, 1) / channels;
  const perGroup = channels / groups;
  const grouped = [-1, positions, groups, perGroup];
  const whole = [-1, ...shape];

  /** [batch, channels] per-example gradients of gain and bias. */
  const perExample = ([normalised]: readonly Tensor[], gradient: Tensor): readonly Tensor[] => {
    const g = tf.reshape(gradient, [-1, positions, channels]);
    return [tf.sum(tf.mul(g, tf.reshape(normalised!, [-1, positions, channels])), 1), tf.sum(g, 1)];
  };
  const weightedSums = (each: readonly Tensor[], factors: Tensor): readonly Tensor[] => {
    const row: Tensor2D = tf.expandDims(factors, 0);
    return each.map((gradients) => tf.reshape(tf.matMul(row, gradients as Tensor2D), [channels]));
  };
  return {
    name,
    parameters: [
      { name: `${name}/gain`, shape: [channels], initial: { type: 'ones' } },
      { name: `${name}/bias`, shape: [channels], initial: { type: 'zeros' } },
    ],
    outputShape: shape,
    longestReduction: 2 * channels,
    forward: (x, [gain, bias]) => {
      const values = tf.reshape(x, grouped);
      const centred = tf.sub(values, tf.mean(values, [1, 3], true));
      const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), [1, 3], true), EPSILON));
      const normalised = tf.reshape(tf.mul(centred, inverse), whole);
      return { output: tf.add(tf.mul(normalised, gain!), bias!), saved: [normalised, inverse] };
    },
    backward: ([normalised, inverse], [gain], gradient) => {
      const g = tf.reshape(tf.mul(gradient, gain!), grouped);
      const n = tf.reshape(normalised!, grouped);
      const projected = tf.add(tf.mean(g, [1, 3], true), tf.mul(n, tf.mean(tf.mul(g, n), [1, 3], true)));
      return tf.reshape(tf.mul(tf.sub(g, projected), inverse!), whole);
    },
    perExample,
    squaredNorms: ([gains, biases]) => tf.add(tf.sum(tf.square(gains!), 1), tf.sum(tf.square(biases!), 1)),
    weightedSums,
    sums: (saved, gradient) => weightedSums(perExample(saved, gradient), tf.ones([gradient.shape[0]])),
  };
}
