import type { Dataset } from '../../shared/data/dataset.ts';
import { copyRecord } from '../../shared/data/features.ts';
import { freshBytes, type RandomSource } from '../../shared/privacy/random.ts';
import type { Study } from '../../shared/study/schema.ts';
import type { Records } from './crowd.ts';

/** Which half of the patients, 0 or 1, each is in; the same in every modality. */
export type Sides = ReadonlyMap<string, number>;

/** A fair coin for everybody, member or not. */
export function drawSides({ training, test }: Records, random: RandomSource): Sides {
  const everybody = new Set([...training.values(), ...test.values()].flatMap(({ patients }) => patients.ids));
  const coins = freshBytes(random, everybody.size);
  return new Map([...everybody].map((patient, i) => [patient, coins[i]! & 1]));
}

/**
 * The study as a reference model is trained: a modality's patients of one half, members and others alike, dealt out to its sites in turn. A site's cap shrinks with its
 * patients, so that steps are as long as the study's own.
 */
export function referenceStudy(study: Study, { records, sides, side }: { readonly records: Records; readonly sides: Sides; readonly side: number }): { readonly study: Study; readonly datasets: ReadonlyMap<string, Dataset> } {
  const datasets = new Map<string, Dataset>();
  const caps = new Map<string, number>();
  for (const modality of Object.keys(study.modalities)) {
    const sites = study.sites.filter((site) => site.modality === modality);
    const sources = [...sites.flatMap(({ name }) => records.training.get(name) ?? []), ...[records.test.get(modality) ?? []].flat()];
    const pool = sources.flatMap((dataset) => dataset.patients.ids.flatMap((id, i) => (sides.get(id) === side ? [{ dataset, id, records: dataset.patients.records[i] ?? new Int32Array() }] : [])));
    sites.forEach(({ name, patients }, s) => {
      const own = pool.filter((_, i) => i % sites.length === s);
      if (own.length === 0) return;
      const before = records.training.get(name)?.patients.ids.length ?? own.length;
      datasets.set(name, gather(own));
      caps.set(name, Math.ceil((own.length * patients) / before));
    });
  }
  return { study: { ...study, sites: study.sites.map((site) => ({ ...site, patients: caps.get(site.name) ?? site.patients })) }, datasets };
}

interface Pooled {
  readonly dataset: Dataset;
  readonly id: string;
  readonly records: Int32Array;
}

function gather(pooled: readonly Pooled[]): Dataset {
  const size = pooled[0]?.dataset.size ?? 0;
  const total = pooled.reduce((sum, { records }) => sum + records.length, 0);
  const features = new Float32Array(total * size);
  const labels = new Int32Array(total);
  const lines = new Int32Array(total);
  let next = 0;
  const records = pooled.map(({ dataset, records: own }) => {
    const first = next;
    for (const record of own) {
      copyRecord(dataset, record, { target: features, offset: next * size });
      labels[next] = dataset.labels[record]!;
      lines[next] = dataset.lines[record]!;
      next += 1;
    }
    return Int32Array.from({ length: own.length }, (_, i) => first + i);
  });
  return { size, features, labels, lines, patients: { ids: pooled.map(({ id }) => id), records } };
}
