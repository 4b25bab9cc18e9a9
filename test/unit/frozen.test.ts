import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeCanaries } from '../../deploy/audit/canaries.ts';
import { buildDataset, checkLayout } from '../../shared/data/dataset.ts';
import { buildEvaluationSet } from '../../shared/data/evaluation-set.ts';
import { readNetwork } from '../../shared/data/frozen-files.ts';
import { formatNpy } from '../../shared/data/npy.ts';
import { tf } from '../../shared/model/tf.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { encoderShape } from '../../shared/study/encoder-input.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { featuresOf } from '../support/features.ts';
import { memoryFiles } from '../support/memory-files.ts';
import { denseFeatures, denseGraph, graphModel, placeholder, sha256Of } from '../support/small-network.ts';
import { DATA, expectClose, FORMATS, INPUTS, network, prepared, primitives, raw, read, RECORDS, spec, study, TRAINED_ON, type Case } from '../support/frozen-scene.ts';

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
