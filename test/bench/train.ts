/**
 * Training speed: examples per second of a step, private (norms, clipping; with and without noise) against not private and against one example at a
 * time. Ratios come from one run, in which the variants take turns.
 *
 *   npx tsc -p tsconfig.json --outDir dist; node dist/test/bench/train.js [backend ...]
 *
 * Prints a table and writes test/bench/results/train.md and train.json under the current folder.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { clippedGradientSum, gradientSum, type Batch } from '../../shared/model/gradients.ts';
import { createNetwork, type Network, type NetworkSpec } from '../../shared/model/network.ts';
import { proveBackend } from '../../shared/model/self-check.ts';
import { disposeWeights, loadWeights, type WeightTensors } from '../../shared/model/weights.ts';
import { BACKEND_CHOICES, openBackend, type BackendName } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { planMechanism, releaseNoisySum } from '../../shared/privacy/mechanism.ts';

const MODELS: Readonly<Record<string, NetworkSpec>> = {
  'MLP 512-256-6': { shape: [512], encoder: { type: 'mlp', hidden: [], activation: 'relu', normalise: 'none' }, features: 256, classes: 6 },
  // conv 16 5x5 stride 2, conv 32 3x3 stride 2, dense 64, dense 10; a study has one kernel size for all its convolutions.
  'CNN 28x28x1, kernel 5': { shape: [28, 28, 1], encoder: { type: 'cnn', filters: [16, 32], kernel: 5, stride: 2, activation: 'relu', normalise: 'none', groups: 1 }, features: 64, classes: 10 },
  'CNN 28x28x1, kernel 3': { shape: [28, 28, 1], encoder: { type: 'cnn', filters: [16, 32], kernel: 3, stride: 2, activation: 'relu', normalise: 'none', groups: 1 }, features: 64, classes: 10 },
};
const VARIANTS = ['not private', 'private', 'private, noised', 'one by one'] as const;
type Variant = (typeof VARIANTS)[number];

interface Row {
  readonly backend: string;
  readonly model: string;
  readonly batch: number;
  readonly microBatch: number;
  readonly examplesPerSecond: Readonly<Record<Variant, number>>;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
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

async function measure(network: Network, { backend, model, batch, microBatch, rounds }: Omit<Row, 'examplesPerSecond'> & { readonly rounds: number }): Promise<Row> {
  const features = Float32Array.from({ length: batch * network.inputSize }, (_, i) => Math.sin(i * 1.7));
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
  const rate = (variant: Variant): number => variants[variant].count / median(seconds[variant]);
  return { backend, model, batch, microBatch, examplesPerSecond: { 'not private': rate('not private'), private: rate('private'), 'private, noised': rate('private, noised'), 'one by one': rate('one by one') } };
}

function markdown(rows: readonly Row[], machine: string): string {
  const lines = rows.map(({ backend, model, batch, microBatch, examplesPerSecond: rate }) =>
    [backend, model, batch, microBatch, ...VARIANTS.map((variant) => Math.round(rate[variant])), (rate['not private'] / rate.private).toFixed(2), (rate.private / rate['one by one']).toFixed(1)].join(' | '),
  );
  return [
    '# Training speed, examples per second',
    '',
    machine,
    '',
    `| backend | model | batch | micro-batch | ${VARIANTS.join(' | ')} | slowdown of private | private / one by one |`,
    `|${' --- |'.repeat(10)}`,
    ...lines.map((line) => `| ${line} |`),
    '',
    'A step: weights loaded, forward and backward pass, sum read back; median of several, the variants taking turns in one run. Private: book-keeping norms and clipping; noised:',
    'exact discrete Gaussian from the CSPRNG added. One by one: every example its own pass, clipped on the host.',
    '',
  ].join('\n');
}

const wanted = BACKEND_CHOICES.filter((choice): choice is BackendName => choice !== 'auto' && (process.argv.length <= 2 || process.argv.includes(choice)));
const rows: Row[] = [];
for (const backend of wanted) {
  try {
    await openBackend(backend);
  } catch (error) {
    console.error(`${backend} left out: ${error instanceof Error ? error.message : String(error)}`);
    continue;
  }
  const size = backend === 'cpu' ? { batches: [[32, 32]], rounds: 3 } : { batches: [[256, 64], [256, 256]], rounds: 9 };
  for (const [model, spec] of Object.entries(MODELS)) {
    const network = createNetwork(spec);
    const started = performance.now();
    await proveBackend([network]);
    console.error(`${backend}, ${model}: proven in ${(performance.now() - started).toFixed(0)} ms`);
    for (const [batch, microBatch] of size.batches) rows.push(await measure(network, { backend, model, batch: batch ?? 0, microBatch: microBatch ?? 0, rounds: size.rounds }));
  }
}
const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}, ${process.platform}, ${new Date().toISOString().slice(0, 10)}`;
const table = markdown(rows, machine);
mkdirSync('test/bench/results', { recursive: true });
writeFileSync('test/bench/results/train.md', table);
writeFileSync('test/bench/results/train.json', `${JSON.stringify({ machine, rows }, null, 2)}\n`);
console.log(table);
