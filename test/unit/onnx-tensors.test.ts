import { createRequire } from 'node:module';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../shared/bytes.ts';
import { onnxOpener, sessionOptions } from '../../shared/platform/frozen/onnx.ts';
import { isOrtFormat, weightsOf } from '../../shared/platform/frozen/onnx-tensors.ts';
import { bytes, message, number, varint, writeOnnx } from '../support/onnx-writer.ts';
import { dense, denseOnnx } from '../support/small-network.ts';

const ONNX_RUNTIME = 'onnxruntime-node';
interface Runtime {
  readonly InferenceSession: { readonly create: (model: Uint8Array, options: object) => Promise<{ readonly run: (feeds: object) => Promise<Readonly<Record<string, { readonly data: ArrayLike<number> }>>> }> };
  readonly Tensor: new (type: 'float32', values: Float32Array, dims: readonly number[]) => object;
}
const runtime = ((): Runtime | undefined => {
  try {
    return createRequire(import.meta.url)(ONNX_RUNTIME) as Runtime;
  } catch {
    return undefined;
  }
})();

/** A field whose tag has bit 2^32 set: what keeps 32 bits of it takes it for the field itself. */
const tagged = (tag: readonly number[], content: Uint8Array): Uint8Array => message(Uint8Array.from([...tag, ...varint(content.length)]), content);
const WRAP = 2 ** 32;

const location = message(bytes(1, utf8('location')), bytes(2, utf8('weights.bin')));
const pinned = message(number(1, 3), number(2, 1), bytes(8, utf8('W')), bytes(9, new Uint8Array(12)));
const astray = message(number(1, 3), number(2, 1), bytes(8, utf8('W')), bytes(13, location), number(14, 1));

/** Where a tensor may stand in a model, from the tensor outwards: field numbers of onnx.proto3. */
const PLACES: readonly (readonly [string, readonly number[]])[] = [
  ['an initialiser', [5, 7]],
  ['the values of a sparse initialiser', [1, 15, 7]],
  ['the places of a sparse initialiser', [2, 15, 7]],
  ['an attribute', [5, 5, 1, 7]],
  ['an attribute\'s list of tensors', [10, 5, 1, 7]],
  ['an attribute\'s graph', [5, 6, 5, 1, 7]],
  ['an attribute\'s list of graphs', [5, 11, 5, 1, 7]],
  ['an attribute\'s sparse tensor', [1, 22, 5, 1, 7]],
  ['an attribute\'s list of sparse tensors', [2, 23, 5, 1, 7]],
  ['a node of a function', [5, 5, 7, 25]],
  ['a default of a function\'s attribute', [5, 11, 25]],
  ['the start of a training', [5, 1, 20]],
  ['the step of a training', [5, 2, 20]],
];
const modelWith = (tensor: Uint8Array, path: readonly number[]): Uint8Array => message(number(1, 8), path.reduce((inner, field) => bytes(field, inner), tensor), bytes(2, utf8('maker')));

