import { describe, expect, it } from 'vitest';
import { formatNpy } from '../../shared/data/npy.ts';
import { onnxOpener } from '../../shared/platform/frozen/onnx.ts';
import { weightsOf } from '../../shared/platform/frozen/onnx-tensors.ts';
import { featuresOf } from '../support/features.ts';
import { expectClose, INPUTS, network, onnx, prepared, read, RECORDS, spec, study, TRAINED_ON } from '../support/frozen-scene.ts';
import { hasOnnx } from '../support/onnx-runtime.ts';
import { writeOnnx } from '../support/onnx-writer.ts';
import { denseFeatures, denseOnnx, sha256Of } from '../support/small-network.ts';

describe.skipIf(!hasOnnx)('an ONNX network', () => {
  const named = (file: Uint8Array, more: string): string => spec({ format: 'onnx', file: 'net.onnx', sha256: sha256Of(file) }, more);

  it('with channels first takes records whose channels are last, and gives such features', async () => {
    // A 1 x 1 convolution: out[o] = relu(sum_c K[o, c] in[c] + k[o]) at each of the 2 x 3 places.
    const [height, width, channels, filters] = [2, 3, 2, 4];
    const K = Array.from({ length: filters * channels }, (_, i) => Math.fround(Math.cos(2.1 * i)));
    const k = [0.25, -0.5, 0.125, 0.75];
    const file = writeOnnx({
      input: { name: 'x', dims: ['n', channels, height, width] },
      outputs: [{ name: 'y', dims: ['n', filters, height, width] }],
      nodes: [
        { op: 'Conv', inputs: ['x', 'K', 'k'], outputs: ['c'], ints: { kernel_shape: [1, 1] } },
        { op: 'Relu', inputs: ['c'], outputs: ['y'] },
      ],
      weights: { K: { dims: [filters, channels, 1, 1], data: K }, k: { dims: [filters], data: k } },
    });
    const pictures = Float32Array.from({ length: RECORDS * height * width * channels }, (_, i) => 10 + 4 * Math.sin(1.3 * (i + 1)));
    const files = { 'net.onnx': file, 'values.npy': formatNpy({ shape: [RECORDS, height, width, channels], data: pictures }) };
    const cnn = study(named(file, 'outputShape: [2, 3, 4], layout: channels-first, batch: 3'), { shape: '[2, 3, 2]', encoder: '{ type: cnn, filters: [4] }' });
    const dataset = await read(cnn, files);
    const places = Array.from({ length: 11 * height * width }, (_, place) => Array.from({ length: channels }, (_, c) => (pictures[place * channels + c]! - 10) / 4));
    expectClose(featuresOf(dataset), places.flatMap((x) => k.map((bias, o) => Math.max(0, x.reduce((sum, value, c) => sum + value * K[o * channels + c]!, bias)))));
    await expect(read(study(named(file, 'outputShape: [2, 3, 4]'), { shape: '[2, 3, 2]' }), files)).rejects.toThrow(/its input "x" takes \[any, 2, 2, 3\]; change the shape of modality "blood" .*, or records\.frozen\.layout/);
  });

  it('of a fixed batch needs that batch, and its last one is filled up', async () => {
    const fixed = denseOnnx(network, { input: { name: 'record', dims: [4, INPUTS] }, outputs: [{ name: 'features', dims: [4, 3] }] });
    await expect(read(study(named(fixed, 'outputShape: [3]')), { 'net.onnx': fixed })).rejects.toThrow(/takes \[1, 5\] in net\.onnx, its input "record" takes \[4, 5\]; give records\.frozen\.batch: 4/);
    expectClose(featuresOf(await read(study(named(fixed, 'outputShape: [3], batch: 4')), { 'net.onnx': fixed })), TRAINED_ON.flatMap((row) => denseFeatures(network, prepared(row))));
  });

  it('of several outputs needs the name of one', async () => {
    const two = denseOnnx(network, { outputs: [{ name: 'features', dims: ['batch', 3] }, { name: 'r', dims: ['batch', 7] }] });
    await expect(read(study(named(two, 'outputShape: [7]')), { 'net.onnx': two })).rejects.toThrow(/has 2 outputs \(features, r\); say in records\.frozen\.output which one/);
    expect((await read(study(named(two, 'outputShape: [7], output: r')), { 'net.onnx': two })).size).toBe(7);
    await expect(read(study(named(two, 'outputShape: [7], output: h')), { 'net.onnx': two })).rejects.toThrow(/expected an output "h" \(records\.frozen\.output\) of the network net\.onnx, found: features, r/);
  });

  it('of whole numbers is refused', async () => {
    const whole = denseOnnx(network, { input: { name: 'record', dims: ['batch', INPUTS], type: 7 }, nodes: [{ op: 'Cast', inputs: ['record'], outputs: ['features'], ints: { to: 1 } }], outputs: [{ name: 'features', dims: ['batch', INPUTS] }] });
    await expect(read(study(named(whole, 'outputShape: [5]')), { 'net.onnx': whole })).rejects.toThrow(/its input "record" takes int64; export it with a float32 input/);
  });
});

it('refuses an ONNX network with weights in a file that its sum does not cover', async () => {
  const { outputs, A } = network;
  const file = writeOnnx({
    input: { name: 'x', dims: ['n', INPUTS] },
    outputs: [{ name: 'y', dims: ['n', outputs] }],
    nodes: [{ op: 'MatMul', inputs: ['x', 'W'], outputs: ['y'] }],
    weights: { A: { dims: [A.length], data: A }, W: { dims: [INPUTS, outputs], data: [], location: 'weights.bin' } },
  });
  expect(weightsOf(file)).toBe('elsewhere');
  await expect(read(study(spec({ format: 'onnx', file: 'net.onnx', sha256: sha256Of(file) })), { 'net.onnx': file })).rejects.toThrow(/has weights in other files, which its SHA-256 does not cover/);
});

it('follows an ONNX file to its end, wherever it is cut, and never takes a part for the whole', () => {
  const file = denseOnnx(network);
  expect(weightsOf(file)).toBe('inside');
  const whole = Array.from(file.keys(), (length) => length).filter((length) => weightsOf(file.subarray(0, length)) === 'inside');
  // Cut between two of the outermost fields: nothing, the version, the version and the graph.
  expect(whole).toHaveLength(3);
});

it('says how to install ONNX where it is missing', async () => {
  const open = onnxOpener(() => Promise.reject(new Error("Cannot find module 'onnxruntime-node'")));
  const refused = open({ path: 'net.onnx', model: onnx, weights: new Uint8Array() });
  await expect(refused).rejects.toMatchObject({ code: 'data-invalid' });
  await expect(refused).rejects.toThrow(/need the library "onnxruntime-node", .*install it beside antiphon: npm install --save-prod --ignore-scripts onnxruntime-node@1\.30\.0$/);
});
