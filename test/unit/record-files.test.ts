import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import wavefile from 'wavefile';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { buildDataset, type Dataset, type DatasetRequest, type UnreadableRecord } from '../../shared/data/dataset.ts';
import { buildEvaluationSet } from '../../shared/data/evaluation-set.ts';
import { closeFeatures, copyRecord } from '../../shared/data/features.ts';
import { inOrder } from '../../shared/data/in-order.ts';
import { createLogMel } from '../../shared/data/mel.ts';
import { resample } from '../../shared/data/resample.ts';
import { hashedTextReader } from '../../shared/data/text.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { lazily } from '../../shared/platform/decoders/library.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { writeDicom } from '../support/dicom-writer.ts';
import { featuresOf } from '../support/features.ts';
import { memoryFiles } from '../support/memory-files.ts';
import { temporaryFolder } from '../support/processes.ts';

const primitives = { sha256: (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest() };

const FORMATS = {
  image: ['[2, 3, 1]', 'files: { format: image, column: file, folder: media, fit: fill }'],
  sound: ['[5, 4]', 'files: { format: sound, column: file, folder: media, rate: 8000, window: 64, hop: 32, lowest: 200, floor: 1.0e-6 }'],
  dicom: ['[2, 2, 1]', 'files: { format: dicom, column: file, folder: media, fit: fill, window: { centre: 50.5, width: 101 } }'],
  text: ['[16]', 'files: { format: text, column: file, folder: media, ngrams: 2, unitLength: true }'],
  words: ['[16]', 'text: { column: said, counts: count }'],
} as const;
type Format = keyof typeof FORMATS;

const study = (format: Format, change: (text: string) => string = (text) => text) =>
  parseStudy(
    change(`
antiphon: 1
name: media
classes: [well, ill]
modalities:
  one:
    shape: ${FORMATS[format][0]}
    encoder: { type: mlp }
    records:
      index: index.csv
      ${FORMATS[format][1]}
      patient: patient
      label: outcome
sites:
  - { name: here, modality: one, patients: 9, where: { split: train } }
schedule: { rounds: 2, localSteps: 1 }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: none, samplingRate: 0.5 }
evaluation: { public: true, sample: patient, selection: { where: { split: selection } }, test: { where: { split: test } } }
`),
    'media.yaml',
  );

const INDEX = `patient,split,outcome,file,said
anna,train,ill,a1,"No fever, no pain"
bert,train,0,b1,болит голова
anna,train,1,a2,no fever
emil,train,0,,
cara,test,well,c1,fever
dora,selection,1,a1,pain
`;

const wave = (samples: readonly number[] | readonly number[][], rate: number, bits = '16'): Uint8Array => {
  const file = new wavefile.WaveFile();
  file.fromScratch(Array.isArray(samples[0]) ? samples.length : 1, rate, bits, samples as number[]);
  return file.toBuffer();
};
const tone = Array.from({ length: 160 }, (_, n) => Math.round(9000 * Math.sin(n)));
const grey = (...bytes: number[]): Promise<Uint8Array> => sharp(Uint8Array.from(bytes), { raw: { width: 3, height: bytes.length / 3, channels: 1 } }).toColourspace('b-w').png().toBuffer();
const dicom = (...values: number[]): Uint8Array => writeDicom({ rows: 2, columns: 2, pixels: new Uint8Array(Uint16Array.from(values).buffer), name: 'Secret^Name' });

const MEDIA: Record<Format, () => Promise<Record<string, string | Uint8Array>>> = {
  image: async () => ({ a1: await grey(0, 51, 102, 153, 204, 255), b1: await grey(255, 255, 255, 0, 0, 0), a2: await grey(51, 51, 51, 51, 51, 51), c1: await grey(0, 0, 0, 0, 0, 51) }),
  sound: () => Promise.resolve({ a1: wave(tone, 8000), b1: wave([tone, tone.map((x) => -x)], 8000), a2: wave(tone, 16_000, '24'), c1: wave(tone.slice(0, 20), 8000) }),
  dicom: () => Promise.resolve({ a1: dicom(0, 25, 50, 200), b1: dicom(100, 100, 100, 100), a2: dicom(0, 0, 0, 0), c1: dicom(25, 25, 25, 25) }),
  text: () => Promise.resolve({ a1: '\uFEFFNo fever, no pain\r\n', b1: 'болит голова', a2: '…', c1: 'fever' }),
  words: () => Promise.resolve({}),
};

async function content(format: Format, changes: Record<string, string | Uint8Array | undefined> = {}): Promise<Record<string, string | Uint8Array>> {
  const media = Object.entries(await MEDIA[format]()).map(([name, bytes]): [string, string | Uint8Array] => [`media/${name}`, bytes]);
  const all = new Map<string, string | Uint8Array>([['index.csv', INDEX], ...media]);
  for (const [path, bytes] of Object.entries(changes)) {
    if (bytes === undefined) all.delete(path);
    else all.set(path, bytes);
  }
  return Object.fromEntries(all);
}

async function dataset(format: Format, changes: Record<string, string | Uint8Array | undefined> = {}, request: Partial<DatasetRequest> = {}): Promise<Dataset> {
  return buildDataset({ study: study(format), modality: 'one', selection: { where: { split: 'train' } }, files: memoryFiles(await content(format, changes)), primitives, ...request });
}
const rows = (data: Dataset): number[][] => Array.from(data.labels, (_, i) => Array.from(featuresOf(data).subarray(i * data.size, (i + 1) * data.size), (x) => Math.round(1e4 * x) / 1e4));

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('records from a file each', () => {
  it('are pictures', async () => {
    const found = await dataset('image');
    expect(rows(found)).toEqual([[0, 0.2, 0.4, 0.6, 0.8, 1], [1, 1, 1, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2, 0.2]]);
    expect([...found.labels]).toEqual([1, 0, 1]);
    expect([...found.lines]).toEqual([2, 3, 4]);
    expect(found.patients.ids).toEqual(['anna', 'bert']);
  });

  it('are log-mel spectrograms of sound, mixed to mono and brought to the study\'s rate', async () => {
    const size = { rate: 8000, window: 64, hop: 32, bands: 5, frames: 4, lowest: 200, highest: 4000, floor: 1e-6 };
    const [first, opposite, resampled] = rows(await dataset('sound'));
    const expected = (samples: Float64Array): number[] => Array.from(createLogMel(size)(samples), (x) => Math.round(1e4 * x) / 1e4);
    expect(first).toEqual(expected(Float64Array.from(tone, (x) => x / 2 ** 15)));
    expect(new Set(opposite)).toEqual(new Set([Math.round(1e4 * Math.log(1e-6)) / 1e4]));
    expect(resampled).toEqual(expected(resample(Float64Array.from(tone, (x) => x / 2 ** 23), { from: 16_000, to: 8000, length: 160 })));
  });

  it('are DICOM pictures through the study\'s window', async () => {
    expect(rows(await dataset('dicom'))).toEqual([[0, 0.25, 0.5, 1], [1, 1, 1, 1], [0, 0, 0, 0]]);
  });

  it('are hashed texts, in files or in the index, where an empty cell is a missing record and a text without words is not', async () => {
    const read = hashedTextReader({ unit: 'word', ngrams: 2, counts: 'log', unitLength: true }, 16);
    const rounded = (values: Float32Array): number[] => Array.from(values, (x) => Math.round(1e4 * x) / 1e4);
    expect(rows(await dataset('text'))).toEqual([rounded(read('no fever no pain')), rounded(read('болит голова')), new Array<number>(16).fill(0)]);
    const plain = hashedTextReader({ unit: 'word', ngrams: 1, counts: 'count', unitLength: false }, 16);
    expect(rows(await dataset('words'))).toEqual(['no fever no pain', 'болит голова', 'no fever'].map((text) => rounded(plain(text))));
  });

  it('go through transform and front-end like any other, the same for a site as for the evaluation', async () => {
    const through = study('image', (text) => text.replace('patient: patient', 'transform: { subtract: 0.5, divideBy: 0.25 }\n      frontEnd: { type: dct, rows: 1, columns: 2 }\n      patient: patient'));
    const found = await dataset('image', {}, { study: through });
    expect(found.size).toBe(2);
    expect(rows(found)[2]).toEqual([expect.closeTo(-1.2 * Math.sqrt(6), 3), expect.closeTo(0, 4)]);
    const test = await buildEvaluationSet({ study: through, part: 'test', files: memoryFiles(await content('image')), primitives });
    expect([...(test.modalities['one']?.features ?? [])]).toEqual([...featuresOf(await dataset('image', {}, { study: through, selection: { where: { split: 'test' } } }))]);
  });
});

describe('files that cannot be read', () => {
  const bad: [string, Format, string | Uint8Array | undefined, RegExp][] = [
    ['is not there', 'image', undefined, /index\.csv:3 \(there is no such file\)/],
    ['is empty', 'sound', new Uint8Array(), /index\.csv:3 \(it is empty\)/],
    ['is no picture', 'image', 'secret', /index\.csv:3 \(expected a PNG, JPEG, WebP/],
    ['is no sound', 'sound', 'secret', /index\.csv:3 \(expected a WAV file/],
    ['holds no samples', 'sound', wave([], 8000), /index\.csv:3 \(it holds no samples\)/],
    ['holds samples that are no numbers', 'sound', wave([0.5, Number.NaN], 8000, '32f'), /no finite numbers/],
    ['is no DICOM', 'dicom', 'secret', /index\.csv:3 \(expected a DICOM file/],
    ['is in colour where the shape is grey', 'dicom', writeDicom({ rows: 1, columns: 1, photometric: 'RGB', samplesPerPixel: 3, bitsAllocated: 8, pixels: Uint8Array.of(1, 2, 3) }), /expected monochrome pixels, as the shape says, found RGB/],
    ['is no UTF-8', 'text', Uint8Array.of(0x73, 0xe9, 0x63), /index\.csv:3 \(it is not UTF-8 text/],
  ];
  it.each(bad)('one that %s stops the site, which names its line and nothing of it (%s)', async (_, format, file, message) => {
    const broken = dataset(format, { 'media/b1': file });
    await expect(broken).rejects.toThrow(message);
    await expect(broken).rejects.toMatchObject({ code: 'data-invalid', message: expect.stringMatching(/^1 of 3 files cannot be read, the study allows 0 \(corruptAtMost\): /) as string });
    await expect(broken).rejects.not.toThrow(/secret|b1|media/i);
  });

  it('are left out up to the number that the study allows, and listed either way', async () => {
    const lists: (readonly UnreadableRecord[])[] = [];
    const listUnreadable = (records: readonly UnreadableRecord[]): Promise<string> => Promise.resolve(`list ${lists.push(records)}`);
    const allowed = study('text', (text) => text.replace('folder: media', 'folder: media, corruptAtMost: 1'));
    const one = { 'media/b1': Uint8Array.of(0xff) };
    const found = await dataset('text', one, { study: allowed, listUnreadable });
    expect(found.patients).toEqual({ ids: ['anna'], records: [Int32Array.of(0, 1)] });
    expect(rows(found)).toHaveLength(2);
    await expect(dataset('text', { ...one, 'media/a1': undefined }, { study: allowed, listUnreadable })).rejects.toThrow(/^2 of 3 files cannot be read, the study allows 1 \(corruptAtMost\): index\.csv:2 .*, index\.csv:3 .*; all are listed in list 2; repair them/);
    expect(lists.map((list) => list.map(({ line, path }) => `${line} ${path}`))).toEqual([['3 b1'], ['2 a1', '3 b1']]);
  });

  it('a site of which nothing is left says so', async () => {
    const allowed = study('text', (text) => text.replace('folder: media', 'folder: media, corruptAtMost: 9'));
    await expect(dataset('text', { 'media/b1': undefined, 'media/a1': undefined, 'media/a2': undefined }, { study: allowed })).rejects.toThrow(/expected records of modality "one"/);
  });

  it('outside the data folder are not read, whether by name or by link', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'data', 'media', 'sub'), { recursive: true });
    writeFileSync(join(folder, 'outside'), 'fever');
    symlinkSync(join(folder, 'outside'), join(folder, 'data', 'media', 'link'));
    symlinkSync(join(folder, 'data', 'media', 'inside'), join(folder, 'data', 'media', 'sub', 'link'));
    writeFileSync(join(folder, 'data', 'media', 'inside'), 'fever');
    const files = openDataFolder(join(folder, 'data'));
    for (const path of ['media/../../outside', '../outside', join(folder, 'outside'), 'media/link']) expect(await files.readRecord(path)).toEqual({ unreadable: 'it lies outside the data folder' });
    for (const path of ['media/none', 'media/\0', 'media/inside/x']) expect(await files.readRecord(path)).toEqual({ unreadable: 'there is no such file' });
    expect(await files.readRecord('media')).toEqual({ unreadable: 'it is not a file' });
    for (const path of ['media/inside', 'media/sub/link', 'media/sub/../inside']) expect(new TextDecoder().decode(await files.readRecord(path) as Uint8Array)).toBe('fever');
    await expect(openDataFolder(join(folder, 'none')).readRecord('x')).rejects.toThrow(/expected the data folder/);
  });

  it('for want of a library say how to install it, and try again the next time', async () => {
    let there = false;
    const load = lazily('sharp', () => (there ? Promise.resolve('loaded') : Promise.reject(new Error('Cannot find package\nsecond line'))));
    await expect(load()).rejects.toThrow(/^the study's records need the library "sharp", which cannot be loaded here \(Cannot find package\); install it beside antiphon: npm install --include=optional sharp$/);
    there = true;
    expect(await load()).toBe('loaded');
  });
});

describe('records that do not fit in memory', () => {
  it('are read from a file without a name, the same as from memory', async () => {
    const folder = temporaryFolder();
    const inMemory = await dataset('image');
    const files = { ...memoryFiles(await content('image')), inMemoryBytes: 4 * 6 * 3 - 1, openRowStore: openDataFolder('.', { cacheFolder: folder }).openRowStore };
    const stored = await dataset('image', {}, { files });
    expect(stored.features).not.toBeInstanceOf(Float32Array);
    expect(featuresOf(stored)).toEqual(inMemory.features);
    const target = new Float32Array(8).fill(7);
    copyRecord(stored, 1, { target, offset: 1 });
    expect([...target]).toEqual([7, 1, 1, 1, 0, 0, 0, 7]);
    if (process.platform === 'linux') expect(readdirSync(folder)).toEqual([]);
    closeFeatures(stored.features);
    expect(() => { copyRecord(stored, 0, { target, offset: 0 }); }).toThrow(/could not read the records cache/);
    closeFeatures(stored.features);
  });

  it('keep their order and their values over many writes, and leave nothing behind in the temporary folder', () => {
    const temporary = temporaryFolder();
    vi.stubEnv('TMPDIR', temporary);
    const size = 300_001;
    const writer = openDataFolder('.').openRowStore(size);
    const row = new Float32Array(size);
    for (let i = 0; i < 11; i += 1) writer.append(row.fill(i + 0.5));
    const store = writer.finish();
    for (const i of [10, 0, 4]) {
      store.copy(i, row, 0);
      expect(new Set(row)).toEqual(new Set([i + 0.5]));
    }
    expect(() => { store.copy(11, row, 0); }).toThrow(/ends before record 11/);
    store.close();
    expect(readdirSync(temporary)).toEqual([]);
  });

  it('go where ANTIPHON_RECORDS_IN_MEMORY_MIB says', async () => {
    vi.stubEnv('ANTIPHON_RECORDS_IN_MEMORY_MIB', '0');
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'media'));
    for (const [path, bytes] of Object.entries(await content('text'))) writeFileSync(join(folder, path), bytes);
    const files = openDataFolder(folder, { cacheFolder: folder });
    const found = await dataset('text', {}, { files });
    expect(found.features).not.toBeInstanceOf(Float32Array);
    expect(rows(found)).toEqual(rows(await dataset('text')));
    closeFeatures(found.features);
    vi.stubEnv('ANTIPHON_RECORDS_IN_MEMORY_MIB', 'lots');
    expect(() => openDataFolder(folder)).toThrow(/expected whole MiB in ANTIPHON_RECORDS_IN_MEMORY_MIB, found "lots"/);
  });

  it('are for their owner alone where the name of an open file stays', () => {
    const folder = temporaryFolder();
    const writer = openDataFolder('.', { cacheFolder: folder }).openRowStore(3);
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o077).toBe(0);
    writer.finish().close();
    expect(readdirSync(folder)).toEqual([]);
  });
});

