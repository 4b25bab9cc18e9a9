import * as autograd from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterEach, beforeAll, expect, it, describe } from 'vitest';
import { clippedGradientSum, gradientSum } from '../../shared/model/gradients.ts';
import { createNetwork, type Network, type NetworkSpec } from '../../shared/model/network.ts';
import { predictLogits } from '../../shared/model/predict.ts';
import { tf, type Tensor } from '../../shared/model/tf.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { openBackend } from '../../shared/platform/backend.ts';

const specs: Record<string, NetworkSpec> = {
  'mlp, tanh': { shape: [7], encoder: { type: 'mlp', hidden: [6], activation: 'tanh', normalise: 'none' }, features: 5, classes: 3 },
  'mlp, layer norm': { shape: [9], encoder: { type: 'mlp', hidden: [8, 6], activation: 'relu', normalise: 'layer' }, features: 5, classes: 4 },
  'cnn, strides that do not divide': { shape: [9, 7, 2], encoder: { type: 'cnn', filters: [4, 6], kernel: 3, stride: 2, activation: 'relu', normalise: 'none', groups: 1 }, features: 5, classes: 3 },
  'cnn, stride 3 beyond kernel 2': { shape: [11, 8, 3], encoder: { type: 'cnn', filters: [3, 4], kernel: 2, stride: 3, activation: 'tanh', normalise: 'none', groups: 1 }, features: 4, classes: 3 },
  'cnn, one row, stride 1': { shape: [1, 13, 2], encoder: { type: 'cnn', filters: [3, 4], kernel: 4, stride: 1, activation: 'relu', normalise: 'none', groups: 1 }, features: 4, classes: 2 },
  'cnn, group norm, kernel 5': { shape: [12, 12, 1], encoder: { type: 'cnn', filters: [4, 8], kernel: 5, stride: 2, activation: 'tanh', normalise: 'group', groups: 2 }, features: 6, classes: 3 },
  'cnn1d, one channel': { shape: [37], encoder: { type: 'cnn1d', filters: [4, 6], kernel: 7, stride: 4, activation: 'relu', normalise: 'none', groups: 1 }, features: 5, classes: 3 },
  'cnn1d, three channels, group norm': { shape: [25, 3], encoder: { type: 'cnn1d', filters: [4, 5, 6], kernel: 6, stride: 2, activation: 'tanh', normalise: 'group', groups: 1 }, features: 4, classes: 4 },
  'embedding, few tokens': { shape: [8], encoder: { type: 'embedding', vocabulary: 11, width: 6, hidden: [], activation: 'tanh', normalise: 'none' }, features: 5, classes: 3 },
  'embedding, hidden layer': { shape: [23], encoder: { type: 'embedding', vocabulary: 300, width: 9, hidden: [7], activation: 'relu', normalise: 'layer' }, features: 4, classes: 4 },
  'attention, one head': { shape: [8], encoder: { type: 'attention', vocabulary: 11, width: 6, heads: 1, hidden: [], activation: 'tanh', normalise: 'none' }, features: 5, classes: 3 },
  'attention, three heads, hidden layer': { shape: [23], encoder: { type: 'attention', vocabulary: 300, width: 7, heads: 3, hidden: [6], activation: 'relu', normalise: 'none' }, features: 4, classes: 4 },
  'cnn1d, stride 5 beyond kernel 3': { shape: [29, 2], encoder: { type: 'cnn1d', filters: [6], kernel: 3, stride: 5, activation: 'tanh', normalise: 'none', groups: 1 }, features: 4, classes: 2 },
};

/** Records of all kinds: in a row, of one token again and again; of many, with padding behind; of padding alone; of few that repeat, with padding between; of the largest token. */
function tokenAt(i: number, { inputSize, vocabulary }: { readonly inputSize: number; readonly vocabulary: number }): number {
  const [record, at] = [Math.floor(i / inputSize) % 5, i % inputSize];
  const many = 1 + ((7 * i) % (vocabulary - 1));
  return [4, at < inputSize - 3 ? many : 0, 0, [2, 0, 7, 2, 3][at % 5]!, at % 2 === 0 ? vocabulary - 1 : many][record]!;
}

