/**
 * Training speed: examples per second of a step, private (norms, clipping; with and without noise) against not private and against one example at a
 * time. Ratios come from one run, in which the variants take turns.
 *
 *   npx tsc -p tsconfig.json --outDir dist; node dist/test/bench/train.js [backend ...]
 *
 * Prints a table and writes test/bench/results/train.md and train.json under the current folder.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { clippedGradientSum, gradientSum, type Batch } from '../../shared/model/gradients.ts';
import { relu } from '../../shared/model/layers/activation.ts';
import { conv2d } from '../../shared/model/layers/conv2d.ts';
import { dense } from '../../shared/model/layers/dense.ts';
import { flatten } from '../../shared/model/layers/plain.ts';
import { assembleNetwork, createNetwork, type Network, type NetworkSpec } from '../../shared/model/network.ts';
import { tf } from '../../shared/model/tf.ts';
import { proveBackend } from '../../shared/model/self-check.ts';
import { disposeWeights, loadWeights, type WeightTensors } from '../../shared/model/weights.ts';
import { BACKEND_CHOICES, type BackendName } from '../../shared/platform/backend-choice.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { planMechanism, releaseNoisySum } from '../../shared/privacy/mechanism.ts';

const CNN: NetworkSpec = { shape: [28, 28, 1], encoder: { type: 'cnn', filters: [16, 32], kernel: 3, stride: 2, activation: 'relu', normalise: 'none', groups: 1 }, features: 64, classes: 10 };
const MODELS: Readonly<Record<string, Network>> = {
  'MLP 512-256-6': createNetwork({ shape: [512], encoder: { type: 'mlp', hidden: [], activation: 'relu', normalise: 'none' }, features: 256, classes: 6 }),
  // Two kernel sizes, as in published comparisons; a study's encoder has one.
  'CNN 28x28x1, kernels 5 and 3': assembleNetwork(CNN, [
    conv2d('encoder/conv0', { input: [28, 28, 1], filters: 16, kernel: 5, stride: 2 }),
    relu('encoder/activation0', [14, 14, 16]),
    conv2d('encoder/conv1', { input: [14, 14, 16], filters: 32, kernel: 3, stride: 2 }),
    relu('encoder/activation1', [7, 7, 32]),
    flatten('encoder/flatten', [7, 7, 32]),
    dense('encoder/dense', 7 * 7 * 32, 64),
    relu('encoder/features', [64]),
  ]),
  'CNN 28x28x1, kernel 3': createNetwork(CNN),
  'embedding, 64 tokens of 4096, width 32': createNetwork({ shape: [64], encoder: { type: 'embedding', vocabulary: 4096, width: 32, hidden: [], activation: 'relu', normalise: 'none' }, features: 64, classes: 10 }),
  'attention, 64 tokens of 4096, width 32, 2 heads': createNetwork({ shape: [64], encoder: { type: 'attention', vocabulary: 4096, width: 32, heads: 2, hidden: [], activation: 'relu', normalise: 'none' }, features: 64, classes: 10 }),
};
const VARIANTS = ['not private', 'private', 'private, noised', 'one by one'] as const;
type Variant = (typeof VARIANTS)[number];

interface Row {
  readonly backend: string;
  readonly model: string;
  readonly batch: number;
  readonly microBatch: number;
  readonly examplesPerSecond: Readonly<Record<Variant, number>>;
  /** Bytes of all tensors alive at once, at most, in one step. */
  readonly peakBytes: Readonly<Record<'not private' | 'private', number>>;
  /** What a gradient of every example of a batch would take. */
  readonly gradientsOfAllBytes: number;
}

type Examples = Omit<Batch, 'weights'>;

function steps(examples: Examples, flat: Float32Array): Readonly<Record<Variant, { readonly count: number; readonly run: () => Promise<unknown> }>> {
  const { network, features, labels, microBatch } = examples;
  const count = labels.length;
  const plan = planMechanism({ parameters: network.size, clipNorm: 1, noiseMultiplier: 1.1, samplingRate: 0.1, patients: 10 * count, steps: 10, longestReduction: network.longestReduction, microBatch });
  const { clipThreshold } = plan;
  const random = createKeyStream();
  const withWeights = async <T>(work: (weights: WeightTensors) => Promise<T>): Promise<T> => {
    const weights = loadWeights(network, flat);
    try {
      return await work(weights);
    } finally {
      disposeWeights(weights);
    }
  };
  const alone = Math.min(count, 32);
  return {
    'not private': { count, run: () => withWeights((weights) => gradientSum({ ...examples, weights })) },
    private: { count, run: () => withWeights((weights) => clippedGradientSum({ ...examples, weights, clipThreshold })) },
    'private, noised': { count, run: () => withWeights(async (weights) => releaseNoisySum(plan, await clippedGradientSum({ ...examples, weights, clipThreshold }), random)) },
    'one by one': {
      count: alone,
      run: () =>
        withWeights(async (weights) => {
          const sum = new Float64Array(network.size);
          for (let i = 0; i < alone; i += 1) {
            const own = { features: features.subarray(i * network.inputSize, (i + 1) * network.inputSize), labels: labels.subarray(i, i + 1) };
            const gradient = await gradientSum({ ...examples, ...own, weights });
            const norm = Math.sqrt(gradient.reduce((total, value) => total + value * value, 0));
            const factor = Math.min(1, clipThreshold / norm);
            for (let j = 0; j < sum.length; j += 1) sum[j]! += factor * gradient[j]!;
          }
          return sum;
        }),
    },
  };
}

