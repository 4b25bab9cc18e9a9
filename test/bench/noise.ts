/**
 * Noise: random bytes, discrete Gaussian draws and their share of a private training step, each against how it was done before (test/support/karney.ts).
 * What is compared takes turns in one run; the fastest of many turns counts, because others may share the machine.
 *
 *   npm run bench:noise
 *
 * Prints tables and writes test/bench/results/noise.md and noise.json under the current folder.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { clippedGradientSum } from '../../shared/model/gradients.ts';
import { createNetwork } from '../../shared/model/network.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { createDiscreteGaussian } from '../../shared/privacy/discrete-gaussian.ts';
import { planMechanism, releaseNoisySum } from '../../shared/privacy/mechanism.ts';
import { createCipherStream, createKarneySampler } from '../support/karney.ts';

const PIECES = [2 ** 12, 2 ** 14, 2 ** 16, 2 ** 18, 2 ** 20];
const STDDEVS = [1e3, 1e5, 1e7, 2 ** 30, 2 ** 40];
const BATCH = 256;
const MICRO_BATCH = 64;
const TURNS = 100;

const network = createNetwork({ shape: [512], encoder: { type: 'mlp', hidden: [], activation: 'relu', normalise: 'none' }, features: 256, classes: 6 });

/** Milliseconds of the fastest turn of each. */
async function fastest<Name extends string>(work: Readonly<Record<Name, () => unknown>>, turns: number): Promise<Record<Name, number>> {
  const names = Object.keys(work) as Name[];
  const best = Object.fromEntries(names.map((name) => [name, Infinity])) as Record<Name, number>;
  for (let turn = 0; turn < turns; turn += 1) {
    for (const name of names) {
      const started = performance.now();
      await work[name]();
      best[name] = Math.min(best[name], performance.now() - started);
    }
  }
  return best;
}

async function measureBytes(piece: number): Promise<{ readonly piece: number; readonly beforeGBs: number; readonly nowGBs: number }> {
  const total = 2 ** 22;
  const before = createCipherStream();
  const now = createKeyStream();
  const target = new Uint8Array(piece);
  const repeat = (work: () => unknown) => () => {
    for (let done = 0; done < total; done += piece) work();
  };
  const ms = await fastest({ before: repeat(() => before(piece)), now: repeat(() => now.fill(target)) }, TURNS);
  return { piece, beforeGBs: total / ms.before / 1e6, nowGBs: total / ms.now / 1e6 };
}

/** A sampler for each fill, as for each step. */
async function measureDraws(sigma: number): Promise<{ readonly sigma: number; readonly beforeMs: number; readonly nowMs: number }> {
  const target = new Float64Array(network.size);
  const bytes = createCipherStream();
  const random = createKeyStream();
  const drawBefore = (): void => {
    const sample = createKarneySampler(sigma, bytes);
    for (let i = 0; i < target.length; i += 1) target[i] = sample();
  };
  const ms = await fastest({ before: drawBefore, now: () => createDiscreteGaussian(sigma, random).fill(target) }, TURNS);
  return { sigma, beforeMs: ms.before, nowMs: ms.now };
}

