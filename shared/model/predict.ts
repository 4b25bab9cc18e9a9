import type { Network } from './network.ts';
import { tf, type Tensor } from './tf.ts';
import type { WeightTensors } from './weights.ts';

/** Logits [n, classes] of records [n, inputSize]. */
export async function predictLogits(input: { readonly network: Network; readonly weights: WeightTensors; readonly features: Float32Array; readonly batch?: number }): Promise<Float32Array<ArrayBuffer>> {
  const { network, weights, features, batch = 256 } = input;
  const { layers, inputSize, spec } = network;
  const count = features.length / inputSize;
  const logits = new Float32Array(count * spec.classes);
  for (let from = 0; from < count; from += batch) {
    const to = Math.min(count, from + batch);
    const output = tf.tidy(() => {
      let x: Tensor = tf.tensor(features.subarray(from * inputSize, to * inputSize), [to - from, ...spec.shape]);
      layers.forEach((layer, i) => (x = layer.forward(x, weights[i]!).output));
      return x;
    });
    logits.set(await output.data(), from * spec.classes);
    tf.dispose(output);
  }
  return logits;
}
