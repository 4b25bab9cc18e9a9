import type { Dataset } from '../../shared/data/dataset.ts';
import type { EvaluationModality } from '../../shared/data/evaluation-set.ts';
import { copyRecord } from '../../shared/data/features.ts';
import type { Study } from '../../shared/study/schema.ts';

/** The sites' training records, by site, and those of the test part, by modality. */
export interface Records {
  readonly training: ReadonlyMap<string, Dataset>;
  readonly test: ReadonlyMap<string, Dataset>;
}

/** Subjects of a membership attack: samples, joined over the modalities by `evaluation.sample`. */
export interface Crowd {
  /** [subjects]: whose sample it is. */
  readonly patients: readonly string[];
  /** [subjects]: 1 where some site trained on the sample. */
  readonly member: Uint8Array;
  readonly labels: Int32Array;
  readonly modalities: Readonly<Record<string, EvaluationModality>>;
}

interface Found {
  readonly subject: number;
  readonly modality: string;
  readonly dataset: Dataset;
  readonly record: number;
}

/**
 * Members first, then the samples of the test part whose patients no site has. Of several records of one sample in one modality the first counts; so does the
 * first class where modalities disagree.
 */
export function gatherCrowd(study: Study, { training, test }: Records): Crowd {
  const positions = new Map<string, number>();
  const patients: string[] = [];
  const labels: number[] = [];
  const found = new Map<string, Found>();
  const add = (modality: string, dataset: Dataset, wanted: (patient: string) => boolean): void => {
    dataset.patients.ids.forEach((patient, i) => {
      if (!wanted(patient)) return;
      for (const record of dataset.patients.records[i] ?? []) {
        const sample = dataset.samples?.[record] ?? patient;
        const subject = positions.get(sample) ?? patients.push(patient) - 1;
        positions.set(sample, subject);
        labels[subject] ??= dataset.labels[record] ?? 0;
        const key = JSON.stringify([modality, subject]);
        if (!found.has(key)) found.set(key, { subject, modality, dataset, record });
      }
    });
  };
  for (const { name, modality } of study.sites) {
    const dataset = training.get(name);
    if (dataset !== undefined) add(modality, dataset, () => true);
  }
  const members = patients.length;
  const known = new Set(patients);
  for (const [modality, dataset] of test) add(modality, dataset, (patient) => !known.has(patient));
  return {
    patients,
    member: Uint8Array.from(patients, (_, subject) => (subject < members ? 1 : 0)),
    labels: Int32Array.from(labels),
    modalities: Object.fromEntries(Object.keys(study.modalities).map((modality) => [modality, align([...found.values()].filter((one) => one.modality === modality), patients.length)])),
  };
}

function align(found: readonly Found[], subjects: number): EvaluationModality {
  const size = found[0]?.dataset.size ?? 0;
  const features = new Float32Array(subjects * size);
  const present = new Uint8Array(subjects);
  for (const { subject, dataset, record } of found) {
    copyRecord(dataset, record, { target: features, offset: subject * size });
    present[subject] = 1;
  }
  return { features, present };
}
