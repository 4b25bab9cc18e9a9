import { createHash } from 'node:crypto';
import { utf8 } from '../../shared/bytes.ts';
import { writeOnnx, type OnnxGraph } from './onnx-writer.ts';

/** A small dense network, relu(x A + a) B + b, as both formats hold it, and what it computes. */
export interface Dense {
  readonly inputs: number;
  readonly hidden: number;
  readonly outputs: number;
  readonly A: readonly number[];
  readonly a: readonly number[];
  readonly B: readonly number[];
  readonly b: readonly number[];
}

export function dense(inputs: number, hidden: number, outputs: number): Dense {
  const weights = (length: number, seed: number): readonly number[] => Array.from({ length }, (_, i) => Math.fround(0.8 * Math.sin(7.3 * seed + 1.7 * (i + 1))));
  return { inputs, hidden, outputs, A: weights(inputs * hidden, 1), a: weights(hidden, 2), B: weights(hidden * outputs, 3), b: weights(outputs, 4) };
}

/** In doubles, one record. */
export function denseFeatures({ inputs, hidden, outputs, A, a, B, b }: Dense, record: ArrayLike<number>): number[] {
  const layer = (x: ArrayLike<number>, [rows, columns]: readonly [number, number], weights: readonly number[], bias: readonly number[]): number[] =>
    Array.from({ length: columns }, (_, j) => Array.from({ length: rows }, (_, i) => x[i]! * weights[i * columns + j]!).reduce((sum, term) => sum + term, bias[j]!));
  return layer(layer(record, [inputs, hidden], A, a).map((value) => Math.max(0, value)), [hidden, outputs], B, b);
}

export function denseOnnx({ inputs, hidden, outputs, A, a, B, b }: Dense, change: Partial<OnnxGraph> = {}): Uint8Array<ArrayBuffer> {
  return writeOnnx({
    input: { name: 'record', dims: ['batch', inputs] },
    outputs: [{ name: 'features', dims: ['batch', outputs] }],
    nodes: [
      { op: 'Gemm', inputs: ['record', 'A', 'a'], outputs: ['h'] },
      { op: 'Relu', inputs: ['h'], outputs: ['r'] },
      { op: 'Gemm', inputs: ['r', 'B', 'b'], outputs: ['features'] },
    ],
    weights: { A: { dims: [inputs, hidden], data: A }, a: { dims: [hidden], data: a }, B: { dims: [hidden, outputs], data: B }, b: { dims: [outputs], data: b } },
    ...change,
  });
}

export interface GraphNode {
  readonly name: string;
  readonly op: string;
  readonly input?: readonly string[];
  readonly attr?: Readonly<Record<string, unknown>>;
}

const FLOAT = { type: 'DT_FLOAT' };

export function placeholder(name: string, dims: readonly number[], dtype = 'DT_FLOAT'): GraphNode {
  return { name, op: 'Placeholder', attr: { dtype: { type: dtype }, shape: { shape: { dim: dims.map((size) => ({ size: String(size) })) } } } };
}

/** model.json and its shards, `shards` of them, as tensorflowjs_converter writes them. */
export function graphModel(nodes: readonly GraphNode[], weights: Readonly<Record<string, { readonly dims: readonly number[]; readonly data: readonly number[] }>>, shards = 1): Readonly<Record<string, Uint8Array<ArrayBuffer>>> {
  const constants = Object.entries(weights).map(([name, { dims }]) => ({ name, op: 'Const', attr: { dtype: FLOAT, value: { tensor: { dtype: 'DT_FLOAT', tensorShape: { dim: dims.map((size) => ({ size: String(size) })) } } } } }));
  const bytes = new Uint8Array(Float32Array.from(Object.values(weights).flatMap(({ data }) => data)).buffer);
  const paths = Array.from({ length: shards }, (_, i) => `group1-shard${i + 1}of${shards}.bin`);
  const json = {
    format: 'graph-model',
    modelTopology: { node: [...constants, ...nodes], library: {}, versions: { producer: 27, minConsumer: 12 } },
    weightsManifest: [{ paths, weights: Object.entries(weights).map(([name, { dims }]) => ({ name, shape: dims, dtype: 'float32' })) }],
  };
  const each = Math.ceil(bytes.length / shards);
  return Object.fromEntries([['model.json', utf8(JSON.stringify(json))], ...paths.map((path, i): [string, Uint8Array<ArrayBuffer>] => [path, bytes.slice(i * each, (i + 1) * each)])]);
}

export function denseGraph({ inputs, hidden, outputs, A, a, B, b }: Dense, { shards = 1, extra = [] }: { readonly shards?: number; readonly extra?: readonly GraphNode[] } = {}): Readonly<Record<string, Uint8Array<ArrayBuffer>>> {
  const attr = { T: FLOAT, transpose_a: { b: false }, transpose_b: { b: false } };
  return graphModel(
    [
      placeholder('record', [-1, inputs]),
      { name: 'm', op: 'MatMul', input: ['record', 'A'], attr },
      { name: 'h', op: 'AddV2', input: ['m', 'a'], attr: { T: FLOAT } },
      { name: 'r', op: 'Relu', input: ['h'], attr: { T: FLOAT } },
      { name: 'n', op: 'MatMul', input: ['r', 'B'], attr },
      { name: 'features', op: 'AddV2', input: ['n', 'b'], attr: { T: FLOAT } },
      ...extra,
    ],
    { A: { dims: [inputs, hidden], data: A }, a: { dims: [hidden], data: a }, B: { dims: [hidden, outputs], data: B }, b: { dims: [outputs], data: b } },
    shards,
  );
}

/** As a study pins them: over the files one after the other. */
export function sha256Of(...files: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const file of files) hash.update(file);
  return hash.digest('hex');
}
