import { describe, expect, it } from 'vitest';
import { collectRows } from '../../shared/data/features.ts';
import { openFrozen, recordSink, type FrozenModel } from '../../shared/data/frozen.ts';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import { createRowStore } from '../../shared/platform/row-store.ts';
import { memoryFiles } from '../support/memory-files.ts';
import { hasOnnx } from '../support/onnx-runtime.ts';
import { writeOnnx } from '../support/onnx-writer.ts';
import { graphModel, placeholder, sha256Of, type GraphNode } from '../support/small-network.ts';

interface Wanted {
  readonly format: 'tfjs-graph' | 'onnx';
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly shape: readonly number[];
  readonly outputShape: readonly number[];
  readonly batch: number;
}

/** Opened and closed again; what it throws. */
async function open({ format, files, shape, outputShape, batch }: Wanted): Promise<void> {
  const frozen = { format, file: Object.keys(files)[0] ?? '', sha256: sha256Of(...Object.values(files)), outputShape: [...outputShape], layout: 'as-is' as const, batch };
  const model = await openFrozen({ name: 'blood', spec: { shape: [...shape], records: { frozen } }, files: memoryFiles(files), sha256: nodePrimitives.sha256 });
  await model.close();
}

const T = { T: { type: 'DT_FLOAT' } };
const cumsum = (name: string, input: string, { axis = 'axis', reverse = false, exclusive = false } = {}): GraphNode => ({ name, op: 'Cumsum', input: [input, axis], attr: { exclusive: { b: exclusive }, reverse: { b: reverse }, ...T } });
const graph = (nodes: readonly GraphNode[], weights: Parameters<typeof graphModel>[1], { size = 5, batch = 4 } = {}): Wanted => ({ format: 'tfjs-graph', files: graphModel([placeholder('record', [-1, size]), ...nodes], weights), shape: [size], outputShape: [size], batch });
const AXIS = { axis: { dims: [], data: [0] } };

