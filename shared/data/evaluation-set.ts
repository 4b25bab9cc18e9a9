import type { Primitives } from '../crypto/primitives.ts';
import { AntiphonError } from '../errors.ts';
import type { FilterSpec, ShareSpec, Study } from '../study/schema.ts';
import { buildDataset, type Dataset } from './dataset.ts';
import { closeFeatures, copyRecord } from './features.ts';
import type { DataFiles } from './files.ts';
import { allowedValues, type Selection } from './selection.ts';

/** Aligned public samples: every modality's features of the same people. */
export interface EvaluationSet {
  readonly samples: readonly string[];
  readonly labels: Int32Array;
  readonly modalities: Readonly<Record<string, EvaluationModality>>;
}

export interface EvaluationModality {
  /** [samples, features of the modality] row-major; zeros where absent. */
  readonly features: Float32Array;
  /** 1 where the sample has this modality. */
  readonly present: Uint8Array;
}

/**
 * The selection or test part of the study's evaluation, joined over the modalities by `evaluation.sample`; a sample belongs to it when at
 * least one modality has it. Throws AntiphonError('data-invalid') when modalities disagree on a label or one has a sample twice.
 */
export async function buildEvaluationSet(input: {
  readonly study: Study;
  readonly part: 'selection' | 'test';
  readonly files: DataFiles;
  readonly primitives: Pick<Primitives, 'sha256'>;
}): Promise<EvaluationSet> {
  const { study, part, files, primitives } = input;
  const { evaluation } = study;
  if (evaluation === undefined) throw new AntiphonError('study-invalid', 'the study has no "evaluation"; add one to see how good the model is');
  const sampleColumn = evaluation.sample;
  const datasets = new Map<string, Dataset>();
  for (const modality of Object.keys(study.modalities)) {
    datasets.set(modality, await buildDataset({ study, modality, selection: evaluation[part], files, primitives, sampleColumn }));
  }

  const positions = new Map<string, number>();
  const labels: number[] = [];
  for (const [modality, { samples = [], labels: own, lines }] of datasets) {
    const seen = new Set<string>();
    samples.forEach((sample, record) => {
      const where = `${study.modalities[modality]?.records.index ?? ''}:${lines[record] ?? 0}`;
      if (seen.has(sample)) throw new AntiphonError('data-invalid', `${where} gives a sample of modality "${modality}" a second time; evaluation.sample ("${sampleColumn}") must name one record per modality: choose another column or select fewer records`);
      seen.add(sample);
      const label = own[record] ?? 0;
      const position = positions.get(sample);
      if (position === undefined) {
        positions.set(sample, labels.length);
        labels.push(label);
      } else if (labels[position] !== label) {
        throw new AntiphonError('data-invalid', `${where} (modality "${modality}") gives a sample another class than an earlier modality does; one sample has one class: correct the files or evaluation.sample`);
      }
    });
  }
  return {
    samples: [...positions.keys()],
    labels: Int32Array.from(labels),
    modalities: Object.fromEntries([...datasets].map(([modality, dataset]) => [modality, align(dataset, positions)])),
  };
}

/** In memory whatever its size: these records are public, and every evaluation reads them all. */
function align(dataset: Dataset, positions: ReadonlyMap<string, number>): EvaluationModality {
  const { size, samples = [] } = dataset;
  const aligned = new Float32Array(positions.size * size);
  const present = new Uint8Array(positions.size);
  samples.forEach((sample, record) => {
    const position = positions.get(sample) ?? 0;
    copyRecord(dataset, record, { target: aligned, offset: position * size });
    present[position] = 1;
  });
  closeFeatures(dataset.features);
  return { features: aligned, present };
}

/**
 * What the study file alone says about who is where. Throws AntiphonError('study-invalid') when a patient of a site is also evaluated on, when
 * the selection and the test part share patients, or when `sitesDisjoint` is claimed for sites whose selectors do not show it.
 *
 * Selectors speak of records. Disjoint shares prove that PATIENTS differ; different values of one column prove it only where a patient has
 * one value in that column (a hospital, a split): each site signs that when it enrols.
 */
export function checkSeparation(study: Study): void {
  const { evaluation } = study;
  if (evaluation !== undefined) {
    if (provablyOverlap(evaluation.selection, evaluation.test)) {
      throw new AntiphonError('study-invalid', 'evaluation.selection and evaluation.test select the same patients; give them different "where" values of one column, or shares that do not overlap');
    }
    for (const part of ['selection', 'test'] as const) {
      const site = study.sites.find((candidate) => provablyOverlap(candidate, evaluation[part]));
      if (site !== undefined) {
        throw new AntiphonError('study-invalid', `site "${site.name}" trains on patients of evaluation.${part}; give the two different "where" values of one column, or shares that do not overlap`);
      }
    }
  }
  for (const [modality, { sitesDisjoint }] of Object.entries(study.modalities)) {
    if (sitesDisjoint && !sitesProvablyDisjoint(study, modality)) {
      throw new AntiphonError('study-invalid', `modality "${modality}" claims sitesDisjoint, but its sites' selectors do not show it; give every two sites different "where" values of one column, or shares that do not overlap, or drop sitesDisjoint (the budget then counts the sites one after the other)`);
    }
  }
}

/** Whether every two sites of the modality have selectors that no record passes both of. */
export function sitesProvablyDisjoint(study: Study, modality: string): boolean {
  const sites = study.sites.filter((site) => site.modality === modality);
  return sites.every((a, i) => sites.slice(i + 1).every((b) => provablyDisjoint(a, b)));
}

function provablyDisjoint(a: Selection, b: Selection): boolean {
  return !sharesOverlap(a.share, b.share) || commonColumns(a.where, b.where).some((column) => !valuesOverlap(a.where, b.where, column));
}

/** Not disjoint, and one filter's columns are among the other's: then one selects a part of the other, or they agree on every column both ask for. */
function provablyOverlap(a: Selection, b: Selection): boolean {
  const fewer = Math.min(Object.keys(a.where ?? {}).length, Object.keys(b.where ?? {}).length);
  return commonColumns(a.where, b.where).length === fewer && !provablyDisjoint(a, b);
}

function sharesOverlap(a: ShareSpec | undefined, b: ShareSpec | undefined): boolean {
  return Math.max(a?.from ?? 0, b?.from ?? 0) < Math.min(a?.to ?? 1, b?.to ?? 1);
}

function commonColumns(a: FilterSpec | undefined, b: FilterSpec | undefined): readonly string[] {
  return Object.keys(a ?? {}).filter((column) => b?.[column] !== undefined);
}

function valuesOverlap(a: FilterSpec | undefined, b: FilterSpec | undefined, column: string): boolean {
  const values = (filter: FilterSpec | undefined): readonly string[] => (filter?.[column] === undefined ? [] : allowedValues(filter[column]));
  const other = new Set(values(b));
  return values(a).some((value) => other.has(value));
}
