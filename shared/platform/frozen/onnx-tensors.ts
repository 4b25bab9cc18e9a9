/** The parts of an ONNX model that lead to its tensors. */
type Part = 'model' | 'training' | 'graph' | 'function' | 'node' | 'attribute' | 'sparse' | 'tensor';

/** Of the fields of a part: those that are followed, and the numbers of the others. */
interface Fields {
  readonly inner: Readonly<Record<number, Part>>;
  readonly others: readonly number[];
}

/** Every field of onnx-ml.proto, release 1.23, by number. Others are refused: a runtime that knows them might find tensors there. */
const FIELDS: Readonly<Record<Part, Fields>> = {
  model: { inner: { 7: 'graph', 20: 'training', 25: 'function' }, others: [1, 2, 3, 4, 5, 6, 8, 14, 26] },
  training: { inner: { 1: 'graph', 2: 'graph' }, others: [3, 4] },
  graph: { inner: { 1: 'node', 5: 'tensor', 15: 'sparse' }, others: [2, 10, 11, 12, 13, 14, 16] },
  function: { inner: { 7: 'node', 11: 'attribute' }, others: [1, 4, 5, 6, 8, 9, 10, 12, 13, 14] },
  node: { inner: { 5: 'attribute' }, others: [1, 2, 3, 4, 6, 7, 8, 9, 10] },
  attribute: { inner: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' }, others: [1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21] },
  sparse: { inner: { 1: 'tensor', 2: 'tensor' }, others: [3] },
  tensor: { inner: {}, others: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16] },
};
/** Of a tensor: where its external data lie, and that they do. */
const [EXTERNAL_DATA, DATA_LOCATION] = [13, 14];
/** Messages inside one another; Protocol Buffers' own parsers take no more. */
const MAX_DEPTH = 100;

/**
 * Whether every weight of an ONNX model is in these bytes: the runtime would read others from a file that no hash pins, relative to wherever this process was started.
 * `damaged`: no Protocol Buffers message that can be followed to its end, or one that parsers may read differently, as they keep only 32 bits of a longer tag.
 * `unknown`: a field that no release of ONNX known here has.
 */
export function weightsOf(bytes: Uint8Array, part: Part = 'model', depth = 1): 'inside' | 'elsewhere' | 'damaged' | 'unknown' {
  if (depth > MAX_DEPTH) return 'damaged';
  const { inner, others } = FIELDS[part];
  let at = 0;
  /** Exact below 2^53; NaN where it has no end within `most` bytes. */
  const varint = (most: number): number => {
    let value = 0;
    for (let read = 0; at < bytes.length && read < most; read += 1) {
      const byte = bytes[at]!;
      at += 1;
      value += (byte & 127) * 2 ** (7 * read);
      if (byte < 128) return value;
    }
    return Number.NaN;
  };
  while (at < bytes.length) {
    const tag = varint(5);
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (!(tag < 2 ** 32) || field === 0) return 'damaged';
    if (part === 'tensor' && (field === EXTERNAL_DATA || field === DATA_LOCATION)) {
      if (wire !== 0 || varint(10) !== 0) return 'elsewhere';
      continue;
    }
    const followed = inner[field];
    if (followed === undefined && !others.includes(field)) return 'unknown';
    if (wire === 0) {
      if (Number.isNaN(varint(10))) return 'damaged';
      continue;
    }
    const length = wire === 1 ? 8 : wire === 5 ? 4 : wire === 2 ? varint(5) : Number.NaN;
    if (!(length <= bytes.length - at)) return 'damaged';
    if (wire === 2 && followed !== undefined) {
      const found = weightsOf(bytes.subarray(at, at + length), followed, depth + 1);
      if (found !== 'inside') return found;
    }
    at += length;
  }
  return 'inside';
}

/** ONNX Runtime's own format, which it tells from ONNX by these four bytes ("ORTM" at 4), and which is not followed here. */
export function isOrtFormat(bytes: Uint8Array): boolean {
  return [0x4f, 0x52, 0x54, 0x4d].every((byte, i) => bytes[4 + i] === byte);
}
