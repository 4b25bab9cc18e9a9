import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { trainRound } from '../../client/train.ts';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import { formatNpy } from '../../shared/data/npy.ts';
import { hashTerm, termsOf, tokenReader } from '../../shared/data/text.ts';
import { clippedGradientSum, gradientSum } from '../../shared/model/gradients.ts';
import { attentionPool } from '../../shared/model/layers/attention.ts';
import { embeddingBag } from '../../shared/model/layers/embedding.ts';
import { createNetwork, networkOf, type Network } from '../../shared/model/network.ts';
import { tf } from '../../shared/model/tf.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { featuresOf } from '../support/features.ts';
import { memoryFiles } from '../support/memory-files.ts';

const primitives = { sha256: (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest() };

const study = (change: (text: string) => string = (text) => text): Study =>
  parseStudy(
    change(`
antiphon: 1
name: words
classes: [well, ill]
modalities:
  note:
    shape: [5]
    encoder: { type: embedding, vocabulary: 100, width: 3 }
    records:
      index: index.csv
      text: { column: said, ngrams: 2 }
      patient: patient
      label: outcome
sites:
  - { name: here, modality: note, patients: 9 }
schedule: { rounds: 2, localSteps: 1 }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: none, samplingRate: 0.5 }
`),
    'words.yaml',
  );
const fromFiles = (text: string): string => text.replace(/text: \{.*/, 'files: { format: text, column: file, ngrams: 2 }');
const fromNumbers = (text: string): string => text.replace(/text: \{.*/, 'values: tokens.npy');
const fromTable = (text: string): string => text.replace(/text: \{.*/, 'values: tokens.csv\n      columns: [a, b, c, d, e]');

const INDEX = 'patient,outcome,said,file\nanna,ill,"No fever, today.",a.txt\nbert,0,...,b.txt\ncarl,well,,\n';
const content = { 'index.csv': INDEX, 'a.txt': 'no FEVER\ntoday', 'b.txt': '??' };
const read = (own: Study, files: Record<string, string | Uint8Array<ArrayBuffer>> = {}): Promise<Dataset> =>
  buildDataset({ study: own, modality: 'note', selection: {}, files: memoryFiles({ ...content, ...files }), primitives });
const rows = (dataset: Dataset): number[][] => Array.from(dataset.labels, (_, i) => [...featuresOf(dataset)].slice(i * dataset.size, (i + 1) * dataset.size));

describe('texts as rows of token numbers', () => {
  it('are golden (computed apart from this code): sites number alike for ever', () => {
    const reader = (vocabulary: number, tokens: number) => tokenReader({ unit: 'word', ngrams: 2 }, { tokens, vocabulary });
    expect([...reader(4096, 7)('No fever today')]).toEqual([1672, 1344, 1234, 3998, 3508, 0, 0]);
    expect([...reader(12, 4)('No fever today')]).toEqual([10, 7, 1, 9]);
    expect([...reader(100, 2)('привет')]).toEqual([24, 0]);
  });

  it('hold the first terms in their order, numbers from 1 below the vocabulary, then padding (property)', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 80 }), fc.integer({ min: 2, max: 300 }), fc.integer({ min: 1, max: 40 }), (text, vocabulary, tokens) => {
        const spec = { unit: 'character', ngrams: 2 } as const;
        const terms = termsOf(text, spec);
        const row = [...tokenReader(spec, { tokens, vocabulary })(text)];
        expect(row).toHaveLength(tokens);
        row.forEach((token, i) => {
          const term = terms[i];
          expect(token).toBe(term === undefined ? 0 : 1 + (hashTerm(term) % (vocabulary - 1)));
          expect(token).toBeLessThan(vocabulary);
        });
      }),
    );
  });

  it('are read from a column or from files wherever the encoder looks tokens up; a text without words is a record of padding, an empty cell none', async () => {
    const expected = [[43, 84, 1, 20, 43], [0, 0, 0, 0, 0]];
    expect(rows(await read(study()))).toEqual(expected);
    expect(rows(await read(study(fromFiles)))).toEqual(expected);
  });
});

