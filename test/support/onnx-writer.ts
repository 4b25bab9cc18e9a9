import { utf8 } from '../../shared/bytes.ts';

/** Writes small ONNX files (https://onnx.ai/onnx/repo-docs/IR.html) field by field: float32 tensors, opset 13. Field numbers are those of onnx.proto3. */
export interface OnnxGraph {
  readonly input: OnnxValue;
  readonly outputs: readonly OnnxValue[];
  readonly nodes: readonly OnnxNode[];
  readonly weights: Readonly<Record<string, { readonly dims: readonly number[]; readonly data: ArrayLike<number>; /** A file that is said to hold the data. */ readonly location?: string }>>;
}

export interface OnnxValue {
  readonly name: string;
  /** A name: a length that is only known when the network runs. */
  readonly dims: readonly (number | string)[];
  /** Of onnx.proto3: 1 float, 7 int64; omitted: 1. */
  readonly type?: number;
}

export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly ints?: Readonly<Record<string, number | readonly number[]>>;
}

const FLOAT = 1;

export function writeOnnx({ input, outputs, nodes, weights }: OnnxGraph): Uint8Array<ArrayBuffer> {
  const graph = message(
    ...nodes.map((node) => bytes(1, nodeOf(node))),
    bytes(2, utf8('small')),
    ...Object.entries(weights).map(([name, { dims, data, location }]) =>
      bytes(5, message(...dims.map((length) => number(1, length)), number(2, FLOAT), bytes(8, utf8(name)), location === undefined ? bytes(9, new Uint8Array(Float32Array.from(data).buffer)) : elsewhere(location))),
    ),
    bytes(11, valueOf(input)),
    ...outputs.map((output) => bytes(12, valueOf(output))),
  );
  return message(number(1, 8), bytes(7, graph), bytes(8, message(bytes(1, utf8('')), number(2, 13))));
}

function elsewhere(location: string): Uint8Array {
  return message(bytes(13, message(bytes(1, utf8('location')), bytes(2, utf8(location)))), number(14, 1));
}

function nodeOf({ op, inputs, outputs, ints = {} }: OnnxNode): Uint8Array {
  const attributes = Object.entries(ints).map(([name, value]) =>
    bytes(5, typeof value === 'number' ? message(bytes(1, utf8(name)), number(3, value), number(20, 2)) : message(bytes(1, utf8(name)), ...value.map((one) => number(8, one)), number(20, 7))),
  );
  return message(...inputs.map((name) => bytes(1, utf8(name))), ...outputs.map((name) => bytes(2, utf8(name))), bytes(4, utf8(op)), ...attributes);
}

function valueOf({ name, dims, type = FLOAT }: OnnxValue): Uint8Array {
  const shape = message(...dims.map((length) => bytes(1, typeof length === 'number' ? number(1, length) : bytes(2, utf8(length)))));
  return message(bytes(1, utf8(name)), bytes(2, bytes(1, message(number(1, type), bytes(2, shape)))));
}

/** Protocol Buffers, wire types 0 and 2. */
export function number(field: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(field * 8), ...varint(value)]);
}

export function bytes(field: number, content: Uint8Array): Uint8Array {
  return message(Uint8Array.from([...varint(field * 8 + 2), ...varint(content.length)]), content);
}

export function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

export function message(...fields: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(fields.reduce((length, field) => length + field.length, 0));
  let at = 0;
  for (const field of fields) {
    whole.set(field, at);
    at += field.length;
  }
  return whole;
}
