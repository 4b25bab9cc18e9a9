import type { Layer } from '../../shared/model/layer.ts';
import { withoutParameters } from '../../shared/model/layers/plain.ts';
import { tf, type Tensor4D } from '../../shared/model/tf.ts';

/** 2x2 max pooling over TFJS' own gradient kernel: not offered to studies, because that kernel is wrong on wasm. Shows that the self-check sees it. */
export function maxPool(name: string, [height, width, channels]: readonly [number, number, number]): Layer {
  return {
    name,
    outputShape: [height / 2, width / 2, channels],
    ...withoutParameters,
    forward: (x) => ({ output: tf.maxPool(x as Tensor4D, 2, 2, 'valid'), saved: [x] }),
    backward: ([x], _parameters, gradient) => {
      const output = tf.maxPool(x as Tensor4D, 2, 2, 'valid');
      const attributes = { filterSize: [2, 2], strides: [2, 2], pad: 'valid' };
      return tf.engine().runKernel('MaxPoolGrad', { dy: gradient, input: x!, output }, attributes);
    },
  };
}
