import { afterEach, describe, expect, it } from 'vitest';
import type { Layer } from '../../shared/model/layer.ts';
import { relu } from '../../shared/model/layers/activation.ts';
import { attentionPool } from '../../shared/model/layers/attention.ts';
import { conv2d } from '../../shared/model/layers/conv2d.ts';
import { dense } from '../../shared/model/layers/dense.ts';
import { embeddingBag } from '../../shared/model/layers/embedding.ts';
import { groupNorm } from '../../shared/model/layers/normalise.ts';
import { createNetwork, type NetworkSpec } from '../../shared/model/network.ts';
import { proveBackend, proveLayer } from '../../shared/model/self-check.ts';
import { tf, type Tensor } from '../../shared/model/tf.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { maxPool } from '../support/max-pool-layer.ts';

const mlp: NetworkSpec = { shape: [60], encoder: { type: 'mlp', hidden: [32], activation: 'tanh', normalise: 'layer' }, features: 16, classes: 4 };
const cnn: NetworkSpec = { shape: [28, 28, 1], encoder: { type: 'cnn', filters: [8, 16], kernel: 3, stride: 2, activation: 'relu', normalise: 'group', groups: 4 }, features: 32, classes: 10 };
const signal: NetworkSpec = { shape: [200, 2], encoder: { type: 'cnn1d', filters: [8, 16], kernel: 7, stride: 4, activation: 'relu', normalise: 'group', groups: 4 }, features: 16, classes: 5 };

const words: NetworkSpec = { shape: [24], encoder: { type: 'embedding', vocabulary: 500, width: 12, hidden: [10], activation: 'relu', normalise: 'none' }, features: 8, classes: 3 };
const attended: NetworkSpec = { ...words, encoder: { type: 'attention', vocabulary: 500, width: 12, heads: 2, hidden: [], activation: 'tanh', normalise: 'none' } };

let before = 0;
afterEach(() => {
  expect(tf.memory().numTensors).toBe(before);
});

describe.each(['wasm', 'cpu'] as const)('on %s', (backend) => {
  it('the layers of the house are proven, and quickly', async () => {
    await openBackend(backend);
    before = tf.memory().numTensors;
    await proveBackend([createNetwork(mlp)]); // compiles
    const started = performance.now();
    const { layers } = await proveBackend([createNetwork(mlp), createNetwork(cnn), createNetwork(signal), createNetwork(words), createNetwork(attended)]);
    const elapsed = performance.now() - started;
    console.log(`${backend}: ${elapsed.toFixed(0)} ms; ${layers.map(({ layer, gradient, bookKeeping }) => `${layer} ${gradient.toExponential(0)}/${bookKeeping.toExponential(0)}`).join(', ')}`);
    expect(layers.filter(({ layer }) => layer === 'network')).toHaveLength(5);
    // The finite differences are far below what a wrong kernel shows.
    expect(Math.max(...layers.map(({ gradient }) => gradient))).toBeLessThan(3e-3);
    expect(Math.max(...layers.map(({ bookKeeping }) => bookKeeping))).toBeLessThan(1e-5);
  });
});

it('max pooling is refused on wasm, whose gradient is lost where a window is negative, and accepted on cpu', async () => {
  const pool = maxPool('pool', [6, 6, 2]);
  await openBackend('cpu');
  before = tf.memory().numTensors;
  await expect(proveLayer(pool, [6, 6, 2])).resolves.toMatchObject({ layer: 'pool' });
  await openBackend('wasm');
  before = tf.memory().numTensors;
  await expect(proveLayer(pool, [6, 6, 2])).rejects.toThrow(/backend "wasm" computes .* wrongly in layer pool .* nothing is trained/);
  await expect(proveLayer(pool, [6, 6, 2])).rejects.toMatchObject({ code: 'backend-wrong' });
});

