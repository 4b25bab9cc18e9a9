import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hasOnnx } from '../support/onnx-runtime.ts';
import { run, temporaryFolder } from '../support/processes.ts';
import { denseGraph, denseOnnx, sha256Of, type Dense } from '../support/small-network.ts';

/** Of (x, y): |x + y| and |x - y|, whose difference has the sign of x y. */
const folds: Dense = { inputs: 2, hidden: 4, outputs: 2, A: [1, -1, 1, -1, 1, -1, -1, 1], a: [0, 0, 0, 0], B: [1, 0, 1, 0, 0, 1, 0, 1], b: [-1, -1] };
const graph = denseGraph(folds, { shards: 2 });
const onnx = denseOnnx(folds);
const SUMS = { 'tfjs-graph': sha256Of(...Object.values(graph)), onnx: sha256Of(onnx) };
const FILES = { 'tfjs-graph': 'nets/model.json', onnx: 'nets/folds.onnx' };
type Format = keyof typeof SUMS;

/** The class is whether two numbers have the same sign: one feature of a layer over the numbers, a half plane, has at most three of the four quadrants right. */
function writeData(folder: string): void {
  const rows = Array.from({ length: 900 }, (_, i) => {
    const label = i % 2;
    const draw = createHash('sha256').update(`record ${i}`).digest();
    const size = (k: number): number => 0.3 + draw[k]! / 256;
    const pair = (k: number): string => {
      const sign = draw[k + 8]! < 128 ? -1 : 1;
      return `${(sign * size(k)).toFixed(4)},${(sign * (label === 1 ? 1 : -1) * size(k + 1)).toFixed(4)}`;
    };
    return `p${i},${label},${i < 600 ? 'train' : i < 700 ? 'selection' : 'test'},${pair(1)},${pair(3)}`;
  });
  writeFileSync(join(folder, 'all.csv'), ['patient,label,split,a,b,c,d', ...rows].join('\n'));
  mkdirSync(join(folder, 'nets'));
  writeFileSync(join(folder, 'nets', 'folds.onnx'), onnx);
  for (const [name, bytes] of Object.entries(graph)) writeFileSync(join(folder, 'nets', name), bytes);
}

function writeStudy(folder: string, frozen: (modality: 'left' | 'right') => string): string {
  const records = (columns: string, more: string): string => `{ index: all.csv, values: all.csv, columns: ${columns}, patient: patient, label: label${more} }`;
  const study = join(folder, 'folds.yaml');
  writeFileSync(study, `antiphon: 1
name: folds
classes: [apart, together]
modalities:
  left: { shape: [2], encoder: { type: mlp, hidden: [], activation: tanh }, records: ${records('[a, b]', frozen('left'))} }
  right: { shape: [2], encoder: { type: mlp, hidden: [], activation: tanh }, records: ${records('[c, d]', frozen('right'))} }
head: { features: 1 }
sites:
  - { name: left-1, modality: left, patients: 650, where: { split: train } }
  - { name: right-1, modality: right, patients: 650, where: { split: train } }
schedule: { rounds: 24, localSteps: 2 }
optimiser: { local: { learningRate: 0.5, momentum: 0 } }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: 0.2, delta: 1.0e-4, epsilon: 8 }
evaluation: { public: true, sample: patient, selection: { where: { split: selection } }, test: { where: { split: test } }, everyRounds: 24 }
`);
  return study;
}

const named = (format: Format, sha256: string = SUMS[format]): string => `, frozen: { format: ${format}, file: ${FILES[format]}, sha256: ${sha256}, outputShape: [2], batch: 32 }`;

it('sites and evaluation see what frozen networks make of their records, and learn from it privately what they cannot without', async () => {
  const folder = temporaryFolder();
  writeData(folder);
  const right: Format = hasOnnx ? 'onnx' : 'tfjs-graph';
  const accuracyOf = async (study: string, out: string): Promise<Record<string, number>> => {
    const result = await run('simulate', '--study', study, '--data', folder, '--out', join(folder, out), '--json');
    expect(result.code === 0 ? '' : result.stderr).toBe('');
    const { epsilon, accuracy } = JSON.parse(result.stdout) as { epsilon: number; accuracy: Record<string, number> };
    expect(epsilon).toBeLessThanOrEqual(8);
    return accuracy;
  };
  const frozen = await accuracyOf(writeStudy(folder, (modality) => named(modality === 'left' ? 'tfjs-graph' : right)), 'frozen');
  const plain = await accuracyOf(writeStudy(folder, () => ''), 'plain');
  // 200 test patients at three quarters have a standard deviation of 0.031.
  for (const modality of ['left', 'right']) {
    expect(frozen[modality], modality).toBeGreaterThan(0.9);
    expect(plain[modality], modality).toBeLessThan(0.84);
  }
});

it('a run with another network than the study names ends before anything is trained', async () => {
  const folder = temporaryFolder();
  writeData(folder);
  const study = writeStudy(folder, () => named('tfjs-graph', SUMS.onnx));
  const result = await run('simulate', '--study', study, '--data', folder, '--out', join(folder, 'run'));
  expect(result.code).toBe(4);
  expect(result.stderr).toMatch(/^antiphon: .*expected nets\/model\.json and its 2 weight files to have the SHA-256 .*, found .*: this is another network/);
});
