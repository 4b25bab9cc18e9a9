import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { trainRound } from '../../client/train.ts';
import { buildDataset, type Dataset, type UnreadableRecord } from '../../shared/data/dataset.ts';
import { buildEvaluationSet, checkSeparation } from '../../shared/data/evaluation-set.ts';
import { networkOf } from '../../shared/model/network.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import type { Study } from '../../shared/study/schema.ts';
import { featuresOf } from '../support/features.ts';
import { writeCremaD, writeMvsa } from '../support/media.ts';
import { temporaryFolder } from '../support/processes.ts';

/** The shipped studies of media, on small made-up files of their layout: every file is encoded here and decoded by the readers. */
const shipped = (name: string): Study => parseStudy(readFileSync(new URL(`../../deploy/studies/${name}.yaml`, import.meta.url), 'utf8'), `${name}.yaml`);

beforeAll(async () => {
  await openBackend('wasm');
});

interface Read {
  readonly datasets: ReadonlyMap<string, Dataset>;
  readonly unreadable: ReadonlyMap<string, readonly UnreadableRecord[]>;
}

async function readSites(study: Study, data: string): Promise<Read> {
  const datasets = new Map<string, Dataset>();
  const unreadable = new Map<string, readonly UnreadableRecord[]>();
  for (const site of study.sites) {
    const listUnreadable = (records: readonly UnreadableRecord[]): Promise<string> => {
      unreadable.set(site.modality, records);
      return Promise.resolve('a list');
    };
    datasets.set(site.name, await buildDataset({ study, modality: site.modality, selection: site, files: openDataFolder(data), primitives, listUnreadable }));
  }
  return { datasets, unreadable };
}

/** One round of every site as the site trains it, privately; updates are finite and not nothing. */
async function trainEverybody(study: Study, datasets: ReadonlyMap<string, Dataset>): Promise<void> {
  const resolved = resolveStudy(study);
  for (const { name, modality, patients } of study.sites) {
    const [dataset, plan] = [datasets.get(name), resolved.modalities.get(modality)];
    if (dataset === undefined || plan === undefined) throw new Error(name);
    expect(dataset.patients.ids.length).toBeLessThanOrEqual(patients);
    const network = networkOf(study, modality);
    const update = await trainRound({ network, dataset, weights: network.initialise(study.seed, modality), mechanism: plan.mechanism, patients, learningRate: plan.learningRate, momentum: study.optimiser.local.momentum, random: createKeyStream() });
    expect(update).toHaveLength(network.size);
    expect(update.every(Number.isFinite)).toBe(true);
    expect(update.some((value) => value !== 0)).toBe(true);
  }
}

/** How often the nearest class mean of the training records is right on the test records: the readers keep what tells the classes apart. */
async function nearestMean(study: Study, { datasets, data }: { readonly datasets: ReadonlyMap<string, Dataset>; readonly data: string }): Promise<Record<string, number>> {
  const test = await buildEvaluationSet({ study, part: 'test', files: openDataFolder(data), primitives });
  return Object.fromEntries(Object.entries(test.modalities).map(([modality, { features, present }]) => {
    const training = study.sites.filter((site) => site.modality === modality).map(({ name }) => datasets.get(name)!);
    const size = training[0]!.size;
    const means = study.classes.map(() => new Float64Array(size));
    for (const dataset of training) featuresOf(dataset).forEach((x, i) => { means[dataset.labels[Math.floor(i / size)]!]![i % size]! += x; });
    const lengths = means.map((mean) => Math.hypot(...mean));
    const shown = Array.from(test.labels.keys()).filter((i) => present[i] === 1);
    const right = shown.filter((i) => {
      const scores = means.map((mean, c) => mean.reduce((sum, m, f) => sum + m * features[i * size + f]!, 0) / lengths[c]!);
      return scores.indexOf(Math.max(...scores)) === test.labels[i];
    });
    return [modality, right.length / shown.length];
  }));
}

describe('CREMA-D from its media', () => {
  const data = temporaryFolder;

  it('by clip: sound and faces are read, told apart, and trained on for a round; a clip without sound or picture is missing there', async () => {
    const folder = data();
    await writeCremaD(folder, { actors: 4, takes: 3 });
    const study = shipped('crema-d');
    checkSeparation(study);
    const { datasets, unreadable } = await readSites(study, folder);
    const records = (modality: string): string[] => study.sites.filter((site) => site.modality === modality).flatMap(({ name }) => datasets.get(name)?.patients.ids ?? []);
    expect(records('voice').length).toBeGreaterThan(40);
    expect(records('face').filter((clip) => !records('voice').includes(clip))).toEqual(['1001_T0_HAP_XX']);
    expect(records('voice').filter((clip) => !records('face').includes(clip))).toEqual(['1001_T0_SAD_XX']);
    for (const list of unreadable.values()) expect(list).toEqual([{ line: 5, path: '1001_T0_HAP_XX.wav', why: 'it holds no samples' }]);
    await trainEverybody(study, datasets);
    const right = await nearestMean(study, { datasets, data: folder });
    expect(right['face']).toBeGreaterThan(0.8);
    expect(right['voice']).toBeGreaterThan(0.8);
  });

  it('by actor: nobody in the test part was trained on, and each actor is one patient with all clips', async () => {
    const folder = data();
    await writeCremaD(folder, { actors: 14, takes: 1 });
    const study = shipped('crema-d-actors');
    checkSeparation(study);
    const { datasets } = await readSites(study, folder);
    const trained = new Set(study.sites.flatMap(({ name }) => datasets.get(name)?.patients.ids ?? []));
    const test = await buildDataset({ study, modality: 'voice', selection: study.evaluation?.test ?? {}, files: openDataFolder(folder), primitives });
    expect(test.patients.ids.length).toBeGreaterThan(0);
    expect(test.patients.ids.filter((actor) => trained.has(actor))).toEqual([]);
    expect(test.patients.records.every((own) => own.length >= 5)).toBe(true);
    await trainEverybody(study, datasets);
  });
});

it('MVSA-Single: pictures and tweets are read, told apart and trained on; a picture that is cut off is left out', async () => {
  const folder = temporaryFolder();
  await writeMvsa(folder, 90);
  const study = shipped('mvsa-single');
  checkSeparation(study);
  const { datasets, unreadable } = await readSites(study, folder);
  expect(datasets.get('picture-1')?.labels).toHaveLength(71);
  expect((datasets.get('text-1')?.labels.length ?? 0) + (datasets.get('text-2')?.labels.length ?? 0)).toBe(72);
  expect(unreadable.get('picture')).toEqual([{ line: 8, path: '6.jpg', why: 'it is cut off or damaged' }]);
  await trainEverybody(study, datasets);
  const right = await nearestMean(study, { datasets, data: folder });
  expect(right['picture']).toBeGreaterThan(0.8);
  expect(right['text']).toBe(1);
});
