import { describe, expect, it } from 'vitest';
import { gradientSum } from '../../shared/model/gradients.ts';
import { createNetwork, type NetworkSpec } from '../../shared/model/network.ts';
import { predictLogits } from '../../shared/model/predict.ts';
import { tf } from '../../shared/model/tf.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { openBackend } from '../../shared/platform/backend.ts';

const mlp: NetworkSpec = { shape: [3, 4], encoder: { type: 'mlp', hidden: [5], activation: 'tanh', normalise: 'layer' }, features: 6, classes: 3 };
const cnn: NetworkSpec = { shape: [13, 9, 2], encoder: { type: 'cnn', filters: [4, 8], kernel: 3, stride: 2, activation: 'relu', normalise: 'group', groups: 2 }, features: 6, classes: 3 };
const withEncoder = (change: object): NetworkSpec => ({ ...cnn, encoder: { ...cnn.encoder, ...change } });

const signal: NetworkSpec = { shape: [100, 2], encoder: { type: 'cnn1d', filters: [4, 6, 8], kernel: 7, stride: 4, activation: 'relu', normalise: 'none', groups: 1 }, features: 5, classes: 3 };

it('a signal encoder has a kernel per filter along time, and a map that shrinks by its stride', () => {
  const network = createNetwork(signal);
  expect(network.parameters.filter(({ name }) => name.endsWith('kernel')).map(({ shape }) => shape)).toEqual([[1, 7, 2, 4], [1, 7, 4, 6], [1, 7, 6, 8], [2 * 8, 5], [5, 3]]);
  expect(network.layers.filter(({ name }) => name.includes('conv')).map(({ outputShape }) => outputShape)).toEqual([[1, 25, 4], [1, 7, 6], [1, 2, 8]]);
  expect(createNetwork({ ...signal, shape: [100] }).size).toBe(network.size - 7 * 4);
});

describe('the flat vector', () => {
  it.each([mlp, cnn])('is laid out without gaps: encoder, head kernel, head bias', (spec) => {
    const network = createNetwork(spec);
    let offset = 0;
    for (const { offset: found, shape } of network.parameters) {
      expect(found).toBe(offset);
      offset += shape.reduce((a, b) => a * b, 1);
    }
    expect(network.size).toBe(offset);
    expect(network.parameters.slice(-2)).toMatchObject([
      { name: 'head/kernel', shape: [6, 3], offset: network.encoderSize },
      { name: 'head/bias', shape: [3], offset: network.encoderSize + 18 },
    ]);
    expect(network.headSize).toBe(21);
    expect(network.encoderSize + network.headSize).toBe(network.size);
  });

  it('names its parameters by layer', () => {
    expect(createNetwork(mlp).parameters.map(({ name }) => name)).toEqual([
      'encoder/dense0/kernel', 'encoder/dense0/bias', 'encoder/norm0/gain', 'encoder/norm0/bias',
      'encoder/dense1/kernel', 'encoder/dense1/bias', 'encoder/norm1/gain', 'encoder/norm1/bias', 'head/kernel', 'head/bias',
    ]);
    expect(createNetwork(cnn).parameters.find(({ name }) => name === 'encoder/conv1/kernel')?.shape).toEqual([3, 3, 4, 8]);
    // 13 x 9 -> 7 x 5 -> 4 x 3
    expect(createNetwork(cnn).parameters.find(({ name }) => name === 'encoder/dense/kernel')?.shape).toEqual([4 * 3 * 8, 6]);
  });
});

describe('initial weights', () => {
  it('are the same for everyone who has the seed, and others for another', () => {
    const network = createNetwork(cnn);
    expect(network.initialise(3, 'image')).toEqual(network.initialise(3, 'image'));
    expect(network.initialise(3, 'image')).not.toEqual(network.initialise(4, 'image'));
  });

  it('share the head between modalities of any encoder, and nothing else', () => {
    const [a, b] = [createNetwork(mlp), createNetwork(cnn)];
    expect(a.initialise(3, 'voice').slice(a.encoderSize)).toEqual(b.initialise(3, 'image').slice(b.encoderSize));
    expect(b.initialise(3, 'image').slice(0, 50)).not.toEqual(b.initialise(3, 'scan').slice(0, 50));
  });

  it('have small head weights, gains of one and biases of zero', () => {
    const network = createNetwork(cnn);
    const flat = network.initialise(3, 'image');
    for (const { name, offset, shape, initial } of network.parameters) {
      const values = flat.slice(offset, offset + shape.reduce((x, y) => x * y, 1));
      if (initial.type === 'he') expect(new Set(values).size).toBeGreaterThan(values.length / 2);
      else expect(new Set(values)).toEqual(new Set([initial.type === 'ones' ? 1 : 0]));
      if (name === 'head/kernel') expect(Math.max(...values.map(Math.abs))).toBeLessThan(0.11);
    }
  });
});