async function measureStep() {
  await openBackend('wasm');
  const plan = planMechanism({ parameters: network.size, clipNorm: 1, noiseMultiplier: 1.1, samplingRate: 0.1, patients: 10 * BATCH, steps: 10, longestReduction: network.longestReduction, microBatch: MICRO_BATCH });
  const features = Float32Array.from({ length: BATCH * network.inputSize }, (_, i) => Math.sin(i * 1.7));
  const labels = Int32Array.from({ length: BATCH }, (_, i) => i % network.spec.classes);
  const flat = network.initialise(1, 'bench');
  let sum = new Float64Array(network.size);
  const random = createKeyStream();
  const bytes = createCipherStream();
  const gradient = async (): Promise<void> => {
    const weights = loadWeights(network, flat);
    sum = Float64Array.from(await clippedGradientSum({ network, weights, features, labels, microBatch: MICRO_BATCH, clipThreshold: plan.clipThreshold }));
    disposeWeights(weights);
  };
  const releaseBefore = (): Float64Array => {
    const sample = createKarneySampler(plan.noiseStddevGrid, bytes);
    return sum.map((value) => (Math.round(value / plan.gridStep) + sample()) * plan.gridStep);
  };
  const ms = await fastest({ gradient, releaseBefore, releaseNow: () => releaseNoisySum(plan, sum, random) }, TURNS);
  return { model: 'MLP 512-256-6', parameters: network.size, batch: BATCH, microBatch: MICRO_BATCH, backend: 'wasm', noiseStddevGrid: plan.noiseStddevGrid, gradientMs: ms.gradient, releaseBeforeMs: ms.releaseBefore, releaseNowMs: ms.releaseNow };
}

const table = (heads: readonly string[], rows: readonly (readonly (string | number)[])[]): readonly string[] => [`| ${heads.join(' | ')} |`, `|${' --- |'.repeat(heads.length)}`, ...rows.map((row) => `| ${row.join(' | ')} |`), ''];
const share = (part: number, rest: number): string => `${((100 * part) / (part + rest)).toFixed(1)} %`;

const loadBefore = loadavg()[0] ?? NaN;
const bytes = [];
for (const piece of PIECES) bytes.push(await measureBytes(piece));
const draws = [];
for (const sigma of STDDEVS) draws.push(await measureDraws(sigma));
const step = await measureStep();
const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}, ${process.platform}, ${new Date().toISOString().slice(0, 10)}; load average ${loadBefore.toFixed(1)} before, ${(loadavg()[0] ?? NaN).toFixed(1)} after (1 is this benchmark's own)`;
const report = [
  '# Noise',
  '',
  machine,
  '',
  'Random bytes, in pieces of a size:',
  '',
  ...table(['KiB', 'before, GB/s', 'now, GB/s', 'ratio', 'words of 32 bits now, M/s'], bytes.map(({ piece, beforeGBs, nowGBs }) => [piece / 1024, beforeGBs.toFixed(2), nowGBs.toFixed(2), (nowGBs / beforeGBs).toFixed(1), Math.round(250 * nowGBs)])),
  `Discrete Gaussian, ${network.size} draws, a new sampler (its table included) each time:`,
  '',
  ...table(['standard deviation', 'before, M samples/s', 'now, M samples/s', 'ratio'], draws.map(({ sigma, beforeMs, nowMs }) => [sigma, (network.size / beforeMs / 1e3).toFixed(2), (network.size / nowMs / 1e3).toFixed(1), (beforeMs / nowMs).toFixed(0)])),
  `A private step, ${step.model} (${step.parameters} parameters, noise of ${step.noiseStddevGrid} grid steps), ${step.batch} examples in micro-batches of ${step.microBatch}, ${step.backend}:`,
  '',
  ...table(
    ['', 'clipped sum, ms', 'release (grid, noise), ms', 'share of the release'],
    [
      ['before', step.gradientMs.toFixed(2), step.releaseBeforeMs.toFixed(2), share(step.releaseBeforeMs, step.gradientMs)],
      ['now', step.gradientMs.toFixed(2), step.releaseNowMs.toFixed(2), share(step.releaseNowMs, step.gradientMs)],
    ],
  ),
  'Before: a cipher of its own over zeros, Karney\'s rejection one draw at a time (test/support/karney.ts). The fastest of many turns, in which what is compared alternates.',
  '',
].join('\n');
mkdirSync('test/bench/results', { recursive: true });
writeFileSync('test/bench/results/noise.md', report);
writeFileSync('test/bench/results/noise.json', `${JSON.stringify({ machine, bytes, draws, step }, null, 2)}\n`);
console.log(report);