function examples(network: Network, n: number): { features: Float32Array; labels: Int32Array } {
  const { inputSize, vocabulary } = network;
  const features = Float32Array.from({ length: n * inputSize }, (_, i) => (vocabulary === undefined ? Math.sin(1.7 * i) - 0.3 : tokenAt(i, { inputSize, vocabulary })));
  return { features, labels: Int32Array.from({ length: n }, (_, i) => i % network.spec.classes) };
}

/** The oracle: automatic differentiation of the forward pass, one example at a time, on the plain cpu backend. */
function naiveGradients(network: Network, flat: Float32Array, { features, labels }: { features: Float32Array; labels: Int32Array }): Float64Array[] {
  return Array.from(labels, (label, i) => {
    const flatGradient = autograd.tidy(() => {
      const x = autograd.tensor(features.slice(i * network.inputSize, (i + 1) * network.inputSize), [1, ...network.spec.shape]);
      const weights = loadWeights(network, flat);
      const loss = (...parameters: Tensor[]): autograd.Scalar => {
        let output: Tensor = x;
        let next = 0;
        for (const layer of network.layers) {
          const own = parameters.slice(next, next + layer.parameters.length);
          next += layer.parameters.length;
          output = layer.forward(output, own).output;
        }
        return autograd.losses.softmaxCrossEntropy(autograd.oneHot([label], network.spec.classes), output);
      };
      const gradients = autograd.grads(loss)(weights.flat());
      return Float32Array.from(gradients.flatMap((gradient) => Array.from(gradient.dataSync())));
    });
    return Float64Array.from(flatGradient);
  });
}

function clippedSum(gradients: readonly Float64Array[], threshold: number): Float64Array {
  const sum = new Float64Array(gradients[0]?.length ?? 0);
  for (const gradient of gradients) {
    const factor = Math.min(1, threshold / Math.hypot(...gradient));
    gradient.forEach((value, i) => (sum[i]! += factor * value));
  }
  return sum;
}

const distance = (a: Float64Array, b: Float64Array): number => Math.hypot(...a.map((value, i) => value - b[i]!)) / Math.hypot(...b);