describe('token numbers that come as numbers', () => {
  const npy = (values: readonly number[]): Uint8Array<ArrayBuffer> => formatNpy({ shape: [3, 5], data: Float32Array.from({ length: 15 }, (_, i) => values[i] ?? 0) });
  const table = (cells: string): string => `a,b,c,d,e\n${cells}\n0,0,0,0,0\n99,1,1,0,1\n`;

  it('are taken as they are, and padding for an empty cell where the study says so', async () => {
    expect(rows(await read(study(fromNumbers), { 'tokens.npy': npy([99, 0, 7, 7, 1]) }))[0]).toEqual([99, 0, 7, 7, 1]);
    const sparse = study((text) => fromTable(text).replace('patient: patient', 'transform: { missing: 0 }\n      patient: patient'));
    expect(rows(await read(sparse, { 'tokens.csv': table('4,,4,,5') }))).toEqual([[4, 0, 4, 0, 5], [0, 0, 0, 0, 0], [99, 1, 1, 0, 1]]);
  });

  it.each([
    ['beyond the vocabulary', 100],
    ['far beyond it', 3e9],
    ['negative', -1],
    ['not whole', 2.5],
  ])('are refused where one is %s, with its place and without its value', async (_, token) => {
    const found = read(study(fromNumbers), { 'tokens.npy': npy([1, 2, 3, 4, 5, 6, 7, token]) });
    await expect(found).rejects.toMatchObject({ code: 'data-invalid', message: expect.stringMatching(/expected a token number, whole and from 0 \(none\) to 99, in tokens\.npy, row 1, feature 2, found another/) as string });
    await expect(found).rejects.not.toThrow(String(token));
  });

  it('are refused where one is missing or no number', async () => {
    await expect(read(study(fromTable), { 'tokens.csv': table('4,,4,,5') })).rejects.toThrow(/expected a number in tokens\.csv:2, column "b", found none .* transform\.missing/);
    await expect(read(study(fromTable), { 'tokens.csv': table('4,fever,4,,5') })).rejects.toThrow(/expected a number or an empty cell in tokens\.csv:2, column "b", found text/);
    await expect(read(study(fromNumbers), { 'tokens.npy': npy([1, 2, Infinity]) })).rejects.toThrow(/expected a finite number/);
  });
});

