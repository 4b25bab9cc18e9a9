import type { Layer } from '../layer.ts';
import { tf } from '../tf.ts';

/** The private half of a layer that has nothing to train. */
export const withoutParameters: Pick<Layer, 'parameters' | 'longestReduction' | 'perExample' | 'squaredNorms' | 'weightedSums' | 'sums'> = {
  parameters: [],
  longestReduction: 0,
  perExample: (_saved, gradient) => [tf.zeros([gradient.shape[0]])],
  squaredNorms: ([zeros]) => zeros!,
  weightedSums: () => [],
  sums: () => [],
};

/** [batch, ...shape] to [batch, size]. */
export function flatten(name: string, shape: readonly number[]): Layer {
  const size = shape.reduce((a, b) => a * b, 1);
  return {
    name,
    outputShape: [size],
    ...withoutParameters,
    forward: (x) => ({ output: tf.reshape(x, [-1, size]), saved: [] }),
    backward: (_saved, _parameters, gradient) => tf.reshape(gradient, [-1, ...shape]),
  };
}