describe.each(['cpu', 'wasm'] as const)('on %s', (backend) => {
  beforeAll(async () => {
    await openBackend(backend);
  });
  afterEach(() => {
    expect(tf.getBackend()).toBe(backend);
  });

  it.each(Object.entries(specs))('book-keeping equals naive per-patient clipping by automatic differentiation: %s', async (name, spec) => {
    const network = createNetwork(spec);
    const flat = network.initialise(3, name).map((w, i) => w + 0.05 * Math.cos(i));
    const batch = examples(network, 5);
    await tf.setBackend('cpu');
    const naive = naiveGradients(network, flat, batch);
    await tf.setBackend(backend);
    const norms = naive.map((gradient) => Math.hypot(...gradient)).sort((a, b) => a - b);
    const threshold = norms[2]!; // some are clipped, some are not
    const weights = loadWeights(network, flat);
    const found = await clippedGradientSum({ network, weights, ...batch, clipThreshold: threshold, microBatch: 3 });
    const unclipped = await gradientSum({ network, weights, ...batch, microBatch: 2 });
    disposeWeights(weights);
    const expected = clippedSum(naive, threshold);
    const perLayer = network.parameters.map(({ name: parameter, offset, shape }) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [parameter, distance(found.slice(offset, offset + size), expected.slice(offset, offset + size))] as const;
    });
    console.log(`${backend}, ${name}: ${perLayer.map(([parameter, error]) => `${parameter} ${error.toExponential(1)}`).join(', ')}`);
    for (const [, error] of perLayer) expect(error).toBeLessThan(1e-5);
    expect(distance(unclipped, clippedSum(naive, Infinity))).toBeLessThan(1e-5);
  });

  it('holds no tensor after fifty steps and predictions', async () => {
    const network = createNetwork(specs['cnn, group norm, kernel 5']!);
    const batch = examples(network, 5);
    const step = async (): Promise<void> => {
      const weights = loadWeights(network, network.initialise(1, 'm'));
      await clippedGradientSum({ network, weights, ...batch, clipThreshold: 0.5, microBatch: 2 });
      await predictLogits({ network, weights, features: batch.features, batch: 2 });
      disposeWeights(weights);
    };
    await step();
    const before = tf.memory().numTensors;
    for (let i = 0; i < 50; i += 1) await step();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('whatever the data', () => {
  const spec = specs['mlp, layer norm']!;
  const plain = specs['mlp, tanh']!;
  beforeAll(async () => {
    await openBackend('wasm');
  });

  it('no example moves the clipped sum by more than the threshold, nor n of them by more than n times that (property)', async () => {
    const sizes = fc.oneof(fc.constantFrom(0, 1e-30, -1e-30, 1e6, -1e6), fc.float({ min: -1000, max: 1000, noNaN: true }));
    for (const network of [createNetwork(spec), createNetwork(plain)]) {
      const weights = loadWeights(network, network.initialise(5, 'm').map((w) => 3 * w));
      const record = fc.tuple(fc.array(sizes, { minLength: network.inputSize, maxLength: network.inputSize }), fc.integer({ min: 0, max: network.spec.classes - 1 }));
      await fc.assert(
        fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 5 }), fc.double({ min: 1e-3, max: 10, noNaN: true }), async (records, clipThreshold) => {
          const batch = { features: Float32Array.from(records.flatMap(([values]) => values)), labels: Int32Array.from(records, ([, label]) => label) };
          const sum = await clippedGradientSum({ network, weights, ...batch, clipThreshold, microBatch: 2 });
          expect(Math.hypot(...sum)).toBeLessThanOrEqual(records.length * clipThreshold * (1 + 1e-5));
        }),
        { numRuns: 60 },
      );
      disposeWeights(weights);
    }
  });

  it('an example whose gradient is not finite counts as one that was not sampled, alone or among others: no weights make a patient decide whether training fails', async () => {
    const network = createNetwork(plain);
    const flat = network.initialise(5, 'm');
    const [kernel] = network.parameters;
    // The first hidden unit overflows where the first input is large, and only there.
    flat[kernel!.offset] = 1e25;
    const weights = loadWeights(network, flat);
    const before = tf.memory().numTensors;
    const others = examples(network, 6);
    others.features.forEach((_, k) => {
      if (k % network.inputSize === 0) others.features[k] = 0;
    });
    const target = new Float32Array(network.inputSize).fill(0.1);
    target[0] = 1e20;
    const without = await clippedGradientSum({ network, weights, ...others, clipThreshold: 1, microBatch: 4 });
    const batch = { network, weights, features: Float32Array.from([...others.features.subarray(0, 2 * network.inputSize), ...target, ...others.features.subarray(2 * network.inputSize)]), labels: Int32Array.from([...others.labels.subarray(0, 2), 1, ...others.labels.subarray(2)]), clipThreshold: 1 };
    for (const microBatch of [3, 64]) {
      const sum = await clippedGradientSum({ ...batch, microBatch });
      sum.forEach((value, i) => {
        expect(value).toBeCloseTo(without[i]!, 5);
      });
    }
    expect(await clippedGradientSum({ network, weights, features: target, labels: Int32Array.of(1), clipThreshold: 1, microBatch: 64 })).toEqual(new Float64Array(network.size));
    expect(tf.memory().numTensors).toBe(before);
    disposeWeights(weights);
  });

  it('a gradient of huge activations and errors too small to square is clipped like any other: no weights that a site accepts hide it', async () => {
    const [hidden, features, classes] = [64, 64, 2];
    const network = createNetwork({ shape: [2], encoder: { type: 'mlp', hidden: [hidden, hidden], activation: 'relu', normalise: 'none' }, features, classes });
    const flat = new Float32Array(network.size);
    const fill = (name: string, value: (row: number, column: number) => number): void => {
      const { offset, shape } = network.parameters.find((parameter) => parameter.name === name)!;
      for (let i = 0; i < shape[0]!; i += 1) for (let j = 0; j < shape[1]!; j += 1) flat[offset + i * shape[1]! + j] = value(i, j);
    };
    // Two paths, of the first and of the second input; features of 2e18 whose squares, added up, just fit, and at the first one's end a logit of 52: an error of 2e-23.
    const half = (i: number, n: number): number => (i < n / 2 ? 0 : 1);
    const feature = 1.2e19 / Math.sqrt(features / 2);
    fill('encoder/dense0/kernel', (i, j) => (i === half(j, hidden) ? 1e6 : 0));
    fill('encoder/dense1/kernel', (i, j) => (half(i, hidden) === half(j, hidden) ? 1e6 : 0));
    fill('encoder/dense2/kernel', (i, j) => (half(i, hidden) === half(j, features) ? feature / ((hidden / 2) ** 2 * 1e12) : 0));
    fill('head/kernel', (i, j) => (half(i, features) === 0 ? ((j === 0 ? 1 : -1) * 26.1) / ((features / 2) * feature) : 0));
    expect(Math.max(...flat.map(Math.abs))).toBeLessThanOrEqual(1e6);
    const weights = loadWeights(network, flat);
    const sumOf = (targets: number): Promise<Float64Array> =>
      clippedGradientSum({ network, weights, features: Float32Array.from({ length: 2 * (63 + targets) }, (_, k) => (k < 126 ? k % 2 : 1 - (k % 2))), labels: Int32Array.from({ length: 63 + targets }, (_, i) => (i < 63 ? i % 2 : 0)), microBatch: 64, clipThreshold: 1e-5 });
    const [without, within] = [await sumOf(0), await sumOf(1)];
    disposeWeights(weights);
    expect(Math.hypot(...within.map((value, i) => value - without[i]!))).toBeLessThan(1.01e-5);
  });

  it('no example gives the zero vector', async () => {
    const network = createNetwork(plain);
    const weights = loadWeights(network, network.initialise(5, 'm'));
    const nobody = { network, weights, features: new Float32Array(0), labels: new Int32Array(0), microBatch: 64 };
    expect(await clippedGradientSum({ ...nobody, clipThreshold: 1 })).toEqual(new Float64Array(network.size));
    expect(await gradientSum(nobody)).toEqual(new Float64Array(network.size));
    disposeWeights(weights);
  });

  it('one example whose loss is already zero does not stop training', async () => {
    const network = createNetwork(plain);
    const flat = network.initialise(5, 'm');
    flat[network.size - 1] = 1e4; // the last class, whatever the record
    const weights = loadWeights(network, flat);
    const sure = { network, weights, features: new Float32Array(7).fill(0.3), labels: Int32Array.of(2), clipThreshold: 1, microBatch: 64 };
    expect(Math.hypot(...(await clippedGradientSum(sure)))).toBe(0);
    disposeWeights(weights);
  });

  /** A backend that breaks in the middle of a study, after the self-check. */
  const broken = (network: Network, change: Partial<Network['layers'][number]>): Network => ({ ...network, layers: network.layers.map((layer) => (layer.parameters.length > 0 ? { ...layer, ...change } : layer)) });
  const zeroNorms = { squaredNorms: ([first]: readonly Tensor[]): Tensor => tf.zeros([first!.shape[0]]) };

  it('norms that read zero while gradients are not stop training before a release', async () => {
    const network = broken(createNetwork(plain), zeroNorms);
    const weights = loadWeights(network, network.initialise(5, 'm'));
    await expect(clippedGradientSum({ network, weights, ...examples(network, 5), clipThreshold: 1e-2, microBatch: 3 })).rejects.toThrow(/longer than it can be; nothing is released/);
    disposeWeights(weights);
  });
});
