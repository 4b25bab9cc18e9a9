/** The parts of an ONNX model that lead to its tensors, by field number of onnx.proto3. */
type Part = 'model' | 'graph' | 'function' | 'node' | 'attribute' | 'sparse' | 'tensor';

const PARTS: Readonly<Record<Part, Readonly<Record<number, Part>>>> = {
  model: { 7: 'graph', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  function: { 7: 'node' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: {},
};
/** Of a tensor: where its external data lie, and that they do. */
const [EXTERNAL_DATA, DATA_LOCATION] = [13, 14];

/**
 * Whether every weight of an ONNX model is in these bytes: the runtime would read others from a file that no hash pins, relative to wherever this process was started.
 * `damaged`: no Protocol Buffers message that can be followed to its end.
 */
export function weightsOf(bytes: Uint8Array, part: Part = 'model'): 'inside' | 'elsewhere' | 'damaged' {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; at < bytes.length && factor <= 2 ** 63; factor *= 128) {
      const byte = bytes[at]!;
      at += 1;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    return Number.NaN;
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (part === 'tensor' && (field === EXTERNAL_DATA || field === DATA_LOCATION)) {
      if (wire !== 0 || varint() !== 0) return 'elsewhere';
      continue;
    }
    if (wire === 0) {
      if (Number.isNaN(varint())) return 'damaged';
      continue;
    }
    const length = wire === 1 ? 8 : wire === 5 ? 4 : wire === 2 ? varint() : Number.NaN;
    if (!(length <= bytes.length - at)) return 'damaged';
    const inner = wire === 2 ? PARTS[part][field] : undefined;
    if (inner !== undefined) {
      const found = weightsOf(bytes.subarray(at, at + length), inner);
      if (found !== 'inside') return found;
    }
    at += length;
  }
  return 'inside';
}
