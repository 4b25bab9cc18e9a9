import { concatBytes, floatsToBytes, fromUtf8, utf8 } from '../bytes.ts';
import { AntiphonError } from '../errors.ts';

/** 64-bit integers come as Float64Array, exact or refused; booleans as 0 and 1. */
export type NpyData = Uint8Array | Int8Array | Uint16Array | Int16Array | Int32Array | Float32Array | Float64Array;

export interface NpyArray {
  readonly shape: readonly number[];
  /** C order: the last axis runs fastest. */
  readonly data: NpyData;
}

// NumPy enhancement proposal 1, "A Simple File Format for NumPy Arrays": magic, version, header length, header (a Python literal), data.
const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

interface ElementType {
  readonly bytes: number;
  readonly decode: (view: DataView, length: number, path: string) => NpyData;
}

const TYPES: Readonly<Record<string, ElementType>> = {
  // One-byte types are views of the file: a large file of pictures stays as small as it is.
  u1: { bytes: 1, decode: (view, length) => new Uint8Array(view.buffer, view.byteOffset, length) },
  b1: { bytes: 1, decode: (view, length) => new Uint8Array(view.buffer, view.byteOffset, length) },
  i1: { bytes: 1, decode: (view, length) => new Int8Array(view.buffer, view.byteOffset, length) },
  u2: { bytes: 2, decode: (view, length) => fill(new Uint16Array(length), (i) => view.getUint16(2 * i, true)) },
  i2: { bytes: 2, decode: (view, length) => fill(new Int16Array(length), (i) => view.getInt16(2 * i, true)) },
  i4: { bytes: 4, decode: (view, length) => fill(new Int32Array(length), (i) => view.getInt32(4 * i, true)) },
  i8: { bytes: 8, decode: (view, length, path) => fill(new Float64Array(length), (i) => safeInteger(view.getBigInt64(8 * i, true), path)) },
  f4: { bytes: 4, decode: (view, length) => fill(new Float32Array(length), (i) => view.getFloat32(4 * i, true)) },
  f8: { bytes: 8, decode: (view, length) => fill(new Float64Array(length), (i) => view.getFloat64(8 * i, true)) },
};

function fill<T extends NpyData>(array: T, value: (i: number) => number): T {
  for (let i = 0; i < array.length; i += 1) array[i] = value(i);
  return array;
}

function safeInteger(value: bigint, path: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new AntiphonError('data-invalid', `${path} holds a 64-bit integer beyond 2^53, which has no exact value here; save it as float64`);
}

/**
 * Little-endian C-order arrays of format versions 1 to 3. Throws AntiphonError('data-invalid') on anything else (Fortran order, big
 * endian, objects, records, missing or surplus bytes), saying how to save the array instead. One-byte data alias `bytes`.
 */
export function parseNpy(bytes: Uint8Array, path: string): NpyArray {
  const { descr, type, shape, dataStart } = parseNpyHeader(bytes, path);
  const length = shape.reduce((product, size) => product * size, 1);
  const expected = length * type.bytes;
  if (!Number.isSafeInteger(expected) || bytes.length - dataStart !== expected) {
    return refuserOf(path)(`${bytes.length - dataStart} bytes of data where shape [${shape.join(', ')}] of ${descr} needs ${expected}; the file is cut off or damaged, copy it again`);
  }
  const data = new DataView(bytes.buffer, bytes.byteOffset + dataStart, expected);
  return { shape, data: type.decode(data, length, path) };
}

/** What the header alone says: `bytes` are at least the file's beginning, up to the end of its header. Throws like `parseNpy`. */
export function parseNpyHeader(bytes: Uint8Array, path: string): { readonly shape: readonly number[]; readonly descr: string; readonly type: ElementType; readonly dataStart: number } {
  const refuse = refuserOf(path);
  if (bytes.length < 10 || MAGIC.some((byte, i) => bytes[i] !== byte)) return refuse('another kind of file; write it with numpy.save');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint8(6);
  if (version < 1 || version > 3) return refuse(`format version ${version}; versions 1 to 3 are read`);
  const headerStart = version === 1 ? 10 : 12;
  if (bytes.length < headerStart) return refuse('a file cut off in its header; copy it again');
  const dataStart = headerStart + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (bytes.length < dataStart) return refuse('a file cut off in its header; copy it again');

  const { descr, fortranOrder, shape } = parseHeader(headerText(bytes.subarray(headerStart, dataStart), refuse), refuse);
  if (fortranOrder) return refuse('Fortran order; save numpy.ascontiguousarray(array)');
  if (descr.startsWith('>')) return refuse(`big-endian data (${descr}); save array.astype("<${descr.slice(1)}")`);
  const type = /^[<|]/.test(descr) ? TYPES[descr.slice(1)] : undefined;
  if (type === undefined) return refuse(`elements of type ${descr}; use one of ${Object.keys(TYPES).join(', ')}, for example array.astype("<f4")`);
  return { shape, descr, type, dataStart };
}

function refuserOf(path: string): (found: string) => never {
  return (found) => {
    throw new AntiphonError('data-invalid', `expected a little-endian C-order NumPy array in ${path}, found ${found}`);
  };
}

function headerText(bytes: Uint8Array, refuse: (found: string) => never): string {
  try {
    return fromUtf8(bytes);
  } catch {
    return refuse('a damaged header; copy it again');
  }
}

function parseHeader(header: string, refuse: (found: string) => never): { readonly descr: string; readonly fortranOrder: boolean; readonly shape: readonly number[] } {
  if (/'descr'\s*:\s*\[/.test(header)) return refuse('records with named fields; save the fields as one plain array');
  const descr = /'descr'\s*:\s*'([^']{1,16})'/.exec(header)?.[1];
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const shape = /'shape'\s*:\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (descr === undefined || order === undefined || shape === undefined) return refuse('a header that is not NumPy\'s; write it with numpy.save');
  if (descr.endsWith('O')) return refuse('Python objects; save numbers, for example array.astype("<f4")');
  const sizes = shape.split(',').map((size) => size.trim()).filter((size) => size !== '').map(Number);
  return { descr, fortranOrder: order === 'True', shape: sizes };
}

/** The bytes numpy.save would write (version 1.0, header padded to 64 bytes). `data` holds as many elements as `shape` says. */
export function formatNpy(array: { readonly shape: readonly number[]; readonly data: Uint8Array | Float32Array }): Uint8Array<ArrayBuffer> {
  const { shape, data } = array;
  const descr = data instanceof Uint8Array ? '|u1' : '<f4';
  const sizes = shape.length === 1 ? `${shape[0] ?? 0},` : shape.join(', ');
  const literal = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const header = utf8(`${literal}${' '.repeat(63 - ((10 + literal.length) % 64))}\n`);
  const length = new Uint8Array(2);
  new DataView(length.buffer).setUint16(0, header.length, true);
  return concatBytes(Uint8Array.from([...MAGIC, 1, 0]), length, header, data instanceof Uint8Array ? data : floatsToBytes(data));
}
