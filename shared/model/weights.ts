import { invariant } from '../errors.ts';
import type { Network } from './network.ts';
import { tf, type Tensor } from './tf.ts';

/** The flat vector as tensors, a list per layer; owned by whoever loaded them. */
export type WeightTensors = readonly (readonly Tensor[])[];

export function loadWeights(network: Network, flat: Float32Array): WeightTensors {
  invariant(flat.length === network.size, `expected ${network.size} weights, found ${flat.length}`);
  let offset = 0;
  return network.layers.map((layer) =>
    layer.parameters.map(({ shape }) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const values = flat.slice(offset, offset + size);
      offset += size;
      return tf.tensor(values, [...shape]);
    }),
  );
}

export function disposeWeights(weights: WeightTensors): void {
  for (const layer of weights) tf.dispose([...layer]);
}
