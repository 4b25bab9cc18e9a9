import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { overrideStudy } from '../../deploy/overrides.ts';
import { canonicalJson } from '../../shared/ledger/canonical.ts';
import { encoderShape } from '../../shared/study/encoder-input.ts';
import { parseStudy, studyFromUnknown } from '../../shared/study/parse.ts';
import { scheduleOrder } from '../../shared/study/schedule.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import type { Study } from '../../shared/study/schema.ts';

const STUDY = `
antiphon: 1
name: arms
classes: ["no", "yes"]
modalities:
  image:
    shape: [10, 12, 1]
    samplingRate: 0.25
    localSteps: 7
    encoder: { type: mlp, hidden: [], activation: tanh }
    records: { index: a.csv, values: a.npy, patient: p, label: l, frontEnd: { type: hog, rows: 2, columns: 3 } }
  sound:
    shape: [8, 20]
    learningRate: 0.7
    encoder: { type: mlp, hidden: [], activation: tanh }
    records: { index: a.csv, values: b.npy, patient: p, label: l, frontEnd: { type: spectrogram, rows: 4, columns: 3, modulation: { rows: 5, columns: 2 } } }
head: { features: 5, initial: { type: orthogonal } }
sites: [{ name: a, modality: image, patients: 9 }, { name: b, modality: sound, patients: 9 }]
schedule: { rounds: 6, localSteps: 3 }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: 0.5, delta: 0.001, epsilon: 4 }
`;
const parse = (change: (text: string) => string = (text) => text): Study => parseStudy(change(STUDY), 'arms.yaml');
const replaced = (from: string, to: string) => (): Study => {
  expect(STUDY).toContain(from);
  return parse((text) => text.replace(from, to));
};

describe('a front-end in the study file', () => {
  it('leaves the shape to the record and gives the encoder its own', () => {
    const { image, sound } = parse().modalities;
    expect(image?.shape).toEqual([10, 12, 1]);
    expect(image === undefined ? [] : encoderShape(image)).toEqual([2, 3, 8]);
    expect(sound === undefined ? [] : encoderShape(sound)).toEqual([4 * 3 + 5 * 2]);
  });

  it.each([
    ['more rows than the record has', replaced('type: hog, rows: 2', 'type: hog, rows: 11'), /arms\.yaml:11 modalities\.image\.records\.frontEnd\.rows: expected at most the 10 rows of a record, found 11/],
    ['more columns', replaced('columns: 3 } }', 'columns: 13 } }'), /frontEnd\.columns: expected at most the 12 columns of a record, found 13/],
    ['frequencies that so many frames do not have', replaced('columns: 2 }', 'columns: 12 }'), /frontEnd\.modulation: expected at most 11 columns, the frequencies of 20 frames, found 12/],
    ['more modulation rows than bands', replaced('{ rows: 5,', '{ rows: 9,'), /frontEnd\.modulation: expected at most 8 rows, one per band of a record, found 9/],
    ['a record that is no plane', replaced('shape: [8, 20]', 'shape: [160]'), /a spectrogram front-end needs records of \[height, width\].*; the record is \[160\]/],
    ['colours', replaced('shape: [10, 12, 1]', 'shape: [10, 12, 3]'), /a hog front-end needs one channel; the record is \[10, 12, 3\]/],
    ['a cnn that gets a flat output', replaced('learningRate: 0.7\n    encoder: { type: mlp, hidden: [],', 'learningRate: 0.7\n    encoder: { type: cnn,'), /modalities\.sound\.encoder: a cnn needs \[height, width, channels\], the spectrogram front-end gives \[22\]/],
    ['a cnn1d that gets a map', replaced('localSteps: 7\n    encoder: { type: mlp, hidden: [],', 'localSteps: 7\n    encoder: { type: cnn1d,'), /modalities\.image\.encoder: a cnn1d needs \[length\] or \[length, channels\], the hog front-end gives \[2, 3, 8\]/],
    ['an unknown key', replaced('hog, rows: 2', 'hog, row: 2'), /unknown key "row"; did you mean "rows"\?/],
    ['an unknown type', replaced('type: hog', 'type: sift'), /modalities\.image\.records\.frontEnd/],
  ])('is refused with %s', (_, make, message) => {
    expect(make).toThrow(message);
    expect(make).toThrow(expect.objectContaining({ code: 'study-invalid' }) as Error);
  });
});

describe('an orthogonal head', () => {
  it.each([
    ['relu', replaced('activation: tanh }\n    records: { index: a.csv, values: b.npy', 'activation: relu }\n    records: { index: a.csv, values: b.npy'), /modalities\.sound\.encoder: .*needs activation: tanh.*found activation: relu/],
    ['layer normalisation', replaced('activation: tanh }\n    records: { index: a.csv, values: a.npy', 'activation: tanh, normalise: layer }\n    records: { index: a.csv, values: a.npy'), /modalities\.image\.encoder: .*found normalise: layer/],
  ])('refuses encoders that cannot leave zero: %s', (_, make, message) => {
    expect(make).toThrow(message);
  });
});

