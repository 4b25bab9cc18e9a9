import type { Primitives } from '../crypto/primitives.ts';
import { AntiphonError, invariant } from '../errors.ts';
import type { FrozenSpec, Modality } from '../study/schema.ts';
import type { RowCollector } from './features.ts';
import type { DataFiles, Network } from './files.ts';
import { readNetwork } from './frozen-files.ts';
import { channelsFirstShape, moveChannels, sameShape, sizeOf } from './frozen-layout.ts';

/**
 * A frozen network stands between a record's `transform` and the encoder, like a front-end: a public constant, pinned by its hash, applied to one record at a
 * time. As long as it was not trained on the sites' patients and does not mix the records of a batch, it costs no budget.
 */
export interface FrozenModel {
  /** Features per record, as the encoder sees them. */
  readonly size: number;
  /** Records at once. */
  readonly batch: number;
  /** [batch, size of a record] -> [batch, size], row-major. */
  readonly apply: (records: Float32Array) => Promise<Float32Array>;
  readonly runsOn: () => string;
  readonly close: () => Promise<void>;
}

export interface FrozenRequest {
  readonly name: string;
  readonly spec: Pick<Modality, 'shape'> & { readonly records: { readonly frozen: FrozenSpec } };
  readonly files: DataFiles;
  readonly sha256: Primitives['sha256'];
}

/** Throws AntiphonError('data-invalid') where the network is not the study's, cannot run here, or takes or gives other shapes than the study says. */
export async function openFrozen({ name, spec, files, sha256 }: FrozenRequest): Promise<FrozenModel> {
  const { shape, records: { frozen } } = spec;
  const network = await files.networks[frozen.format](await readNetwork(files, frozen, sha256));
  try {
    const model = modelOf(network, { name, shape, frozen });
    await checkRecordsApart(model, { recordSize: sizeOf(shape), frozen });
    return model;
  } catch (error) {
    await network.close();
    throw error;
  }
}

function modelOf(network: Network, { name, shape, frozen }: { readonly name: string; readonly shape: readonly number[]; readonly frozen: FrozenSpec }): FrozenModel {
  const { file, batch, layout, outputShape } = frozen;
  const first = layout === 'channels-first';
  const dims = [batch, ...(first ? channelsFirstShape(shape) : shape)];
  const wanted = first ? channelsFirstShape(outputShape) : outputShape;
  checkInput(network, dims, { name, file });
  const output = outputOf(network, frozen);
  const [recordSize, size] = [sizeOf(shape), sizeOf(outputShape)];
  return {
    size,
    batch,
    apply: async (records) => {
      invariant(records.length === batch * recordSize, 'a whole batch of records');
      const found = await network.run(first ? moved('to-first', shape, records) : records, dims, output);
      const [rows, ...record] = found.dims;
      if (rows !== batch || !sameShape(record, wanted) || found.values.length !== batch * size) {
        throw new AntiphonError('data-invalid', `expected [${[batch, ...wanted].join(', ')}] from the network ${file}, as records.frozen.outputShape of modality "${name}" says, found [${found.dims.join(', ')}]; correct outputShape, or name another "output" of the network`);
      }
      return first ? moved('to-last', outputShape, found.values) : found.values;
    },
    runsOn: network.runsOn,
    close: network.close,
  };
}

function moved(direction: 'to-first' | 'to-last', shape: readonly number[], source: Float32Array): Float32Array {
  const target = new Float32Array(source.length);
  for (let at = 0; at < source.length; at += sizeOf(shape)) moveChannels(direction, shape, { source, from: at, target, to: at });
  return target;
}

function checkInput({ inputs }: Network, dims: readonly number[], { name, file }: { readonly name: string; readonly file: string }): void {
  const [input, ...others] = inputs;
  if (input === undefined || others.length > 0) {
    throw new AntiphonError('data-invalid', `expected a network of one input, the records, in ${file}, found ${inputs.length} (${inputs.map((one) => one.name).join(', ')}); export it so that the others are constants`);
  }
  if (input.type !== 'float32') {
    throw new AntiphonError('data-invalid', `expected a network that takes float32 numbers in ${file}, its input "${input.name}" takes ${input.type}; export it with a float32 input`);
  }
  const takes = input.dims;
  if (takes === undefined || (takes.length === dims.length && takes.every((length, axis) => length === undefined || length === dims[axis]))) return;
  const [wantedBatch] = takes;
  const hint = takes.length === dims.length && wantedBatch !== undefined && wantedBatch !== dims[0] ? `give records.frozen.batch: ${wantedBatch}` : `change the shape of modality "${name}" (records of another size are brought to it), or records.frozen.layout`;
  throw new AntiphonError('data-invalid', `expected a network that takes [${dims.join(', ')}] in ${file}, its input "${input.name}" takes [${takes.map((length) => length ?? 'any').join(', ')}]; ${hint}`);
}

