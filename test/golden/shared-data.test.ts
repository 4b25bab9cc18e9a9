import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { buildDataset } from '../../shared/data/dataset.ts';
import { buildEvaluationSet, checkSeparation } from '../../shared/data/evaluation-set.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { featuresOf } from '../support/features.ts';
import { describeWithShared, sharedFile } from '../support/shared-data.ts';

/** What the shipped study files select from the real data: counts that were also made independently of this code, with a few lines of Python. */
interface Expected {
  /** Records per site. */
  readonly sites: Readonly<Record<string, number>>;
  readonly selection: number;
  /** Samples per class of the joined test part. */
  readonly test: readonly number[];
  /** Test samples that have the modality. */
  readonly present: Readonly<Record<string, number>>;
}

const DIGITS = Array.from({ length: 10 }, () => 120);
const AVMNIST: Expected = {
  sites: { 'image-a': 1254, 'image-b': 1189, 'sound-a': 1254, 'sound-b': 1189 },
  selection: 257,
  test: DIGITS,
  present: { image: 1200, sound: 1200 },
};
const EXPECTED: Readonly<Record<string, Expected>> = {
  'avmnist.yaml': AVMNIST,
  'avmnist-hard.yaml': AVMNIST,
  'uci-heart.yaml': {
    sites: {
      'cleveland-history': 183, 'cleveland-resting': 183, 'cleveland-exercise': 183, 'cleveland-imaging': 183,
      'hungary-history': 177, 'hungary-resting': 177, 'hungary-exercise': 177, 'hungary-imaging': 17,
      'switzerland-history': 75, 'switzerland-resting': 75, 'switzerland-exercise': 74, 'switzerland-imaging': 46,
      'long-beach-va-history': 113, 'long-beach-va-resting': 113, 'long-beach-va-exercise': 83, 'long-beach-va-imaging': 28,
    },
    selection: 141,
    test: [103, 128],
    present: { history: 231, resting: 231, exercise: 214, imaging: 121 },
  },
};

async function shipped(file: string): Promise<Study> {
  const path = fileURLToPath(new URL(`../../deploy/studies/${file}`, import.meta.url));
  return parseStudy(await readFile(path, 'utf8'), file);
}

describeWithShared('the shipped studies on the real data', ['data/avmnist/pairs.csv', 'data/uci-heart/samples.csv'], () => {
  const files = openDataFolder(dirname(sharedFile('data/README.md') ?? ''));

  it.each(Object.keys(EXPECTED))('%s gives its sites the patients it says, within their caps and all different within a modality', async (file) => {
    const study = await shipped(file);
    checkSeparation(study);
    const found: Record<string, number> = {};
    for (const modality of Object.keys(study.modalities)) {
      const seen = new Set<string>();
      let patients = 0;
      for (const site of study.sites.filter((candidate) => candidate.modality === modality)) {
        const dataset = await buildDataset({ study, modality, selection: site, files, primitives });
        found[site.name] = dataset.labels.length;
        expect(featuresOf(dataset)).toHaveLength(dataset.labels.length * dataset.size);
        expect(featuresOf(dataset).every(Number.isFinite)).toBe(true);
        expect(dataset.patients.ids.length).toBeLessThanOrEqual(site.patients);
        patients += dataset.patients.ids.length;
        for (const id of dataset.patients.ids) seen.add(id);
      }
      expect(seen.size).toBe(patients);
      const evaluated = await buildDataset({ study, modality, selection: study.evaluation?.selection ?? {}, files, primitives });
      const tested = await buildDataset({ study, modality, selection: study.evaluation?.test ?? {}, files, primitives });
      expect([...evaluated.patients.ids, ...tested.patients.ids].filter((id) => seen.has(id))).toEqual([]);
    }
    expect(found).toEqual(EXPECTED[file]?.sites);
  });

  it.each(Object.keys(EXPECTED))('%s joins its evaluation parts over the modalities', async (file) => {
    const study = await shipped(file);
    const expected = EXPECTED[file];
    expect((await buildEvaluationSet({ study, part: 'selection', files, primitives })).samples).toHaveLength(expected?.selection ?? 0);
    const test = await buildEvaluationSet({ study, part: 'test', files, primitives });
    const histogram = study.classes.map((_, c) => test.labels.filter((label) => label === c).length);
    expect(histogram).toEqual(expected?.test);
    expect(Object.fromEntries(Object.entries(test.modalities).map(([name, { present }]) => [name, present.filter((has) => has === 1).length]))).toEqual(expected?.present);
  });
});