async function measure(network: Network, { backend, model, batch, microBatch, rounds }: Pick<Row, 'backend' | 'model' | 'batch' | 'microBatch'> & { readonly rounds: number }): Promise<Row> {
  const { vocabulary } = network;
  // Of tokens: small numbers often, as words are; a sixteenth of padding.
  const token = (i: number, most: number): number => (i % 16 === 0 ? 0 : 1 + Math.floor((most - 1) * (Math.abs(Math.sin(i * 1.7)) * 0.999) ** 4));
  const features = Float32Array.from({ length: batch * network.inputSize }, (_, i) => (vocabulary === undefined ? Math.sin(i * 1.7) : token(i, vocabulary)));
  const labels = Int32Array.from({ length: batch }, (_, i) => i % network.spec.classes);
  const variants = steps({ network, features, labels, microBatch }, network.initialise(1, 'bench'));
  const seconds: Record<Variant, number[]> = { 'not private': [], private: [], 'private, noised': [], 'one by one': [] };
  for (let round = -1; round < rounds; round += 1) {
    for (const variant of VARIANTS) {
      const started = performance.now();
      await variants[variant].run();
      if (round >= 0) seconds[variant].push((performance.now() - started) / 1000);
    }
  }
  const rate = (variant: Variant): number => variants[variant].count / Math.min(...seconds[variant]);
  const peak = async (variant: Variant): Promise<number> => {
    const before = tf.memory().numBytes;
    // Its type wants tensors back; the numbers it takes are of the engine.
    const { peakBytes } = await tf.profile(async () => {
      await variants[variant].run();
      return [];
    });
    return peakBytes - before;
  };
  const peakBytes = { 'not private': await peak('not private'), private: await peak('private') };
  return { backend, model, batch, microBatch, peakBytes, gradientsOfAllBytes: 4 * batch * network.size, examplesPerSecond: { 'not private': rate('not private'), private: rate('private'), 'private, noised': rate('private, noised'), 'one by one': rate('one by one') } };
}

function markdown(rows: readonly Row[], machine: string): string {
  const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
  const lines = rows.map(({ backend, model, batch, microBatch, examplesPerSecond: rate, peakBytes, gradientsOfAllBytes }) =>
    [backend, model, batch, microBatch, ...VARIANTS.map((variant) => Math.round(rate[variant])), (rate['not private'] / rate.private).toFixed(2), (rate.private / rate['one by one']).toFixed(1), mebibytes(peakBytes['not private']), mebibytes(peakBytes.private), mebibytes(gradientsOfAllBytes)].join(' | '),
  );
  return [
    '# Training speed, examples per second',
    '',
    machine,
    '',
    `| backend | model | batch | micro-batch | ${VARIANTS.join(' | ')} | slowdown of private | private / one by one | peak MiB, not private | peak MiB, private | batch x parameters, MiB |`,
    `|${' --- |'.repeat(13)}`,
    ...lines.map((line) => `| ${line} |`),
    '',
    'A step: weights loaded, forward and backward pass, sum read back; the fastest of several (others may share the machine), the variants taking turns in one run. Private: book-keeping norms and clipping; noised:',
    'exact discrete Gaussian from the CSPRNG added. One by one: every example its own pass, its gradient read back and clipped on the host in float64. Peak: all tensors',
    'alive at once in one step; the last column is what a gradient of every example would take.',
    '',
  ].join('\n');
}

const wanted = BACKEND_CHOICES.filter((choice): choice is BackendName => choice !== 'auto' && (process.argv.length <= 2 || process.argv.includes(choice)));
const loadBefore = loadavg()[0] ?? NaN;
const rows: Row[] = [];
for (const backend of wanted) {
  try {
    const { gpu, why } = await openBackend(backend);
    if (backend === 'webgpu' && gpu === undefined && !process.argv.includes(backend)) {
      console.error(`${backend} left out: ${why}`);
      continue;
    }
  } catch (error) {
    console.error(`${backend} left out: ${error instanceof Error ? error.message : String(error)}`);
    continue;
  }
  const size = backend === 'cpu' ? { batches: [[32, 32]], rounds: 5 } : { batches: [[256, 64], [256, 256]], rounds: 40 };
  for (const [model, network] of Object.entries(MODELS)) {
    const started = performance.now();
    await proveBackend([network]);
    console.error(`${backend}, ${model}: proven in ${(performance.now() - started).toFixed(0)} ms`);
    for (const [batch, microBatch] of size.batches) rows.push(await measure(network, { backend, model, batch: batch ?? 0, microBatch: microBatch ?? 0, rounds: size.rounds }));
  }
}
const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}, ${process.platform}, ${new Date().toISOString().slice(0, 10)}; load average ${loadBefore.toFixed(1)} before, ${(loadavg()[0] ?? NaN).toFixed(1)} after (1 is this benchmark's own)`;
const table = markdown(rows, machine);
mkdirSync('test/bench/results', { recursive: true });
writeFileSync('test/bench/results/train.md', table);
writeFileSync('test/bench/results/train.json', `${JSON.stringify({ machine, rows }, null, 2)}\n`);
console.log(table);
