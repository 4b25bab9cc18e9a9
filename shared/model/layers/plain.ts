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
  return reshape(name, shape, [shape.reduce((a, b) => a * b, 1)]);
}

/** [batch, ...from] to [batch, ...to], of the same size: the same numbers. */
export function reshape(name: string, from: readonly number[], to: readonly number[]): Layer {
  return {
    name,
    outputShape: to,
    ...withoutParameters,
    forward: (x) => ({ output: tf.reshape(x, [-1, ...to]), saved: [] }),
    backward: (_saved, _parameters, gradient) => tf.reshape(gradient, [-1, ...from]),
  };
}