describe('an orthogonal head', () => {
  const tanh = { activation: 'tanh' as const };
  const specs: [string, NetworkSpec][] = [
    ['behind an mlp', { ...mlp, shape: [3, 4], encoder: { type: 'mlp', hidden: [5], ...tanh, normalise: 'none' }, features: 6, classes: 3, headInitial: { type: 'orthogonal', length: 2.5 } }],
    ['behind a cnn', { ...withEncoder(tanh), headInitial: { type: 'orthogonal', length: 2.5 } }],
    ['with more classes than features', { ...mlp, encoder: { type: 'mlp', hidden: [], ...tanh, normalise: 'none' }, features: 4, classes: 9, headInitial: { type: 'orthogonal', length: 2.5 } }],
  ];

  it.each(specs)('has directions of its length at right angles, the same for every modality: %s', (_, spec) => {
    const network = createNetwork(spec);
    const kernel = network.initialise(7, 'image').slice(network.encoderSize, network.size - spec.classes);
    const [rows, columns] = [spec.features, spec.classes];
    const vectors = rows >= columns ? Array.from({ length: columns }, (_value, c) => kernel.filter((_x, i) => i % columns === c)) : Array.from({ length: rows }, (_value, r) => kernel.subarray(r * columns, (r + 1) * columns));
    vectors.forEach((a, i) => {
      vectors.forEach((b, j) => {
        expect(a.reduce((sum, x, k) => sum + x * b[k]!, 0)).toBeCloseTo(i === j ? 2.5 ** 2 : 0, 5);
      });
    });
    expect(network.initialise(7, 'sound').slice(network.encoderSize)).toEqual(network.initialise(7, 'image').slice(network.encoderSize));
    expect(network.initialise(8, 'image').slice(network.encoderSize)).not.toEqual(network.initialise(7, 'image').slice(network.encoderSize));
  });

  it.each(specs)('starts every record at equal class probabilities, with a gradient for the last layer of the encoder alone: %s', async (_, spec) => {
    await openBackend('wasm');
    const network = createNetwork(spec);
    const flat = network.initialise(7, 'image');
    const weights = loadWeights(network, flat);
    const features = Float32Array.from({ length: 5 * network.inputSize }, (_x, i) => Math.sin(i * 1.3));
    expect(new Set(await predictLogits({ network, weights, features }))).toEqual(new Set([0]));
    const gradient = await gradientSum({ network, weights, features, labels: Int32Array.of(0, 1, 2, 1, 1), microBatch: 5 });
    disposeWeights(weights);
    const moved = new Set(network.parameters.filter(({ offset, shape }) => gradient.subarray(offset, offset + shape.reduce((a, b) => a * b, 1)).some((x) => x !== 0)).map(({ name }) => name));
    const last = network.parameters.filter(({ name }) => name.startsWith('encoder/')).slice(-2).map(({ name }) => name);
    expect(moved).toEqual(new Set([...last, 'head/bias']));
  });
});

describe('impossible shapes are refused with what to do', () => {
  it.each([
    [{ ...cnn, shape: [60] }, /a cnn encoder needs records of shape \[height, width, channels\], found \[60\]/],
    [withEncoder({ groups: 3 }), /3 groups do not divide the 4 filters of convolution 1/],
    [withEncoder({ filters: [4, 4, 4, 4, 4], normalise: 'none' }), /convolution 5 of 5 finds a map of 1 x 1: records of 13 x 9 have shrunk too far/],
    [{ ...signal, shape: [12, 9, 2] }, /a cnn1d encoder needs records of shape \[length\] or \[length, channels\], found \[12, 9, 2\]/],
    [{ ...signal, shape: [16] }, /convolution 3 of 3 finds a map of length 1: records of length 16 have shrunk too far/],
    [{ ...mlp, classes: 1 }, /two classes/],
    [{ ...mlp, features: 0 }, /whole positive sizes/],
    [{ ...mlp, shape: [] }, /whole positive sizes/],
    [{ ...mlp, shape: [2.5] }, /whole positive sizes/],
  ] as const)('case %#', (spec, message) => {
    expect(() => createNetwork(spec)).toThrow(message);
    expect(() => createNetwork(spec)).toThrow(expect.objectContaining({ code: 'study-invalid' }) as Error);
  });
});

describe('prediction', () => {
  it('of a record does not depend on the batch it is in', async () => {
    await openBackend('wasm');
    for (const spec of [mlp, cnn]) {
      const network = createNetwork(spec);
      const weights = loadWeights(network, network.initialise(3, 'm'));
      const features = Float32Array.from({ length: 7 * network.inputSize }, (_, i) => Math.sin(i * 1.3));
      const before = tf.memory().numTensors;
      const together = await predictLogits({ network, weights, features });
      const apart = await predictLogits({ network, weights, features, batch: 2 });
      const sixth = await predictLogits({ network, weights, features: features.slice(5 * network.inputSize, 6 * network.inputSize) });
      expect(together).toHaveLength(7 * spec.classes);
      together.forEach((value, i) => {
        expect(apart[i]).toBeCloseTo(value, 5);
      });
      sixth.forEach((value, c) => {
        expect(together[5 * spec.classes + c]).toBeCloseTo(value, 5);
      });
      expect(await predictLogits({ network, weights, features: new Float32Array(0) })).toHaveLength(0);
      expect(tf.memory().numTensors).toBe(before);
      disposeWeights(weights);
    }
  });

  it('is the same on both backends, strides beyond the kernel included', async () => {
    const network = createNetwork(withEncoder({ kernel: 2, stride: 3, filters: [4] }));
    const features = Float32Array.from({ length: 3 * network.inputSize }, (_, i) => Math.sin(i * 1.3));
    const logits: Float32Array[] = [];
    for (const backend of ['cpu', 'wasm'] as const) {
      await openBackend(backend);
      const weights = loadWeights(network, network.initialise(3, 'm'));
      logits.push(await predictLogits({ network, weights, features }));
      disposeWeights(weights);
    }
    logits[0]!.forEach((value, i) => {
      expect(logits[1]![i]).toBeCloseTo(value, 5);
    });
  });

  it('weights of another length are refused', () => {
    expect(() => loadWeights(createNetwork(mlp), new Float32Array(5))).toThrow(/expected \d+ weights, found 5/);
  });
});
