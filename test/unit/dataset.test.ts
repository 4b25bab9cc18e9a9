import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { buildDataset, checkLayout, type DatasetRequest } from '../../shared/data/dataset.ts';
import { buildEvaluationSet, checkSeparation, sitesProvablyDisjoint } from '../../shared/data/evaluation-set.ts';
import { formatNpy } from '../../shared/data/npy.ts';
import { shareOf } from '../../shared/data/selection.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { featuresOf } from '../support/features.ts';
import { memoryFiles } from '../support/memory-files.ts';

const primitives = { sha256: (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest() };

const STUDY = `
antiphon: 1
name: tiny
classes: [well, ill]
modalities:
  picture:
    shape: [2, 2, 1]
    encoder: { type: mlp }
    records:
      index: pictures.csv
      values: pictures.npy
      row: at
      patient: patient
      label: outcome
      transform: { subtract: 10, divideBy: 4, clip: 2 }
  blood:
    shape: [2]
    encoder: { type: mlp }
    records:
      index: blood.csv
      values: blood.csv
      columns: [iron, salt]
      patient: patient
      label: outcome
      where: { valid: 1 }
      transform: { subtract: [100, 5], divideBy: [50, 2], missing: -0.5 }
sites:
  - { name: one, modality: picture, patients: 9, where: { split: train } }
  - { name: two, modality: blood, patients: 9, where: { split: train } }
schedule: { rounds: 2, localSteps: 1 }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: none, samplingRate: 0.5 }
evaluation: { public: true, sample: patient, selection: { where: { split: selection } }, test: { where: { split: test } } }
`;
const PICTURES = 'patient,split,outcome,at\nanna,train,ill,2\nbert,train,0,0\nanna,train,1,1\ncara,test,well,3\ndora,selection,1,4\n';
const BLOOD = 'patient,split,outcome,valid,iron,salt\nanna,train,1,1,150,\nbert,train,0,0,1,1\nemil,train,0,1,,\nfritz,test,0,1,90,7\ncara,test,0,1,,5\ndora,selection,1,1,100,5\n';
const PIXELS = Uint8Array.from([10, 14, 6, 0, 1, 1, 1, 1, 255, 10, 10, 10, 2, 2, 2, 2, 10, 10, 10, 10]);
const VALUES = formatNpy({ shape: [5, 2, 2], data: PIXELS });
const FILES: Record<string, string | Uint8Array> = { 'pictures.csv': PICTURES, 'pictures.npy': VALUES, 'blood.csv': BLOOD };

const study = (change: (text: string) => string = (text) => text): Study => parseStudy(change(STUDY), 'tiny.yaml');
const dataset = (modality: string, changes: Record<string, string | Uint8Array> = {}, request: Partial<DatasetRequest> = {}) =>
  buildDataset({ study: study(), modality, selection: { where: { split: 'train' } }, files: memoryFiles({ ...FILES, ...changes }), primitives, ...request });

describe('a dataset', () => {
  it('selects, normalises and groups by patient', async () => {
    const picture = await dataset('picture');
    const { size, labels, patients, lines } = picture;
    expect(size).toBe(4);
    expect([...featuresOf(picture)]).toEqual([2, 0, 0, 0, /* bert */ 0, 1, -1, -2, /* anna again */ -2, -2, -2, -2]);
    expect([...labels]).toEqual([1, 0, 1]);
    expect(patients.ids).toEqual(['anna', 'bert']);
    expect(patients.records.map((records) => [...records])).toEqual([[0, 2], [1]]);
    expect([...lines]).toEqual([2, 3, 4]);
  });

  it('applies the modality\'s and the selection\'s conditions, fills gaps, and leaves out who was not measured at all', async () => {
    const blood = await dataset('blood');
    expect(blood.patients.ids).toEqual(['anna']);
    expect([...featuresOf(blood)]).toEqual([1, -0.5]);
  });

  it('goes through the front-end record by record, the same for a site as for the evaluation', async () => {
    const through = study((text) => text.replace('      transform: { subtract: 10, divideBy: 4, clip: 2 }\n', '      transform: { subtract: 10, divideBy: 4, clip: 2 }\n      frontEnd: { type: dct, rows: 2, columns: 1, multiply: 3 }\n'));
    const site = await dataset('picture', {}, { study: through });
    expect(site.size).toBe(2);
    // bert is [[0, 1], [-1, -2]] after the transform: sums 1 and -3, over sqrt 4.
    expect([...featuresOf(site)]).toEqual([expect.closeTo(3 * 1, 5), expect.closeTo(3 * 1, 5), expect.closeTo(3 * -1, 5), expect.closeTo(3 * 2, 5), expect.closeTo(3 * -4, 5), expect.closeTo(0, 5)]);
    const test = await buildEvaluationSet({ study: through, part: 'test', files: memoryFiles(FILES), primitives });
    const alone = await dataset('picture', {}, { study: through, selection: { where: { split: 'test' } } });
    expect([...(test.modalities['picture']?.features ?? [])]).toEqual([...featuresOf(alone), 0, 0]);
  });

  it('takes lists of values and shares', async () => {
    const both = await dataset('picture', {}, { selection: { where: { split: ['train', 'test'] } } });
    expect(both.patients.ids).toEqual(['anna', 'bert', 'cara']);
    const position = shareOf(primitives.sha256, 'bert');
    const lower = await dataset('picture', {}, { selection: { share: { from: 0, to: position } } });
    const upper = await dataset('picture', {}, { selection: { share: { from: position, to: 1 } } });
    expect(lower.patients.ids).not.toContain('bert');
    expect(upper.patients.ids).toContain('bert');
    expect([...lower.patients.ids, ...upper.patients.ids].sort()).toEqual(['anna', 'bert', 'cara', 'dora']);
  });

  const secret = '66.6';
  const bad: [string, string, Record<string, string | Uint8Array>, RegExp][] = [
    ['an unknown column', 'picture', { 'pictures.csv': PICTURES.replace('outcome', 'outcom') }, /expected the column "outcome" \(records\.label\).*did you mean "outcom"/],
    ['a label out of range', 'picture', { 'pictures.csv': PICTURES.replace('bert,train,0', `bert,train,${secret}`) }, /expected a class in pictures\.csv:3.*from 0 to 1/],
    ['a row beyond the values', 'picture', { 'pictures.csv': PICTURES.replace('ill,2', 'ill,5') }, /pictures\.csv:2 points beyond the last row of pictures\.npy, which has 5/],
    ['a class that is no whole number', 'picture', { 'pictures.csv': PICTURES.replace('bert,train,0', 'bert,train,1.5') }, /expected a class in pictures\.csv:3/],
    ['a row that is no number', 'picture', { 'pictures.csv': PICTURES.replace('ill,2', `ill,${secret}`) }, /expected a row number of pictures\.npy in pictures\.csv:2/],
    ['a nameless patient', 'picture', { 'pictures.csv': PICTURES.replace('bert', '') }, /expected a value in column "patient" \(records\.patient\) of pictures\.csv:3/],
    ['another shape', 'picture', { 'pictures.npy': formatNpy({ shape: [5, 4, 4], data: new Uint8Array(80) }) }, /expected \[rows, 2, 2, 1\] in pictures\.npy.*found \[5, 4, 4\]/],
    ['text among the numbers', 'blood', { 'blood.csv': BLOOD.replace('150', `${secret}mg`) }, /expected a number or an empty cell in blood\.csv:2, column "iron"/],
    ['an infinite number', 'blood', { 'blood.csv': BLOOD.replace('150', 'Infinity') }, /finite number in blood\.csv:2, column "iron"/],
  ];
  it.each(bad)('refuses %s, names the place and never the value', async (_, modality, changes, message) => {
    await expect(dataset(modality, changes)).rejects.toThrow(message);
    await expect(dataset(modality, changes)).rejects.not.toThrow(secret);
    await expect(dataset(modality, changes)).rejects.toMatchObject({ code: 'data-invalid' });
  });

  it('refuses NaN where the study gives no value for it', async () => {
    const values = formatNpy({ shape: [5, 2, 2], data: Float32Array.from({ length: 20 }, (_, i) => (i === 9 ? Number.NaN : 66.6)) });
    await expect(dataset('picture', { 'pictures.npy': values })).rejects.toThrow(/expected a number in pictures\.npy, row 2, feature 1, found none.*transform\.missing/);
  });

  it('refuses an empty selection and says what was looked for', async () => {
    await expect(dataset('blood', {}, { selection: { where: { split: 'nowhere' }, share: { from: 0.25, to: 0.5 } } })).rejects.toThrow(
      /no line passes valid = 1, split = nowhere, share 0\.25 to 0\.5/,
    );
  });

  it('takes a constant for every channel', async () => {
    const channels = study((text) => text.replace('shape: [2, 2, 1]', 'shape: [2, 1, 2]').replace('subtract: 10, divideBy: 4, clip: 2', 'subtract: [10, 8], divideBy: [4, 2], clip: 9'));
    const picture = await buildDataset({ study: channels, modality: 'picture', selection: { where: { split: 'train' } }, files: memoryFiles({ ...FILES, 'pictures.npy': formatNpy({ shape: [5, 2, 1, 2], data: PIXELS }) }), primitives });
    // Row 2 of the array: 255, 10 and 10, 10; the first is cut at 9.
    expect([...featuresOf(picture).slice(0, 4)]).toEqual([9, 1, 0, 1]);
  });

  it('refuses constants that do not fit the features', async () => {
    const files = memoryFiles(FILES);
    const wrong = study((text) => text.replace('[100, 5]', '[100, 5, 6]'));
    await expect(buildDataset({ study: wrong, modality: 'blood', selection: {}, files, primitives })).rejects.toThrow(/one number or 2 \(one per feature\) in transform\.subtract of modality "blood", found 3/);
    const zero = study((text) => text.replace('[50, 2]', '[50, 0]'));
    await expect(buildDataset({ study: zero, modality: 'blood', selection: {}, files, primitives })).rejects.toThrow(/divideBy of modality "blood" holds a 0/);
  });
});

describe('an evaluation set', () => {
  const evaluate = (part: 'selection' | 'test', changes: Record<string, string> = {}) => buildEvaluationSet({ study: study(), part, files: memoryFiles({ ...FILES, ...changes }), primitives });

  it('joins the modalities of a sample and marks what is missing', async () => {
    const { samples, labels, modalities } = await evaluate('test');
    expect(samples).toEqual(['cara', 'fritz']);
    expect([...labels]).toEqual([0, 0]);
    expect([...(modalities['picture']?.present ?? [])]).toEqual([1, 0]);
    expect([...(modalities['picture']?.features ?? [])]).toEqual([-2, -2, -2, -2, 0, 0, 0, 0]);
    expect([...(modalities['blood']?.present ?? [])]).toEqual([1, 1]);
    expect([...(modalities['blood']?.features ?? [])].map((x) => Math.round(x * 100) / 100)).toEqual([-0.5, 0, -0.2, 1]);
  });

  it('refuses a sample with two classes or two records of one modality', async () => {
    await expect(evaluate('test', { 'blood.csv': BLOOD.replace('cara,test,0', 'cara,test,1') })).rejects.toThrow(/blood\.csv:6 \(modality "blood"\) gives a sample another class/);
    await expect(evaluate('selection', { 'blood.csv': `${BLOOD}dora,selection,1,1,100,5\n` })).rejects.toThrow(/blood\.csv:8 gives a sample of modality "blood" a second time/);
  });
});

describe('separation, from the study file alone', () => {
  const SITES = '  - { name: one, modality: picture, patients: 9, where: { split: train } }\n';
  const withSites = (lines: string, disjoint = true): Study =>
    study((text) => text.replace(SITES, `${lines}\n`).replace('    shape: [2, 2, 1]\n', `    shape: [2, 2, 1]\n    sitesDisjoint: ${disjoint}\n`));

  it('accepts different values of one column and shares that do not overlap', () => {
    expect(() => {
      checkSeparation(study());
    }).not.toThrow();
    const shares = withSites('  - { name: one, modality: picture, patients: 9, where: { split: train }, share: { from: 0, to: 0.5 } }\n  - { name: three, modality: picture, patients: 9, where: { split: train }, share: { from: 0.5, to: 1 } }');
    expect(() => {
      checkSeparation(shares);
    }).not.toThrow();
    const columns = withSites('  - { name: one, modality: picture, patients: 9, where: { split: train, town: [a, b] } }\n  - { name: three, modality: picture, patients: 9, where: { split: train, town: c } }');
    expect(sitesProvablyDisjoint(columns, 'picture')).toBe(true);
    expect(sitesProvablyDisjoint(columns, 'blood')).toBe(true);
  });

  it('refuses a site that trains on evaluation patients', () => {
    const inside = study((text) => text.replace('selection: { where: { split: selection } }', 'selection: { where: { split: train }, share: { from: 0.9, to: 1 } }'));
    expect(() => {
      checkSeparation(inside);
    }).toThrow(/site "one" trains on patients of evaluation\.selection/);
    const outside = study((text) =>
      text.replace('selection: { where: { split: selection } }', 'selection: { where: { split: train }, share: { from: 0.9, to: 1 } }').replaceAll('where: { split: train } }\n', 'where: { split: train }, share: { from: 0, to: 0.9 } }\n'),
    );
    expect(() => {
      checkSeparation(outside);
    }).not.toThrow();
  });

  it('refuses a selection part that shares patients with the test part', () => {
    const same = study((text) => text.replace('selection: { where: { split: selection } }', 'selection: { where: { split: [test, other] } }'));
    expect(() => {
      checkSeparation(same);
    }).toThrow(/evaluation\.selection and evaluation\.test select the same patients/);
  });

  it('refuses a claim of disjoint sites that the selectors do not show', () => {
    const overlapping = '  - { name: one, modality: picture, patients: 9, where: { split: train }, share: { from: 0, to: 0.6 } }\n  - { name: three, modality: picture, patients: 9, where: { split: train }, share: { from: 0.5, to: 1 } }';
    expect(() => {
      checkSeparation(withSites(overlapping));
    }).toThrow(/modality "picture" claims sitesDisjoint/);
    expect(() => {
      checkSeparation(withSites(overlapping, false));
    }).not.toThrow();
  });
});

describe('the layout of a data folder', () => {
  const study = parseStudy(STUDY, 'test');
  const pictures = 'patient,outcome,at\np1,well,x\n';
  const npy = formatNpy({ shape: [3, 2, 2, 1], data: new Float32Array(12) });
  const check = (modality: string, content: Readonly<Record<string, string | Uint8Array>>) => checkLayout({ study, modality, selection: {}, files: memoryFiles(content), primitives });

  it('is judged by headers alone: no line is looked at, no array is read to its end', async () => {
    await expect(check('picture', { 'pictures.csv': pictures, 'pictures.npy': npy.subarray(0, 128) })).resolves.toBeUndefined();
    await expect(check('blood', { 'blood.csv': '"patient",outcome,valid,iron,salt,"a\nb"\np1,nothing,"' })).resolves.toBeUndefined();
  });

  it.each([
    ['an index that is not there', 'picture', { 'pictures.npy': npy }, /no pictures\.csv/],
    ['an array that is not there', 'picture', { 'pictures.csv': pictures }, /no pictures\.npy/],
    ['an array of another shape', 'picture', { 'pictures.csv': pictures, 'pictures.npy': formatNpy({ shape: [3, 3, 1], data: new Float32Array(9) }) }, /expected \[rows, 2, 2, 1\] in pictures\.npy.*found \[3, 3, 1\]/],
    ['no column of row numbers', 'picture', { 'pictures.csv': 'patient,outcome,att\n', 'pictures.npy': npy }, /expected the column "at" \(records\.row\).*did you mean "att"/],
    ['no column of a filter', 'blood', { 'blood.csv': 'patient,outcome,iron,salt\n' }, /expected the column "valid" \(where\)/],
    ['no column of values', 'blood', { 'blood.csv': 'patient,outcome,valid,iron,sal\n' }, /expected the column "salt" \(records\.columns\).*did you mean "sal"/],
    ['nothing in the index', 'blood', { 'blood.csv': '' }, /found an empty file/],
  ] as const)('with %s is named', async (_title, modality, content, message) => {
    await expect(check(modality, content)).rejects.toThrow(message);
    await expect(check(modality, content)).rejects.toMatchObject({ code: 'data-invalid' });
  });
});