describe('the records of a batch', () => {
  it.each([2, 4, 5])('are found mixed by a running sum over them, from either end, %i at once', async (batch) => {
    await expect(open(graph([cumsum('y', 'record')], AXIS, { batch }))).rejects.toThrow(new RegExp(`gives one record other features beside other records \\(as number ${Math.floor(batch / 2) + 1} of ${batch}\\)`));
    await expect(open(graph([cumsum('y', 'record', { reverse: true })], AXIS, { batch }))).rejects.toThrow(new RegExp(`beside other records \\(as number 1 of ${batch}\\)`));
    await expect(open(graph([cumsum('y', 'record', { axis: 'columns' })], { columns: { dims: [], data: [1] } }, { batch }))).resolves.toBeUndefined();
  });

  it('cannot be mixed one at a time', async () => {
    await expect(open(graph([cumsum('y', 'record')], AXIS, { batch: 1 }))).resolves.toBeUndefined();
  });

  it('are found mixed by their mean, beside a constant feature that is far larger', async () => {
    const mean = [
      { name: 'mean', op: 'Mean', input: ['record', 'axis'], attr: { keep_dims: { b: true }, ...T } },
      { name: 'centred', op: 'Sub', input: ['record', 'mean'], attr: T },
      { name: 'y', op: 'AddV2', input: ['centred', 'bias'], attr: T },
    ];
    await expect(open(graph(mean, { axis: { dims: [1], data: [0] }, bias: { dims: [5], data: [3000, 0, 0, 0, 0] } }))).rejects.toThrow(/beside other records \(as number 1 of 4\); .*, or give records\.frozen\.batch: 1/);
  });

  it.skipIf(!hasOnnx)('are found mixed by a recurrent network that takes them for time', async () => {
    const H = 4;
    const weights = (length: number, shift: number): number[] => Array.from({ length }, (_, i) => Math.sin(i + shift));
    const rnn = writeOnnx({
      input: { name: 'x', dims: ['n', 3, 2] },
      outputs: [{ name: 'y', dims: ['n', 1, 3, H] }],
      nodes: [{ op: 'RNN', inputs: ['x', 'W', 'R'], outputs: ['y'], ints: { hidden_size: H } }],
      weights: { W: { dims: [1, H, 2], data: weights(2 * H, 0) }, R: { dims: [1, H, H], data: weights(H * H, 1.5) } },
    });
    const wanted = { format: 'onnx', files: { 'rnn.onnx': rnn }, shape: [3, 2], outputShape: [3, H], batch: 4 } as const;
    await expect(open(wanted)).rejects.toThrow(/the network rnn\.onnx gives one record other features beside other records \(as number 3 of 4\)/);
    await expect(open({ ...wanted, batch: 1 })).resolves.toBeUndefined();
  });

  /** Two features: those of `features`, of which the second grows by `step` from one record of a batch to the next. */
  const growing = (features: readonly [number, number], step: number): Wanted =>
    graph(
      [
        { name: 'zeros', op: 'Mul', input: ['record', 'zero'], attr: T },
        { name: 'ones', op: 'AddV2', input: ['zeros', 'one'], attr: T },
        cumsum('number', 'ones', { exclusive: true }),
        { name: 'growth', op: 'Mul', input: ['number', 'steps'], attr: T },
        { name: 'y', op: 'AddV2', input: ['growth', 'features'], attr: T },
      ],
      { ...AXIS, zero: { dims: [1], data: [0] }, one: { dims: [1], data: [1] }, steps: { dims: [2], data: [0, step] }, features: { dims: [2], data: features } },
      { size: 2 },
    );

  it.each([
    ['no more than a thousandth of a feature', [4, 2], 0.6e-3, true],
    ['more than a thousandth of a feature, which is less than one of the largest', [4, 2], 1e-3, false],
    ['no more than a millionth of the largest', [4, 0], 1.2e-6, true],
    ['more than a millionth of the largest', [4, 0], 1.6e-6, false],
  ] as const)('may differ by their place, as by rounding, by %s: %j, step %d', async (_, features, step, fine) => {
    const opened = open(growing(features, step));
    await (fine ? expect(opened).resolves.toBeUndefined() : expect(opened).rejects.toThrow(/beside other records \(as number \d of 4\)/));
  });

  it('are compared where the largest feature is infinite, too', async () => {
    const { files, ...rest } = graph(
      [{ name: 'mean', op: 'Mean', input: ['record', 'axis'], attr: { keep_dims: { b: true }, ...T } }, { name: 'mixed', op: 'Sub', input: ['record', 'mean'], attr: T }, { name: 'y', op: 'RealDiv', input: ['mixed', 'by'], attr: T }],
      { axis: { dims: [1], data: [0] }, by: { dims: [5], data: [1, 1, 1e-45, 1, 1] } },
    );
    await expect(open({ ...rest, files })).rejects.toThrow(/beside other records/);
  });
});

it('fills the last batch up with zeros, not with the records of the batch before', async () => {
  const [batch, recordSize] = [3, 2];
  const seen: number[][] = [];
  const model: FrozenModel = {
    size: 2,
    batch,
    apply: (records) => {
      seen.push([...records]);
      return Promise.resolve(records.map((value) => 10 * value));
    },
    runsOn: () => 'here',
    close: () => Promise.resolve(),
  };
  const rows = collectRows({ records: 5, size: 2, inMemoryBytes: 2 ** 20, openRowStore: createRowStore });
  const sink = recordSink(rows, model, { recordSize, index: 'index.csv', frozen: undefined });
  for (let i = 1; i <= 5; i += 1) await sink.append(Float32Array.of(i, -i), i + 1);
  await sink.end();
  expect(seen).toEqual([[1, -1, 2, -2, 3, -3], [4, -4, 5, -5, 0, 0]]);
  expect(rows.finish()).toEqual(Float32Array.of(10, -10, 20, -20, 30, -30, 40, -40, 50, -50));
});
