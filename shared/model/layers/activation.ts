import type { Layer } from '../layer.ts';
import { tf } from '../tf.ts';
import { withoutParameters } from './plain.ts';

export function relu(name: string, shape: readonly number[]): Layer {
  return {
    name,
    outputShape: shape,
    ...withoutParameters,
    forward: (x) => {
      const output = tf.relu(x);
      return { output, saved: [output] };
    },
    backward: ([output], _parameters, gradient) => tf.mul(gradient, tf.step(output!)),
  };
}

export function tanh(name: string, shape: readonly number[]): Layer {
  return {
    name,
    outputShape: shape,
    ...withoutParameters,
    forward: (x) => {
      const output = tf.tanh(x);
      return { output, saved: [output] };
    },
    backward: ([output], _parameters, gradient) => tf.mul(gradient, tf.sub(1, tf.square(output!))),
  };
}
