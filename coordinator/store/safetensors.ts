import { bytesToFloats, concatBytes, floatsToBytes, fromUtf8, utf8 } from '../../shared/bytes.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { z } from 'zod';

/** Tensors by name in the safetensors format (huggingface/safetensors, format.md): 8-byte header length, JSON header, raw little-endian data. */
export interface TensorFile {
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;
  readonly metadata: Readonly<Record<string, string>>;
}

export function formatSafetensors({ tensors, metadata }: TensorFile): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = { __metadata__: metadata };
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { shape, values }] of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + 4 * values.length] };
    parts.push(floatsToBytes(values));
    offset += 4 * values.length;
  }
  const json = JSON.stringify(header);
  const padded = utf8(json + ' '.repeat((8 - (utf8(json).length % 8)) % 8));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(padded.length), true);
  return concatBytes(length, padded, ...parts);
}

const entrySchema = z.strictObject({
  dtype: z.literal('F32'),
  shape: z.array(z.int().min(0)),
  data_offsets: z.tuple([z.int().min(0), z.int().min(0)]),
});

/** Throws AntiphonError('storage-failed') on anything but whole F32 tensors; `source` names the file. */
export function parseSafetensors(bytes: Uint8Array, source: string): TensorFile {
  const damaged = (what: string): AntiphonError =>
    new AntiphonError('storage-failed', `${source} is not a checkpoint that can be read: ${what}; restore it, or start the study in a new folder`);
  if (bytes.length < 8) throw damaged(`expected a header, found ${bytes.length} bytes`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (length > bytes.length - 8) throw damaged(`the header says ${length} bytes, the file has ${bytes.length}`);
  const data = bytes.subarray(8 + length);
  let header: unknown;
  try {
    header = JSON.parse(fromUtf8(bytes.subarray(8, 8 + length)));
  } catch (error) {
    throw damaged(`the header is not JSON (${error instanceof Error ? error.message : 'unknown'})`);
  }
  const { __metadata__: metadata, ...entries } = z.record(z.string(), z.unknown()).parse(header);
  const tensors = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  for (const [name, entry] of Object.entries(entries)) {
    const parsed = entrySchema.safeParse(entry);
    if (!parsed.success) throw damaged(`tensor ${name} is not a plain F32 tensor`);
    const { shape, data_offsets: [from, to] } = parsed.data;
    if (to > data.length || to - from !== 4 * shape.reduce((a, b) => a * b, 1)) throw damaged(`tensor ${name} does not fit its shape`);
    tensors.set(name, { shape, values: bytesToFloats(data.subarray(from, to)) });
  }
  return { tensors, metadata: z.record(z.string(), z.string()).parse(metadata ?? {}) };
}