function outputOf({ outputs }: Network, { file, output }: FrozenSpec): string {
  if (output !== undefined) return output;
  const [only, ...others] = outputs;
  if (only === undefined || others.length > 0) throw new AntiphonError('data-invalid', `the network ${file} has ${outputs.length} outputs (${outputs.join(', ')}); say in records.frozen.output which one the encoder is to see`);
  return only;
}

/** Features are the same but for rounding where they differ by no more than this share of the one, and this share of the largest. */
const [SAME, SAME_OF_LARGEST] = [1e-3, 1e-6];

/** How the other records of a trial are made from their phase: as large as the record itself, far smaller, far larger. */
const OTHERS = [(phase: number): number => Math.sin(phase), (phase: number): number => 0.01 * Math.sin(phase + 2.5), (phase: number): number => 100 * Math.cos(phase)] as const;

/**
 * The features of a record have to be a function of that record alone: were others of its batch mixed in (batch normalisation as in training, axes mixed up), one patient
 * would change another's features, and what is charged would be too little; were there chance in it (dropout as in training), sites and evaluation would see different
 * networks. One made-up record is tried first, in the middle and last in a batch, beside several kinds of others: this catches mistakes, not malice. With `batch: 1`
 * records cannot be mixed.
 */
async function checkRecordsApart({ apply, size, batch }: FrozenModel, { recordSize, frozen }: { readonly recordSize: number; readonly frozen: FrozenSpec }): Promise<void> {
  const phase = (i: number): number => 12.9898 * (i + 1);
  const featuresAt = async (row: number, others: (phase: number) => number): Promise<Float32Array> => {
    const records = Float32Array.from({ length: batch * recordSize }, (_, i) => (Math.floor(i / recordSize) === row ? Math.sin(phase(i % recordSize)) : others(phase(i))));
    return (await apply(records)).slice(row * size, (row + 1) * size);
  };
  const wanted = await featuresAt(0, OTHERS[0]);
  const largest = wanted.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
  for (const row of new Set([0, Math.floor(batch / 2), batch - 1])) {
    for (const others of batch === 1 ? OTHERS.slice(0, 1) : OTHERS) {
      const found = await featuresAt(row, others);
      if (wanted.every((value, i) => Object.is(value, found[i]) || Math.abs(value - found[i]!) <= SAME * Math.abs(value) + SAME_OF_LARGEST * largest)) continue;
      throw new AntiphonError('data-invalid', `the network ${frozen.file} gives one record other features ${batch === 1 ? 'the second time: there is chance in it' : `beside other records (as number ${row + 1} of ${batch})`}; a frozen network must be a function of one record: export it for inference, not as in training${batch === 1 ? '' : ', or give records.frozen.batch: 1'}`);
    }
  }
}

export interface RecordSink {
  /** One prepared record, which is copied; `line` of the index is for messages. */
  readonly append: (record: Float32Array, line: number) => Promise<void>;
  /** After the last record. */
  readonly end: () => Promise<void>;
}

/** Where prepared records go: to the rows, or, a batch at a time, through the network first. Throws AntiphonError('data-invalid') on features that are not finite. */
export function recordSink(rows: RowCollector, model: FrozenModel | undefined, { recordSize, index, frozen }: { readonly recordSize: number; readonly index: string; readonly frozen: FrozenSpec | undefined }): RecordSink {
  if (model === undefined) {
    return {
      append: (record) => {
        rows.append(record);
        return Promise.resolve();
      },
      end: () => Promise.resolve(),
    };
  }
  const { batch, size, apply } = model;
  const waiting = new Float32Array(batch * recordSize);
  let lines: number[] = [];
  const flush = async (): Promise<void> => {
    const features = await apply(waiting);
    lines.forEach((line, i) => {
      const row = features.subarray(i * size, (i + 1) * size);
      if (!row.every(Number.isFinite)) {
        throw new AntiphonError('data-invalid', `the network ${frozen?.file ?? ''} gives features that are no finite numbers for the record of ${index}:${line}; check that record, and that records.transform brings records to the range that the network was trained on`);
      }
      rows.append(row);
    });
    lines = [];
    waiting.fill(0);
  };
  return {
    append: async (record, line) => {
      waiting.set(record, lines.length * recordSize);
      lines.push(line);
      if (lines.length === batch) await flush();
    },
    end: async () => {
      if (lines.length > 0) await flush();
    },
  };
}