describe('the comparison without privacy', () => {
  const arm = (section: string): Study => parse((text) => `${text}withoutPrivacy: ${section}\n`);
  const resolved = (study: Study) => Object.fromEntries([...resolveStudy(study).modalities].map(([name, { mechanism, learningRate, rounds }]) => [name, { ...mechanism, learningRate, rounds }]));
  const none = { protection: 'none' };

  it('trains as the private study does where the study says nothing', () => {
    expect(resolved(overrideStudy(parse(), { noPrivacy: true }))).toEqual({
      image: { ...none, samplingRate: 0.25, steps: 7, learningRate: 0.1, rounds: 3 },
      sound: { ...none, samplingRate: 0.5, steps: 3, learningRate: 0.7, rounds: 3 },
    });
  });

  it('takes what the study says instead, for all modalities and then for one', () => {
    const study = overrideStudy(arm('{ rounds: 10, localSteps: 20, samplingRate: 0.05, modalities: { sound: { learningRate: 0.02, localSteps: 30 } } }'), { noPrivacy: true });
    expect(resolved(study)).toEqual({
      image: { ...none, samplingRate: 0.05, steps: 20, learningRate: 0.1, rounds: 5 },
      sound: { ...none, samplingRate: 0.05, steps: 30, learningRate: 0.02, rounds: 5 },
    });
    expect(study.withoutPrivacy).toBeUndefined();
    expect(resolved(overrideStudy(arm('{ learningRate: 0.3 }'), { noPrivacy: true }))).toMatchObject({ image: { learningRate: 0.3, steps: 7 }, sound: { learningRate: 0.3 } });
  });

  it('lets the command line have the last word on the rounds', () => {
    expect(overrideStudy(arm('{ rounds: 10 }'), { noPrivacy: true, rounds: 2 }).schedule.rounds).toBe(2);
  });

  it('changes nothing of the private study', () => {
    expect(resolved(overrideStudy(arm('{ rounds: 10, samplingRate: 0.05 }'), { epsilon: 2 }))).toEqual(resolved(overrideStudy(parse(), { epsilon: 2 })));
  });

  it.each([
    ['an unknown modality', '{ modalities: { sounds: { localSteps: 2 } } }', /no modality "sounds"; did you mean "sound"\?/],
    ['an unknown key', '{ step: 2 }', /unknown key "step"/],
    ['a rate above one', '{ samplingRate: 1.5 }', /withoutPrivacy\.samplingRate/],
  ])('is refused with %s', (_, section, message) => {
    expect(() => arm(section)).toThrow(message);
  });

  it('is refused in a study that has no privacy', () => {
    expect(() => parse((text) => `${text.replace(/privacy: .*/, 'privacy: { protection: none, samplingRate: 0.5 }')}withoutPrivacy: { rounds: 3 }\n`)).toThrow(/withoutPrivacy: the study has no privacy to leave out/);
  });
});

it('the keys that the commented study file offers are good as they stand there', () => {
  const text = readFileSync(new URL('../../deploy/studies/synthetic.yaml', import.meta.url), 'utf8');
  const offered = text.replaceAll(/^( *)# ((?:frontEnd|averageLast|accountant): )/gm, '$1$2');
  const study = parseStudy(offered, 'synthetic.yaml');
  expect(study.modalities['image']?.records.frontEnd?.type).toBe('dct');
  expect(study.optimiser.averageLast).toBeGreaterThan(0);
  expect(overrideStudy(study, { noPrivacy: true }).optimiser.local.learningRate).toBe(0.3);
});

it('a study keeps the order of its rounds when it travels as canonical JSON, whose keys are sorted', () => {
  const text = readFileSync(new URL('../../deploy/studies/uci-heart.yaml', import.meta.url), 'utf8');
  const study = parseStudy(text, 'uci-heart.yaml');
  const received = studyFromUnknown(JSON.parse(canonicalJson(study)));
  expect(scheduleOrder(study).slice(0, 4)).toEqual(['history', 'resting', 'exercise', 'imaging']);
  expect(scheduleOrder(received)).toEqual(scheduleOrder(study));
  expect(canonicalJson(received)).toBe(canonicalJson(study));
});

it('the embedded study trains longer without privacy than with it: a newcomer must not learn that noise helps', () => {
  const study = parseStudy(readFileSync(new URL('../../deploy/studies/synthetic.yaml', import.meta.url), 'utf8'), 'synthetic.yaml');
  const stepsOf = (one: Study): number[] => [...resolveStudy(one).modalities.values()].map(({ mechanism, rounds }) => rounds * mechanism.steps);
  expect(stepsOf(study)).toEqual([10, 10, 10]);
  expect(stepsOf(overrideStudy(study, { noPrivacy: true }))).toEqual([200, 200, 200]);
});