describe('a wrong layer is refused', () => {
  const honest: Record<string, readonly [Layer, readonly number[]]> = {
    dense: [dense('d', 70, 9), [70]],
    conv: [conv2d('c', { input: [9, 8, 4], filters: 6, kernel: 3, stride: 2 }), [9, 8, 4]],
    embedding: [embeddingBag('e', { tokens: 12, vocabulary: 40, width: 5 }), [12]],
    attention: [attentionPool('a', { tokens: 12, vocabulary: 40, width: 5, heads: 3 }), [12]],
    norm: [groupNorm('n', [5, 4, 8], 2), [5, 4, 8]],
  };
  const scale = (tensors: readonly Tensor[], by: number): Tensor[] => tensors.map((tensor) => tf.mul(tensor, by));
  /** One entry only, the last. */
  const spoil = (tensor: Tensor): Tensor => {
    const last = tf.oneHot(tf.tensor1d([tensor.size - 1], 'int32'), tensor.size);
    return tf.reshape(tf.mul(tf.reshape(tensor, [-1]), tf.sub(1, tf.reshape(tf.mul(last, 0.9), [-1]))), tensor.shape);
  };
  const mutants: Record<string, readonly [(layer: Layer) => Layer, RegExp]> = {
    'norms 1 % too small': [(l) => ({ ...l, squaredNorms: (own) => tf.mul(l.squaredNorms(own), 0.98) }), /computes the norms of the examples' gradients wrongly/],
    'norms without the bias': [(l) => ({ ...l, squaredNorms: (own) => l.squaredNorms(own.map((part, i) => (i === 1 ? tf.mul(part, 0) : part))) }), /the norms of the examples' gradients/],
    'factors squared': [(l) => ({ ...l, weightedSums: (own, c) => l.weightedSums(own, tf.square(c)) }), /the weighted sum/],
    'factors ignored': [(l) => ({ ...l, weightedSums: (own, c) => l.weightedSums(own, tf.onesLike(c)) }), /the weighted sum/],
    'factors shifted to another example': [(l) => ({ ...l, weightedSums: (own, c) => l.weightedSums(own, tf.reverse(c)) }), /the weighted sum/],
    'parameter gradients 5 % too long, everywhere the same': [
      (l) => ({ ...l, sums: (s, g) => scale(l.sums(s, g), 1.05), weightedSums: (own, c) => scale(l.weightedSums(own, c), 1.05), squaredNorms: (own) => tf.mul(l.squaredNorms(own), 1.05 ** 2) }),
      /the gradient of its parameters/,
    ],
    'a sum that forgets one entry': [(l) => ({ ...l, sums: (s, g) => l.sums(s, g).map(spoil) }), /the sum of the examples/],
    'an input gradient wrong at one edge': [(l) => ({ ...l, backward: (s, p, g) => spoil(l.backward(s, p, g)) }), /the gradient of its input/],
    'an input gradient that reaches another example': [(l) => ({ ...l, backward: (s, p, g) => tf.add(l.backward(s, p, g), tf.mul(1e-3, tf.reverse(l.backward(s, p, g), 0))) }), /apart from another's/],
    'an input gradient that is not a number': [(l) => ({ ...l, backward: (s, p, g) => tf.mul(l.backward(s, p, g), NaN) }), /wrongly/],
  };
  it.each(Object.keys(honest).flatMap((layer) => Object.keys(mutants).map((mutant) => [layer, mutant] as const)))('%s: %s', async (layer, mutant) => {
    await openBackend('wasm');
    before = tf.memory().numTensors;
    const [make, message] = mutants[mutant]!;
    const [original, shape] = honest[layer]!;
    if (layer === 'dense' && mutant === 'norms without the bias') return; // a dense layer has no such term: its norm is a product
    if (original.vocabulary !== undefined && mutant.startsWith('an input gradient')) return; // nobody asks a layer of tokens for one
    await expect(proveLayer(original, shape)).resolves.toBeDefined();
    await expect(proveLayer(make(original), shape)).rejects.toThrow(message);
  });

  it('attention whose norms take every token for the only one of its kind', async () => {
    await openBackend('wasm');
    before = tf.memory().numTensors;
    const honestly = attentionPool('a', { tokens: 12, vocabulary: 40, width: 5, heads: 2 });
    const apart = { ...honestly, squaredNorms: ([x, ...own]: readonly Tensor[]) => honestly.squaredNorms([tf.tile(tf.expandDims(tf.range(0, 12), 0), [x!.shape[0], 1]), ...own]) };
    await expect(proveLayer(apart, [12])).rejects.toThrow(/the norms of the examples' gradients/);
  });

  it('an activation with the slope of another', async () => {
    await openBackend('wasm');
    before = tf.memory().numTensors;
    const leaky = { ...relu('r', [50]), backward: (_s: readonly Tensor[], _p: readonly Tensor[], g: Tensor) => g };
    await expect(proveLayer(leaky, [50])).rejects.toThrow(/the gradient of its input/);
  });
});
