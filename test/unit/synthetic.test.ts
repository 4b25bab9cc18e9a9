import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeSyntheticData } from '../../deploy/synthetic.ts';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import { buildEvaluationSet, checkSeparation, type EvaluationSet } from '../../shared/data/evaluation-set.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { featuresOf } from '../support/features.ts';

const path = fileURLToPath(new URL('../../deploy/studies/synthetic.yaml', import.meta.url));
const study = parseStudy(await readFile(path, 'utf8'), path);
const CLASSES = study.classes.length;

describe('the embedded synthetic study', () => {
  let folder = '';
  let test: EvaluationSet;
  const sites = new Map<string, Dataset>();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'antiphon-synthetic-'));
    await writeSyntheticData(folder, { seed: 5 });
    const files = openDataFolder(folder);
    test = await buildEvaluationSet({ study, part: 'test', files, primitives });
    for (const site of study.sites) sites.set(site.name, await buildDataset({ study, modality: site.modality, selection: site, files, primitives }));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('is the same for the same seed, byte by byte, and another for another', async () => {
    const write = async (seed: number): Promise<Buffer[]> => {
      const own = await mkdtemp(join(tmpdir(), 'antiphon-synthetic-'));
      await writeSyntheticData(own, { seed, patients: 40 });
      const names = (await readdir(own)).sort();
      expect(names).toEqual(['image.csv', 'image.npy', 'sound.csv', 'sound.npy', 'table.csv']);
      const contents = await Promise.all(names.map((name) => readFile(join(own, name))));
      await rm(own, { recursive: true });
      return contents;
    };
    expect(await write(7)).toEqual(await write(7));
    expect(await write(7)).not.toEqual(await write(8));
  });

  it('keeps every site within its public cap, and sites and evaluation apart', () => {
    checkSeparation(study);
    for (const { name, patients } of study.sites) {
      const found = sites.get(name)?.patients.ids.length ?? 0;
      expect(found).toBeLessThanOrEqual(patients);
      expect(found).toBeGreaterThan(0.9 * patients);
    }
  });

  it('has aligned test patients, some of them without a modality', () => {
    expect(test.samples).toHaveLength(400);
    for (const { present } of Object.values(test.modalities)) {
      const lacking = 400 - present.reduce((sum, has) => sum + has, 0);
      expect(lacking).toBeGreaterThan(30);
      expect(lacking).toBeLessThan(80);
    }
  });

  it('rewards fusion: even linear models together beat the best of them clearly', () => {
    const fused = new Float64Array(400 * CLASSES);
    const alone = Object.entries(test.modalities).map(([modality, { features, present }]) => {
      const training = study.sites.filter((site) => site.modality === modality).map(({ name }) => sites.get(name));
      const scores = logistic(training.filter((dataset) => dataset !== undefined), features);
      const kept = [...present.keys()].filter((i) => present[i] === 1);
      for (const i of kept) for (let c = 0; c < CLASSES; c += 1) fused[i * CLASSES + c]! += scores[i * CLASSES + c]!;
      return accuracy(scores, kept);
    });
    const together = accuracy(fused, [...test.labels.keys()]);
    expect(Math.min(...alone)).toBeGreaterThan(0.5);
    expect(together).toBeGreaterThan(Math.max(...alone) + 0.08);
  });

  /** Share of the given samples whose highest score is their class. */
  function accuracy(scores: Float64Array, kept: readonly number[]): number {
    const right = kept.filter((i) => {
      const own = [...scores.subarray(i * CLASSES, (i + 1) * CLASSES)];
      return own.indexOf(Math.max(...own)) === test.labels[i];
    });
    return right.length / kept.length;
  }
});

/** Log-probabilities [samples, classes] of a multinomial logistic regression, trained by plain gradient descent. */
function logistic(training: readonly Dataset[], samples: Float32Array): Float64Array {
  const size = training[0]?.size ?? 1;
  const weights = new Float64Array((size + 1) * CLASSES);
  const score = (features: Float32Array, i: number): Float64Array => {
    const z = weights.slice(size * CLASSES);
    for (let f = 0; f < size; f += 1) for (let c = 0; c < CLASSES; c += 1) z[c]! += features[i * size + f]! * weights[f * CLASSES + c]!;
    const top = Math.max(...z);
    const log = Math.log(z.reduce((sum, x) => sum + Math.exp(x - top), 0)) + top;
    return z.map((x) => x - log);
  };
  const records = training.reduce((sum, { labels }) => sum + labels.length, 0);
  for (let step = 0; step < 60; step += 1) {
    const gradient = new Float64Array(weights.length);
    for (const dataset of training) {
      const [features, labels] = [featuresOf(dataset), dataset.labels];
      labels.forEach((label, i) => {
        const error = score(features, i).map((x, c) => Math.exp(x) - (c === label ? 1 : 0));
        for (let c = 0; c < CLASSES; c += 1) {
          for (let f = 0; f < size; f += 1) gradient[f * CLASSES + c]! += error[c]! * features[i * size + f]!;
          gradient[size * CLASSES + c]! += error[c]!;
        }
      });
    }
    for (let w = 0; w < weights.length; w += 1) weights[w]! -= (0.2 * gradient[w]!) / records;
  }
  const count = samples.length / size;
  const all = new Float64Array(count * CLASSES);
  for (let i = 0; i < count; i += 1) all.set(score(samples, i), i * CLASSES);
  return all;
}
