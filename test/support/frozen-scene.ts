import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import { formatNpy } from '../../shared/data/npy.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { memoryFiles } from './memory-files.ts';
import { hasOnnx } from './onnx-runtime.ts';
import { dense, denseGraph, denseOnnx, sha256Of } from './small-network.ts';

export const primitives = { sha256: (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest() };

/** Records of 5 numbers: 11 to train on, of them one without any, and 4 of either part of the evaluation. */
export const RECORDS = 19;
export const INPUTS = 5;
export const raw = Float32Array.from({ length: RECORDS * INPUTS }, (_, i) => (Math.floor(i / INPUTS) === 3 ? NaN : 10 + 6 * Math.sin(3.1 * (i + 1))));
const partOf = (row: number): string => (row < 11 ? 'train' : row < 15 ? 'selection' : 'test');
export const DATA = {
  'index.csv': ['patient,label,part', ...Array.from({ length: RECORDS }, (_, row) => `p${row},${row % 2},${partOf(row)}`)].join('\n'),
  'values.npy': formatNpy({ shape: [RECORDS, INPUTS], data: raw }),
};
/** What the transform below makes of a row. */
export const prepared = (row: number): number[] => Array.from(raw.subarray(row * INPUTS, (row + 1) * INPUTS), (value) => (value - 10) / 4);

export function study(frozen: string, { shape = `[${INPUTS}]`, encoder = '{ type: mlp, hidden: [4], activation: tanh }', more = '' } = {}): Study {
  return parseStudy(
    `antiphon: 1
name: frozen
classes: [well, ill]
modalities:
  blood:
    shape: ${shape}
    encoder: ${encoder}
    records:
      index: index.csv
      values: values.npy
      patient: patient
      label: label
      transform: { subtract: 10, divideBy: 4 }
      frozen: ${frozen}
      ${more}
sites: [{ name: one, modality: blood, patients: 19, where: { part: train } }]
schedule: { rounds: 2, localSteps: 1 }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: 0.5, delta: 0.001, epsilon: 8 }
evaluation: { public: true, sample: patient, selection: { where: { part: selection } }, test: { where: { part: test } } }
`,
    'frozen.yaml',
  );
}

export const network = dense(INPUTS, 7, 3);
export const graph = denseGraph(network, { shards: 3 });
export const onnx = denseOnnx(network);
export const FORMATS = [
  { format: 'tfjs-graph', file: 'nets/model.json', sha256: sha256Of(...Object.values(graph)), files: Object.fromEntries(Object.entries(graph).map(([name, bytes]) => [`nets/${name}`, bytes])), runs: true },
  { format: 'onnx', file: 'net.onnx', sha256: sha256Of(onnx), files: { 'net.onnx': onnx }, runs: hasOnnx },
];
export type Case = (typeof FORMATS)[number];

export const spec = ({ format, file, sha256 }: Pick<Case, 'format' | 'file' | 'sha256'>, more = 'outputShape: [3]'): string => `{ format: ${format}, file: ${file}, sha256: ${sha256}, ${more} }`;
export const read = (from: Study, files: Readonly<Record<string, string | Uint8Array>>): Promise<Dataset> =>
  buildDataset({ study: from, modality: 'blood', selection: { where: { part: 'train' } }, files: memoryFiles({ ...DATA, ...files }), primitives });

export function expectClose(found: ArrayLike<number>, wanted: readonly number[]): void {
  expect(found).toHaveLength(wanted.length);
  wanted.forEach((value, i) => expect(Math.abs(found[i]! - value)).toBeLessThan(1e-5 * (1 + Math.abs(value))));
}

export const TRAINED_ON = [0, 1, 2, 4, 5, 6, 7, 8, 9, 10];