describe('the weights of an ONNX file', () => {
  it.each(PLACES)('are followed into %s', (_, path) => {
    expect(weightsOf(modelWith(pinned, path))).toBe('inside');
    expect(weightsOf(modelWith(astray, path))).toBe('elsewhere');
    expect(weightsOf(modelWith(message(pinned, pinned.subarray(0, 12)), path))).toBe('damaged');
  });

  it.each([
    ['a location alone', bytes(13, location), 'elsewhere'],
    ['the word that they are alone', number(14, 1), 'elsewhere'],
    ['that word of a type that it cannot have', bytes(14, Uint8Array.of(1)), 'elsewhere'],
    ['the word that they are not', number(14, 0), 'inside'],
  ])('are elsewhere, or not, by %s', (_, field, found) => {
    expect(weightsOf(modelWith(message(pinned, field), [5, 7]))).toBe(found);
  });

  it.each(PLACES)('are refused where a longer tag hides that they are elsewhere, in %s', (_, path) => {
    const hidden = message(pinned, tagged(varint(13 * 8 + 2 + WRAP), location), Uint8Array.from([...varint(14 * 8 + WRAP), 1]));
    expect(weightsOf(modelWith(hidden, path))).toBe('damaged');
    const [inner = 0, ...outer] = path;
    expect(weightsOf(modelWith(tagged(varint(inner * 8 + 2 + WRAP), astray), outer))).toBe('damaged');
  });

  it('are refused with a tag of more than five bytes, which five bytes may write as they like', () => {
    expect(weightsOf(modelWith(message(pinned, tagged([0xea, 0x80, 0x80, 0x80, 0x00], location)), [5, 7]))).toBe('elsewhere');
    expect(weightsOf(modelWith(message(pinned, tagged([0xea, 0x80, 0x80, 0x80, 0x80, 0x00], location)), [5, 7]))).toBe('damaged');
  });

  const LONG = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
  it.each([
    ['a field 0', [0x02, 0x01, 0x41]],
    ['the start of a group', [0x13]],
    ['the end of a group', [0x14]],
    ['a wire type 6', [0x16]],
    ['a wire type 7', [0x17]],
    ['a number of eleven bytes', [0x28, ...LONG, 0x81, 0x00]],
    ['a length of six bytes', [0x12, 0x81, 0x80, 0x80, 0x80, 0x80, 0x00, 0x41]],
    ['a length beyond the end', [0x12, 0x7f, 0x41]],
  ])('are refused with %s', (_, field) => {
    expect(weightsOf(message(modelWith(pinned, [5, 7]), Uint8Array.from(field)))).toBe('damaged');
    expect(weightsOf(message(Uint8Array.from(field), modelWith(astray, [5, 7])))).toBe('damaged');
  });

  it('may stand beside negative numbers, of ten bytes, and numbers of four and eight', () => {
    const others = Uint8Array.from([0x28, ...LONG, 0x01, 0x2d, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(weightsOf(message(others, modelWith(pinned, [5, 7])))).toBe('inside');
    expect(weightsOf(message(others, modelWith(astray, [5, 7])))).toBe('elsewhere');
  });

  it('are followed through branches in branches, but not endlessly', () => {
    const nested = (times: number): Uint8Array => modelWith(pinned, [5, ...Array.from({ length: times }, () => [6, 5, 1]).flat(), 7]);
    expect([1, 30, 32].map((times) => weightsOf(nested(times)))).toEqual(['inside', 'inside', 'inside']);
    expect([33, 200].map((times) => weightsOf(nested(times)))).toEqual(['damaged', 'damaged']);
    // 60 000 messages inside one another, written from the inside.
    const heads: number[][] = [];
    for (let i = 0, length = 0; i < 60_000; i += 1) {
      const head = [...varint([6, 5, 1][i % 3]! * 8 + 2), ...varint(length)];
      heads.push(head);
      length += head.length;
    }
    const whole = Uint8Array.from(heads.reverse().flat());
    expect(weightsOf(message(bytes(7, whole)))).toBe('damaged');
  });

  it.each([[[]], [[7]], [[20]], [[25]], [[1, 7]], [[5, 1, 7]], [[5, 7]], [[15, 7]]])('are refused beside a field that ONNX does not have, in %j', async (path) => {
    for (const field of [bytes(99, utf8('new')), number(1000, 1)]) {
      const model = message(number(1, 8), path.reduce((inner, outer) => bytes(outer, inner), field));
      expect(weightsOf(model)).toBe('unknown');
      await expect(onnxOpener(() => Promise.reject(new Error('is not needed')))({ path: 'net.onnx', model, weights: new Uint8Array() })).rejects.toThrow(/net\.onnx has a field that no release of ONNX up to 1\.23 knows, .*; export it again/);
    }
  });
});

it('refuses ONNX Runtime\'s own format, also where the same bytes are an ONNX file', async () => {
  const both = message(bytes(2, utf8('abORTM')), denseOnnx(dense(5, 7, 3)));
  expect([isOrtFormat(both), isOrtFormat(denseOnnx(dense(5, 7, 3))), isOrtFormat(utf8('abcdORT'))]).toEqual([true, false, false]);
  await expect(onnxOpener(() => Promise.reject(new Error('is not needed')))({ path: 'net.onnx', model: both, weights: new Uint8Array() })).rejects.toThrow(/net\.onnx is no ONNX file that can be read here, .*\(it is in ONNX Runtime's own format\)/);
});

describe.skipIf(runtime === undefined)('ONNX Runtime, were it given a file that should have been refused', () => {
  const plain = { executionProviders: ['cpu'], logSeverityLevel: 4 };
  const ones = (): object => ({ x: new runtime!.Tensor('float32', Float32Array.of(1, 1), [1, 2]) });
  const features = async (model: Uint8Array, options: object): Promise<readonly number[]> => Array.from((await (await runtime!.InferenceSession.create(model, options)).run(ones()))['y']?.data ?? []);
  const file = (weight: { readonly data: readonly number[]; readonly location?: string }): Uint8Array =>
    writeOnnx({ input: { name: 'x', dims: ['n', 2] }, outputs: [{ name: 'y', dims: ['n', 2] }], nodes: [{ op: 'MatMul', inputs: ['x', 'W'], outputs: ['y'] }], weights: { W: { dims: [2, 2], ...weight } } });

  it('finds no weights in other files, which it would find', async () => {
    const beside = relative(process.cwd(), fileURLToPath(new URL('../support/onnx-weights.bin', import.meta.url)));
    const model = file({ data: [], location: beside });
    const asIs = { graphOptimizationLevel: 'disabled' };
    expect(await features(model, { ...plain, ...asIs })).toEqual([4, 6]);
    await expect(features(model, { ...sessionOptions(), ...asIs })).rejects.toThrow(/[Ee]xternal data path/);
    await expect(features(model, sessionOptions())).rejects.toThrow(/[Ee]xternal data path/);
    expect(await features(file({ data: [2, 3, 2, 3] }), sessionOptions())).toEqual([4, 6]);
  });

  it('takes it for ONNX, whatever it looks like', async () => {
    const both = message(bytes(2, utf8('abORTM')), file({ data: [2, 3, 2, 3] }));
    await expect(features(both, plain)).rejects.toThrow(/ORT model/);
    expect(await features(both, sessionOptions())).toEqual([4, 6]);
  });
});
