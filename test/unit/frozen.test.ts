import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeCanaries } from '../../deploy/audit/canaries.ts';
import { buildDataset, checkLayout, type Dataset } from '../../shared/data/dataset.ts';
import { buildEvaluationSet } from '../../shared/data/evaluation-set.ts';
import { readNetwork } from '../../shared/data/frozen-files.ts';
import { formatNpy } from '../../shared/data/npy.ts';
import { tf } from '../../shared/model/tf.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { onnxOpener } from '../../shared/platform/frozen/onnx.ts';
import { weightsOf } from '../../shared/platform/frozen/onnx-tensors.ts';
import { encoderShape } from '../../shared/study/encoder-input.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { featuresOf } from '../support/features.ts';
import { memoryFiles } from '../support/memory-files.ts';
import { writeOnnx } from '../support/onnx-writer.ts';
import { dense, denseFeatures, denseGraph, denseOnnx, graphModel, placeholder, sha256Of } from '../support/small-network.ts';

const primitives = { sha256: (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest() };
const hasOnnx = ((): boolean => {
  try {
    createRequire(import.meta.url).resolve('onnxruntime-node');
    return true;
  } catch {
    return false;
  }
})();
if (!hasOnnx) console.warn('onnxruntime-node is not installed: the tests of ONNX networks are skipped');

/** Records of 5 numbers: 11 to train on, of them one without any, and 4 of either part of the evaluation. */
const RECORDS = 19;
const INPUTS = 5;
const raw = Float32Array.from({ length: RECORDS * INPUTS }, (_, i) => (Math.floor(i / INPUTS) === 3 ? NaN : 10 + 6 * Math.sin(3.1 * (i + 1))));
const partOf = (row: number): string => (row < 11 ? 'train' : row < 15 ? 'selection' : 'test');
const DATA = {
  'index.csv': ['patient,label,part', ...Array.from({ length: RECORDS }, (_, row) => `p${row},${row % 2},${partOf(row)}`)].join('\n'),
  'values.npy': formatNpy({ shape: [RECORDS, INPUTS], data: raw }),
};
/** What the transform below makes of a row. */
const prepared = (row: number): number[] => Array.from(raw.subarray(row * INPUTS, (row + 1) * INPUTS), (value) => (value - 10) / 4);

function study(frozen: string, { shape = `[${INPUTS}]`, encoder = '{ type: mlp, hidden: [4], activation: tanh }', more = '' } = {}): Study {
  return parseStudy(
    `antiphon: 1
name: frozen
classes: [well, ill]
modalities:
  blood:
    shape: ${shape}
    encoder: ${encoder}
    records:
      index: index.csv
      values: values.npy
      patient: patient
      label: label
      transform: { subtract: 10, divideBy: 4 }
      frozen: ${frozen}
      ${more}
sites: [{ name: one, modality: blood, patients: 19, where: { part: train } }]
schedule: { rounds: 2, localSteps: 1 }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: 0.5, delta: 0.001, epsilon: 8 }
evaluation: { public: true, sample: patient, selection: { where: { part: selection } }, test: { where: { part: test } } }
`,
    'frozen.yaml',
  );
}

const network = dense(INPUTS, 7, 3);
const graph = denseGraph(network, { shards: 3 });
const onnx = denseOnnx(network);
const FORMATS = [
  { format: 'tfjs-graph', file: 'nets/model.json', sha256: sha256Of(...Object.values(graph)), files: Object.fromEntries(Object.entries(graph).map(([name, bytes]) => [`nets/${name}`, bytes])), runs: true },
  { format: 'onnx', file: 'net.onnx', sha256: sha256Of(onnx), files: { 'net.onnx': onnx }, runs: hasOnnx },
];
type Case = (typeof FORMATS)[number];

const spec = ({ format, file, sha256 }: Pick<Case, 'format' | 'file' | 'sha256'>, more = 'outputShape: [3]'): string => `{ format: ${format}, file: ${file}, sha256: ${sha256}, ${more} }`;
const read = (from: Study, files: Readonly<Record<string, string | Uint8Array>>): Promise<Dataset> =>
  buildDataset({ study: from, modality: 'blood', selection: { where: { part: 'train' } }, files: memoryFiles({ ...DATA, ...files }), primitives });

function expectClose(found: ArrayLike<number>, wanted: readonly number[]): void {
  expect(found).toHaveLength(wanted.length);
  wanted.forEach((value, i) => expect(Math.abs(found[i]! - value)).toBeLessThan(1e-5 * (1 + Math.abs(value))));
}

const TRAINED_ON = [0, 1, 2, 4, 5, 6, 7, 8, 9, 10];

describe.each(FORMATS)('a frozen network as $format', (one) => {
  it.skipIf(!one.runs).each([1, 4, 10, 16])('gives the reference\'s features, %i records at once', async (batch) => {
    const dataset = await read(study(spec(one, `outputShape: [3], batch: ${batch}`)), one.files);
    expect(dataset.size).toBe(3);
    expect(dataset.patients.ids).toEqual(TRAINED_ON.map((row) => `p${row}`));
    expectClose(featuresOf(dataset), TRAINED_ON.flatMap((row) => denseFeatures(network, prepared(row))));
  });

  it.skipIf(!one.runs)('gives a record the same features at a site and in the evaluation', async () => {
    const from = study(spec(one, 'outputShape: [3], batch: 4'));
    const files = memoryFiles({ ...DATA, ...one.files });
    const test = await buildEvaluationSet({ study: from, part: 'test', files, primitives });
    expectClose(test.modalities['blood']?.features ?? [], [15, 16, 17, 18].flatMap((row) => denseFeatures(network, prepared(row))));
    const site = await buildDataset({ study: from, modality: 'blood', selection: { where: { part: 'test' } }, files, primitives });
    expect(featuresOf(site)).toEqual(test.modalities['blood']?.features);
  });

  it('refuses other bytes than the study names, and says both sums', async () => {
    const [path = '', bytes = new Uint8Array()] = Object.entries(one.files).at(-1) ?? [];
    const changed = bytes.slice();
    changed[changed.length - 9]! ^= 1;
    const found = sha256Of(...Object.entries(one.files).map(([name, own]) => (name === path ? changed : own)));
    const refused = read(study(spec(one)), { ...one.files, [path]: changed });
    await expect(refused).rejects.toThrow(new RegExp(`SHA-256 ${one.sha256}, as records.frozen.sha256 says, found ${found}: this is another network`));
    await expect(refused).rejects.toMatchObject({ code: 'data-invalid' });
  });

  it.skipIf(!one.runs)('refuses a network that gives another shape than the study says', async () => {
    await expect(read(study(spec(one, 'outputShape: [4]')), one.files)).rejects.toThrow(/expected \[1, 4\] from the network .*, as records.frozen.outputShape of modality "blood" says, found \[1, 3\]; correct outputShape/);
  });

  it.skipIf(!one.runs)('refuses records of another size than the network takes', async () => {
    await expect(read(study(spec(one), { shape: '[5, 1]' }), one.files)).rejects.toThrow(/takes \[1, 5, 1\] in .*, its input "record" takes \[any, 5\]; change the shape of modality "blood"/);
  });

  it.skipIf(!one.runs)('refuses an output that the network does not have', async () => {
    await expect(read(study(spec(one, 'outputShape: [3], output: embedding')), one.files)).rejects.toThrow(/embedding.*records\.frozen\.output|records\.frozen\.output.*embedding|"embedding"/);
  });

  it.skipIf(!one.runs)('refuses features that are no finite numbers, naming the record\'s line and no value', async () => {
    const values = raw.slice();
    values.fill(3.3e38, 9 * INPUTS, 10 * INPUTS);
    const wide = unbounded(study(spec(one, 'outputShape: [3], batch: 4')));
    await expect(read(wide, { ...one.files, 'values.npy': formatNpy({ shape: [RECORDS, INPUTS], data: values }) })).rejects.toThrow(/features that are no finite numbers for the record of index\.csv:11; check that record/);
  });

  it.skipIf(!one.runs)('says that a damaged network is damaged', async () => {
    const [path = '', bytes = new Uint8Array()] = Object.entries(one.files)[one.format === 'onnx' ? 0 : 1] ?? [];
    const files = { ...one.files, [path]: bytes.subarray(0, bytes.length - 40) };
    const sha256 = sha256Of(...Object.values(files));
    await expect(read(study(spec({ ...one, sha256 })), files)).rejects.toThrow(/is no (?:ONNX file|TensorFlow\.js graph model) that can be read here, or is damaged/);
  });

  it.skipIf(!one.runs)('is looked for, and tried, before anybody waits for the data', async () => {
    const check = (text: string, files: Case['files'] | Record<string, never>): Promise<void> => checkLayout({ study: study(text), modality: 'blood', selection: {}, files: memoryFiles({ ...DATA, ...files }), primitives });
    await check(spec(one), one.files);
    await expect(check(spec(one), {})).rejects.toThrow(`no ${one.file}`);
    await expect(check(spec(one, 'outputShape: [2]'), one.files)).rejects.toThrow(/found \[1, 3\]/);
  });
});

/** The same with a transform that lets everything through. */
function unbounded(from: Study): Study {
  const blood = from.modalities['blood'];
  return { ...from, modalities: { blood: { ...blood!, records: { ...blood!.records, transform: { subtract: 0, divideBy: 1, clip: 3.4e38, missing: 0 } } } } };
}

describe('a graph model', () => {
  const [tfjs] = FORMATS;
  beforeAll(async () => {
    await openBackend('cpu');
  });

  it('leaves no tensor behind, and the backend as it was', async () => {
    await read(study(spec(tfjs!)), tfjs!.files);
    const before = tf.memory().numTensors;
    await read(study(spec(tfjs!, 'outputShape: [3], batch: 3')), tfjs!.files);
    await expect(read(study(spec(tfjs!, 'outputShape: [2]')), tfjs!.files)).rejects.toThrow();
    const cut = { ...tfjs!.files, 'nets/group1-shard3of3.bin': new Uint8Array(4) };
    await expect(read(study(spec({ ...tfjs!, sha256: sha256Of(...Object.values(cut)) })), cut)).rejects.toThrow(/damaged/);
    expect(tf.memory().numTensors).toBe(before);
    expect(tf.getBackend()).toBe('cpu');
  });

  it('gives any of its nodes, such as the layer before the last', async () => {
    const dataset = await read(study(spec(tfjs!, 'outputShape: [7], output: r')), tfjs!.files);
    const { A, a } = network;
    const hidden = (record: readonly number[]): number[] => a.map((bias, j) => Math.max(0, record.reduce((sum, x, i) => sum + x * A[i * 7 + j]!, bias)));
    expectClose(featuresOf(dataset), TRAINED_ON.flatMap((row) => hidden(prepared(row))));
  });

  it('runs in plain JavaScript where WASM lacks an operation, and says so', async () => {
    const files = denseGraph(network, { extra: [{ name: 'e', op: 'Einsum', input: ['features', 'B'], attr: { N: { i: '2' }, equation: { s: Buffer.from('ij,kj->ik').toString('base64') }, T: { type: 'DT_FLOAT' } } }] });
    const { B } = network;
    const product = (record: readonly number[]): number[] => Array.from({ length: 7 }, (_, k) => denseFeatures(network, record).reduce((sum, value, j) => sum + value * B[k * 3 + j]!, 0));
    const dataset = await read(study(spec({ format: 'tfjs-graph', file: 'model.json', sha256: sha256Of(...Object.values(files)) }, 'outputShape: [7]')), files);
    expectClose(featuresOf(dataset), TRAINED_ON.flatMap((row) => product(prepared(row))));
    expect(dataset.frozenRunsOn).toBe('plain JavaScript, slowly: wasm lacks its operation Einsum');
  });

  it('is refused where records of a batch are mixed, and then only as a batch', async () => {
    const files = graphModel(
      [
        placeholder('record', [-1, INPUTS]),
        { name: 'mean', op: 'Mean', input: ['record', 'axis'], attr: { keep_dims: { b: true }, T: { type: 'DT_FLOAT' } } },
        { name: 'centred', op: 'Sub', input: ['record', 'mean'], attr: { T: { type: 'DT_FLOAT' } } },
      ],
      { axis: { dims: [1], data: [0] } },
    );
    const mixing = (batch: number): Study => study(spec({ format: 'tfjs-graph', file: 'model.json', sha256: sha256Of(...Object.values(files)) }, `outputShape: [5], batch: ${batch}`));
    await expect(read(mixing(3), files)).rejects.toThrow(/gives one record other features beside other records \(as number 1 of 3\); .* give records\.frozen\.batch: 1/);
    expect(featuresOf(await read(mixing(1), files)).every((value) => value === 0)).toBe(true);
  });

  it.each([['+', 1], ['-', -1]])('whose features are %sInfinity for a record is refused, and says which record', async (_, one) => {
    const files = graphModel([placeholder('record', [-1, INPUTS]), { name: 'inverse', op: 'RealDiv', input: ['one', 'record'], attr: { T: { type: 'DT_FLOAT' } } }], { one: { dims: [1], data: [one] } });
    const from = study(spec({ format: 'tfjs-graph', file: 'model.json', sha256: sha256Of(...Object.values(files)) }, 'outputShape: [5], batch: 4'));
    const values = raw.slice();
    values[9 * INPUTS + 2] = 10;
    expect(featuresOf(await read(from, files)).every(Number.isFinite)).toBe(true);
    await expect(read(from, { ...files, 'values.npy': formatNpy({ shape: [RECORDS, INPUTS], data: values }) })).rejects.toThrow(/features that are no finite numbers for the record of index\.csv:11; check that record/);
  });

  it('is refused where there is chance in it', async () => {
    const files = graphModel(
      [placeholder('record', [-1, INPUTS]), { name: 'noise', op: 'RandomUniform', input: ['shape'], attr: { dtype: { type: 'DT_FLOAT' }, seed: { i: '0' }, seed2: { i: '0' } } }, { name: 'sum', op: 'AddV2', input: ['record', 'noise'], attr: { T: { type: 'DT_FLOAT' } } }],
      { shape: { dims: [1], data: [INPUTS] } },
    );
    await expect(read(study(spec({ format: 'tfjs-graph', file: 'model.json', sha256: sha256Of(...Object.values(files)) }, 'outputShape: [5]')), files)).rejects.toThrow(/there is chance in it/);
  });

  it.each([
    ['text that is no JSON', { 'model.json': 'nonsense' }],
    ['JSON of something else', { 'model.json': '{"layers": []}' }],
    ['a manifest without paths', { 'model.json': '{"modelTopology": {}, "weightsManifest": [{}]}' }],
  ])('is not %s', async (_, files) => {
    await expect(read(study(spec({ format: 'tfjs-graph', file: 'model.json', sha256: 'f'.repeat(64) })), files)).rejects.toThrow(/expected the model\.json of a TensorFlow\.js graph model in model\.json/);
  });

  it.each([
    ['a weight file twice', ['a.bin', 'b.bin', 'a.bin'], /every weight file once in the weightsManifest of nets\/model\.json, found "a\.bin" again/],
    ['more weight files than there can be', Array.from({ length: 10_001 }, (_, i) => `${i}.bin`), /at most 10000 weight files in the weightsManifest of nets\/model\.json, found 10001/],
  ])('is refused before any weight is read with %s', async (_, paths, message) => {
    const model = JSON.stringify({ modelTopology: {}, weightsManifest: [{ paths: paths.slice(0, 1) }, { paths: paths.slice(1) }] });
    const asked: string[] = [];
    const files = memoryFiles({ 'nets/model.json': model });
    const watched = { ...files, read: (path: string): Promise<Uint8Array> => files.read((asked.push(path), path)) };
    const { frozen } = study(spec(tfjs!)).modalities['blood']!.records;
    const refused = readNetwork(watched, frozen!, primitives.sha256);
    await expect(refused).rejects.toMatchObject({ code: 'data-invalid' });
    await expect(refused).rejects.toThrow(message);
    expect(asked).toEqual(['nets/model.json']);
  });

  it('is refused as soon as more than 4 GiB of it are read', async () => {
    const paths = Array.from({ length: 9 }, (_, i) => `${i}.bin`);
    const files = memoryFiles({ 'nets/model.json': JSON.stringify({ modelTopology: {}, weightsManifest: [{ paths }] }) });
    // One piece of memory, never written, stands for all.
    const gib = new Uint8Array(2 ** 30);
    const asked: string[] = [];
    const large = { ...files, read: (path: string): Promise<Uint8Array> => (path.endsWith('.bin') ? Promise.resolve((asked.push(path), gib)) : files.read(path)) };
    const { frozen } = study(spec(tfjs!)).modalities['blood']!.records;
    await expect(readNetwork(large, frozen!, primitives.sha256)).rejects.toThrow(/expected a network of at most 4 GiB, found more in nets\/model\.json and its weight files up to nets\/3\.bin/);
    expect(asked).toHaveLength(4);
  });
});

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

it('stands before canaries, too, whose records an audit makes', async () => {
  const [tfjs] = FORMATS;
  const from = study(spec(tfjs!)).modalities['blood']!;
  const bounded = { ...study(spec(tfjs!)), modalities: { blood: { ...from, records: { ...from.records, transform: { subtract: 10, divideBy: 4, clip: 2 } } } } };
  const files = memoryFiles({ ...DATA, ...tfjs!.files });
  const site = bounded.sites[0]!;
  const like = await buildDataset({ study: bounded, modality: 'blood', selection: site, files, primitives });
  const canaries = await makeCanaries({ study: bounded, site, count: 40, like, files, primitives: nodePrimitives, random: createKeyStream() });
  const corners = Array.from({ length: 2 ** INPUTS }, (_, corner) => denseFeatures(network, Array.from({ length: INPUTS }, (_unused, i) => ((corner >> i) & 1) === 1 ? 2 : -2)));
  const features = featuresOf(canaries);
  for (let i = 0; i < 40; i += 1) {
    const apart = corners.map((corner) => Math.max(...corner.map((value, j) => Math.abs(value - features[3 * i + j]!))));
    expect(Math.min(...apart)).toBeLessThan(1e-5);
  }
  await expect(makeCanaries({ study: study(spec(tfjs!)), site, count: 3, like, files, primitives: nodePrimitives, random: createKeyStream() })).rejects.toThrow(/behind a front-end or a frozen network need a bound/);
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

it('the studies\' own page shows a frozen network that a study may have', () => {
  const page = readFileSync(new URL('../../deploy/studies/README.md', import.meta.url), 'utf8');
  const shown = /```yaml\n(modalities:\n {2}scan:[^]*?)```/.exec(page)?.[1]?.replace('0f3a...', 'f'.repeat(64)) ?? '';
  const rest = 'sites: [{ name: one, modality: scan, patients: 9 }]\nschedule: { rounds: 2, localSteps: 1 }\noptimiser: { local: { learningRate: 0.1 } }\nprivacy: { protection: none, samplingRate: 0.5 }\n';
  const { scan } = parseStudy(`antiphon: 1\nname: shown\nclasses: [well, ill]\n${shown}${rest}`, 'README.md').modalities;
  expect(scan === undefined ? [] : encoderShape(scan)).toEqual([512]);
});

describe('a study with a frozen network', () => {
  const good = spec(FORMATS[0]!);
  it.each([
    ['an unknown key', () => study(good.replace('outputShape', 'outputShap')), /unknown key "outputShap"; did you mean "outputShape"\?/],
    ['no output shape', () => study(good.replace(', outputShape: [3]', '')), /frozen\.yaml:\d+ modalities\.blood\.records\.frozen\.outputShape|outputShape: expected a list, found nothing/],
    ['a sum that is none', () => study(good.replace(/sha256: \w+/, 'sha256: 12ab')), /records\.frozen\.sha256: expected a SHA-256: 64 of the digits 0-9 and a-f/],
    ['another format', () => study(good.replace('tfjs-graph', 'pickle')), /records\.frozen\.format: expected one of "tfjs-graph", "onnx", found the text "pickle"/],
    ['a path out of the data folder', () => study(good.replace('nets/', '../')), /records\.frozen\.file: expected a path inside the data folder/],
    ['a front-end beside it', () => study(good, { more: 'frontEnd: { type: dct, rows: 1, columns: 1 }', shape: '[5, 1]' }), /modalities\.blood\.records: expected one of "frontEnd" and "frozen", found both/],
    ['an encoder that its output does not fit', () => study(good, { encoder: '{ type: cnn }' }), /encoder: a cnn needs \[height, width, channels\], the frozen network gives \[3\]/],
    ['an encoder of tokens', () => study(good, { encoder: '{ type: embedding }' }), /records\.frozen: an embedding encoder needs token numbers, of which a frozen network makes something else/],
  ])('is refused with %s', (_, parse, message) => {
    expect(parse).toThrow(message);
  });
});