describe('a study of tokens is refused', () => {
  const front = 'frontEnd: { type: dct, rows: 1, columns: 1 }\n      patient: patient';
  const faults: [string, (text: string) => string, RegExp][] = [
    ['with records of two axes', (t) => t.replace('shape: [5]', 'shape: [5, 2]'), /modalities\.note\.shape: an embedding encoder needs \[tokens\], found \[5, 2\]/],
    ['with very long records', (t) => t.replace('shape: [5]', 'shape: [5000]'), /at most 4096 tokens a record, found 5000/],
    ['with very long records for attention', (t) => t.replace('shape: [5]', 'shape: [1025]').replace('embedding', 'attention'), /an attention encoder needs at most 1024 tokens a record, found 1025/],
    ['with more heads than there is room for', (t) => t.replace('type: embedding', 'type: attention, heads: 17'), /encoder\.heads/],
    ['with pictures', (t) => t.replace(/text: \{.*/, 'files: { format: image, column: file }'), /needs text, or "values" that are token numbers; found image/],
    ['behind a front-end', (t) => t.replace('patient: patient', front), /records\.frontEnd: .* of which a dct front-end makes something else/],
    ['behind a transform', (t) => t.replace('patient: patient', 'transform: { divideBy: 2 }\n      patient: patient'), /records\.transform: .* token numbers as they are: leave out subtract, divideBy and clip/],
    ['with a token for the missing ones', (t) => t.replace('patient: patient', 'transform: { missing: 3 }\n      patient: patient'), /needs 0, padding, for a missing token, found 3/],
    ['that counts its terms', (t) => t.replace('ngrams: 2', 'unitLength: true'), /records\.text: .* leave out counts and unitLength/],
    ['with a vocabulary of padding alone', (t) => t.replace('vocabulary: 100', 'vocabulary: 1'), /encoder\.vocabulary/],
    ['with an unknown key of the encoder', (t) => t.replace('width: 3', 'widht: 3'), /unknown key "widht"; did you mean "width"/],
    ['with layer normalisation behind an orthogonal head', (t) => t.replace('width: 3', 'width: 3, activation: tanh, normalise: layer').replace('sites:', 'head: { initial: { type: orthogonal } }\nsites:'), /needs? activation: tanh and no layer normalisation/],
  ];
  it.each(faults)('%s', (_, change, message) => {
    expect(() => study(change)).toThrow(message);
  });

  it('and without any of this it has the defaults of the documentation', () => {
    const own = study((text) => text.replace(', vocabulary: 100, width: 3', ''));
    expect(own.modalities['note']?.encoder).toEqual({ type: 'embedding', vocabulary: 4096, width: 64, hidden: [], activation: 'relu', normalise: 'none' });
    const attended = study((text) => text.replace('type: embedding, vocabulary: 100, width: 3', 'type: attention'));
    expect(attended.modalities['note']?.encoder).toEqual({ type: 'attention', vocabulary: 4096, width: 64, heads: 2, hidden: [], activation: 'relu', normalise: 'none' });
    expect(networkOf(attended, 'note').parameters.map(({ shape }) => shape)).toEqual([[4096, 64], [64, 64], [64], [2, 64], [128, 64], [64], [64, 2], [2]]);
    expect(networkOf(own, 'note').parameters.map(({ shape }) => shape)).toEqual([[4096, 64], [64, 64], [64], [64, 2], [2]]);
  });
});

const CLIP = 0.7;
const length = (values: ArrayLike<number>): number => Math.hypot(...Array.from(values));
const apart = (a: ArrayLike<number>, b: ArrayLike<number>): number => length(Array.from(a, (value, i) => value - b[i]!)) / length(b);

describe.each(['wasm', 'cpu'] as const)('on %s', (backend) => {
  beforeAll(async () => {
    await openBackend(backend);
  });

  it('an embedding is the mean of the rows of the tokens that are there, each as often as it is there, and zeros for padding alone', () => {
    const [vocabulary, width] = [6, 2];
    const table = Float32Array.from({ length: vocabulary * width }, (_, i) => 1 + i * i);
    const records = [[5, 1, 5, 0], [0, 0, 0, 0], [0, 2, 0, 0]];
    const found = tf.tidy(() => embeddingBag('e', { tokens: 4, vocabulary, width }).forward(tf.tensor2d(records), [tf.tensor2d(table, [vocabulary, width])]).output.arraySync()) as number[][];
    const mean = (tokens: readonly number[]): number[] => Array.from({ length: width }, (_, j) => tokens.reduce((sum, token) => sum + table[token * width + j]!, 0) / tokens.length);
    [mean([5, 1, 5]), [0, 0], mean([2])].forEach((expected, i) => {
      expected.forEach((value, j) => {
        expect(found[i]![j]).toBeCloseTo(value, 4);
      });
    });
  });
});

describe.each(['wasm', 'cpu'] as const)('attention on %s', (backend) => {
  it('is a mean of the rows of the tokens that are there, weighted by softmax of their keys and each query, and zeros for padding alone', async () => {
    await openBackend(backend);
    const [vocabulary, width, heads] = [6, 2, 2];
    const wave = (count: number, from: number): number[] => Array.from({ length: count }, (_, i) => 1.5 * Math.sin(from + 1.3 * i));
    const [table, kernel, bias, queries] = [wave(12, 0), wave(4, 2), wave(2, 5), wave(4, 7)];
    const records = [[5, 1, 5, 0], [0, 0, 0, 0], [0, 2, 0, 0]];
    const found = tf.tidy(() => {
      const parameters = [tf.tensor2d(table, [vocabulary, width]), tf.tensor2d(kernel, [width, width]), tf.tensor1d(bias), tf.tensor2d(queries, [heads, width])];
      return attentionPool('a', { tokens: 4, vocabulary, width, heads }).forward(tf.tensor2d(records), parameters).output.arraySync() as number[][];
    });
    const row = (token: number): number[] => table.slice(token * width, (token + 1) * width);
    const key = (token: number): number[] => bias.map((b, j) => Math.tanh(b + row(token).reduce((sum, value, i) => sum + value * kernel[i * width + j]!, 0)));
    records.forEach((record, r) => {
      const tokens = record.filter((token) => token !== 0);
      for (let head = 0; head < heads; head += 1) {
        const terms = tokens.map((token) => Math.exp(key(token).reduce((sum, value, j) => sum + value * queries[head * width + j]!, 0)));
        const total = terms.reduce((a, b) => a + b, 0);
        for (let j = 0; j < width; j += 1) {
          expect(found[r]![head * width + j]).toBeCloseTo(tokens.reduce((sum, token, t) => sum + (terms[t]! / total) * row(token)[j]!, 0), 5);
        }
      }
    });
  });
});

describe('attention under any weights', () => {
  it('weights so large that scores overflow give no gradient that counts, nor a failure', async () => {
    await openBackend('wasm');
    const network = encoders.attention;
    for (const scale of [1e4, 1e12, 1e30, Infinity]) {
      const weights = loadWeights(network, network.initialise(4, 'm').map((value) => (value === 0 ? 0 : value * scale)));
      const sum = await clippedGradientSum({ network, weights, features: Float32Array.from([...new Array<number>(9).fill(3), ...new Array<number>(9).fill(0), 1, 2, 3, 4, 5, 6, 0, 0, 0]), labels: Int32Array.of(0, 1, 2), microBatch: 3, clipThreshold: 0.5 });
      disposeWeights(weights);
      expect(sum.every(Number.isFinite)).toBe(true);
      expect(length(sum)).toBeLessThanOrEqual(1.5 * (1 + 1e-5));
    }
  });
});

const encoders = {
  embedding: createNetwork({ shape: [9], encoder: { type: 'embedding', vocabulary: 20, width: 4, hidden: [], activation: 'tanh', normalise: 'none' }, features: 5, classes: 3 }),
  attention: createNetwork({ shape: [9], encoder: { type: 'attention', vocabulary: 20, width: 4, heads: 2, hidden: [], activation: 'tanh', normalise: 'none' }, features: 5, classes: 3 }),
} satisfies Record<string, Network>;

describe.each(Object.entries(encoders))('private training of an encoder of tokens: %s', (_name, network) => {
  beforeAll(async () => {
    await openBackend('wasm');
  });
  let before = 0;
  afterEach(() => {
    expect(tf.memory().numTensors).toBe(before);
  });

  const alone = async (flat: Float32Array, record: ArrayLike<number>, label: number): Promise<Float64Array> => {
    const weights = loadWeights(network, flat);
    const sum = await gradientSum({ network, weights, features: Float32Array.from(record), labels: Int32Array.of(label), microBatch: 1 });
    disposeWeights(weights);
    return sum;
  };

  it('book-keeping equals clipping one by one, whatever repeats and wherever padding is (property)', async () => {
    before = tf.memory().numTensors;
    const record = fc.tuple(fc.array(fc.oneof(fc.constantFrom(0, 0, 3, 4), fc.integer({ min: 0, max: 19 })), { minLength: 9, maxLength: 9 }), fc.integer({ min: 0, max: 2 }));
    const flat = network.initialise(4, 'm').map((value, i) => value + 0.1 * Math.cos(i));
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 6 }), fc.double({ min: 0.01, max: 3, noNaN: true }), async (records, clipThreshold) => {
        const expected = new Float64Array(network.size);
        for (const [tokens, label] of records) {
          const own = await alone(flat, tokens, label);
          const factor = Math.min(1, clipThreshold / length(own));
          own.forEach((value, i) => (expected[i]! += factor * value));
        }
        const weights = loadWeights(network, flat);
        const found = await clippedGradientSum({ network, weights, features: Float32Array.from(records.flatMap(([tokens]) => tokens)), labels: Int32Array.from(records, ([, label]) => label), microBatch: 4, clipThreshold });
        disposeWeights(weights);
        // Gradients may nearly cancel: what is small is compared with what was added up.
        expect(length(found.map((value, i) => value - expected[i]!))).toBeLessThan(1e-5 * clipThreshold * records.length);
        expect(length(found)).toBeLessThanOrEqual(records.length * clipThreshold * (1 + 1e-5));
      }),
      { numRuns: 40 },
    );
  });

  it('a patient with several records gives one clipped gradient a step, that of one of them', async () => {
    before = tf.memory().numTensors;
    const texts = [[3, 3, 3, 3, 3, 3, 3, 3, 3], [3, 7, 3, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0], [19, 2, 2, 5, 19, 1, 8, 3, 4]];
    const dataset: Dataset = { size: 9, features: Float32Array.from(texts.flat()), labels: Int32Array.of(2, 2, 0, 1), lines: Int32Array.of(2, 3, 4, 5), patients: { ids: ['anna'], records: [Int32Array.of(0, 1, 2, 3)] } };
    const weights = network.initialise(4, 'm').map((value, i) => 2 * value + 0.1 * Math.cos(i));
    const clipped = await Promise.all(texts.map(async (text, i) => {
      const gradient = await alone(weights, text, dataset.labels[i]!);
      return gradient.map((value) => value * Math.min(1, CLIP / length(gradient)));
    }));
    const chosen = new Set<number>();
    for (let draw = 0; draw < 40; draw += 1) {
      const mechanism = { protection: 'local-noise', clipNorm: CLIP, noiseMultiplier: 1e-12, samplingRate: 1, steps: 1 } as const;
      const update = await trainRound({ network, dataset, weights, mechanism, patients: 8, learningRate: 0.4, momentum: 0, random: createKeyStream() });
      const sum = update.map((value) => (-value * 8) / 0.4);
      // The clip norm keeps a margin for rounding, and the sum is rounded to a grid.
      const match = clipped.findIndex((gradient) => apart(sum, gradient) < 5e-3);
      expect(match).toBeGreaterThanOrEqual(0);
      expect(length(sum)).toBeLessThanOrEqual(CLIP * (1 + 1e-6));
      chosen.add(match);
    }
    // One of four is never drawn in forty with probability 4e-5.
    expect(chosen.size).toBe(4);
  });
});