it('work in order is done in order, never more of it at once than allowed, and ends with the first failure', async () => {
  let [underWay, most] = [0, 0];
  const work = async (item: number): Promise<number> => {
    underWay += 1;
    most = Math.max(most, underWay);
    // The later, the faster.
    for (let turn = 0; turn < 20 - item; turn += 1) await Promise.resolve();
    underWay -= 1;
    if (item === 13 || item === 14) throw new Error(`item ${item}`);
    return 10 * item;
  };
  const done: number[] = [];
  const all = async (last: number): Promise<void> => {
    for await (const { item, result } of inOrder(Array.from({ length: last }, (_, i) => i), 4, work)) done.push(item + result);
  };
  await all(9);
  expect(done).toEqual([0, 11, 22, 33, 44, 55, 66, 77, 88]);
  expect(most).toBe(4);
  await expect(all(20)).rejects.toThrow('item 13');
});

describe('the study file', () => {
  const faults: [string, Format, (text: string) => string, RegExp][] = [
    ['both values and files', 'image', (t) => t.replace('patient: patient', 'values: x.npy\n      patient: patient'), /expected exactly one of "values", "files" and "text", found values and files/],
    ['none of them', 'image', (t) => t.replace(/files: .*/, ''), /expected exactly one of "values", "files" and "text", found none/],
    ['a row of no values', 'image', (t) => t.replace('patient: patient', 'row: at\n      patient: patient'), /only a "values" file has "row"/],
    ['Parquet without columns', 'image', (t) => t.replace(/files: .*/, 'values: x.parquet'), /a \.csv or \.parquet needs "columns"/],
    ['an unknown key of a format', 'image', (t) => t.replace('fit: fill', 'fitt: fill'), /files\.fitt: unknown key "fitt"; did you mean "fit"/],
    ['another format', 'image', (t) => t.replace('format: image', 'format: video'), /records\.files/],
    ['a path outside', 'image', (t) => t.replace('folder: media', 'folder: ../media'), /expected a path inside the data folder/],
    ['four channels', 'image', (t) => t.replace('[2, 3, 1]', '[2, 3, 4]'), /pictures need the shape \[height, width, 1\] or \[height, width, 3\]; the shape is \[2, 3, 4\]/],
    ['monochrome DICOM without a window', 'dicom', (t) => t.replace(', window: { centre: 50.5, width: 101 }', ''), /monochrome DICOM needs a window: \{ centre, width \}/],
    ['colour DICOM with a window', 'dicom', (t) => t.replace('[2, 2, 1]', '[2, 2, 3]'), /only monochrome DICOM, of one channel, has a window/],
    ['sound of two channels', 'sound', (t) => t.replace('[5, 4]', '[5, 4, 2]'), /sound needs the shape \[bands, frames\] or \[bands, frames, 1\]/],
    ['bands above half the rate', 'sound', (t) => t.replace('lowest: 200', 'highest: 4001'), /expected lowest < highest <= rate \/ 2 = 4000 Hz, found 0 and 4001/],
    ['bands too narrow for the window', 'sound', (t) => t.replace('[5, 4]', '[60, 4]'), /band 2 of 60 is narrower than the frequencies of a window of 64 samples lie apart/],
    ['more bands than a window has samples', 'sound', (t) => t.replace('[5, 4]', '[65, 4]'), /expected at most as many bands as a window has samples, 64, found 65/],
    ['text of two axes', 'text', (t) => t.replace('[16]', '[4, 4]'), /hashed text needs the shape \[buckets\]; the shape is \[4, 4\]/],
    ['words of two axes', 'words', (t) => t.replace('[16]', '[4, 4]'), /hashed text needs the shape \[buckets\]/],
  ];
  it.each(faults)('with %s is refused', (_, format, change, message) => {
    expect(() => study(format, change)).toThrow(message);
  });
});
