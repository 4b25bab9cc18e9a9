import { toHex, utf8 } from '../../shared/bytes.ts';
import type { Primitives } from '../../shared/crypto/primitives.ts';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import { gatherRecords } from '../../shared/data/features.ts';
import type { DataFiles } from '../../shared/data/files.ts';
import { formatNpy } from '../../shared/data/npy.ts';
import { allowedValues, inShare, shareOf } from '../../shared/data/selection.ts';
import { isParquet } from '../../shared/data/table.ts';
import { AntiphonError, invariant } from '../../shared/errors.ts';
import { uniformIndex } from '../../shared/privacy/poisson.ts';
import { freshBytes, type RandomSource } from '../../shared/privacy/random.ts';
import { vocabularyOf } from '../../shared/study/encoder-input.ts';
import type { FilterSpec, Modality, RecordsSpec, SiteSpec, Study } from '../../shared/study/schema.ts';

export interface CanaryRequest {
  readonly study: Study;
  readonly site: SiteSpec;
  readonly count: number;
  /** The site's real records: canaries keep to the range of their features where the study sets no bound. */
  readonly like: Dataset;
  readonly files: DataFiles;
  readonly primitives: Primitives;
  readonly random: RandomSource;
}

/**
 * Patients made for an audit, one record each, read by the site's own reader from files that exist in memory only: a class at random, and every feature at one
 * of the two ends of what the study's transform lets through (without a bound there: of what the site's records reach), at random. So their gradients
 * are as long as a record can make them and as different from each other as the model allows; of tokens: one at random, again and again. Nothing about them depends on who takes part.
 */
export async function makeCanaries(request: CanaryRequest): Promise<Dataset> {
  const { study, site, count } = request;
  const own = study.modalities[site.modality];
  invariant(own !== undefined, `modality ${site.modality}`);
  const spec = { ...own, records: plainRecords(own.records) };
  const modalities = { ...study.modalities, [site.modality]: spec };
  const made = await buildDataset({ study: { ...study, modalities }, modality: site.modality, selection: site, files: canaryFiles(request, spec), primitives: request.primitives });
  if (made.patients.ids.length !== count) {
    throw new AntiphonError('study-invalid', `no canaries can be made for site "${site.name}": its "where" names patients or rows one by one; audit another modality with --modality, or select the site's records by another column`);
  }
  return made;
}

/** The patients that `included` marks with 1; each has one record. */
export function subset(dataset: Dataset, included: Uint8Array): Dataset {
  const { size, labels, lines, patients } = dataset;
  const chosen = Array.from(included.keys()).filter((i) => included[i] === 1);
  invariant(labels.length === included.length && patients.ids.length === included.length, 'a coin per patient, a record per patient');
  return {
    size,
    features: gatherRecords(dataset, chosen),
    labels: Int32Array.from(chosen, (i) => labels[i]!),
    lines: Int32Array.from(chosen, (i) => lines[i]!),
    patients: { ids: chosen.map((i) => patients.ids[i]!), records: chosen.map((_, i) => Int32Array.of(i)) },
  };
}

/** Of records in files or text, or in Parquet: what comes out of them, as a plain array. Canaries can then be more extreme than any picture, which makes the audit no weaker. */
function plainRecords(records: RecordsSpec): RecordsSpec & { readonly values: string } {
  const { values } = records;
  if (values !== undefined && !isParquet(values) && !isParquet(records.index)) return { ...records, values };
  return { ...records, index: 'canaries.csv', values: 'canaries.npy', files: undefined, text: undefined, columns: undefined, row: undefined };
}

/** The index and values files of the canaries, as the modality's `records` name them. */
function canaryFiles({ study, site, count, like, files, primitives, random }: CanaryRequest, spec: Modality & { readonly records: { readonly values: string } }): DataFiles {
  const { records } = spec;
  const names = records.row === records.patient ? numbers(count, { site, primitives }) : canaryNames(count, { site, primitives, random });
  const lines = names.length;
  const values = rawFeatures({ count: lines, like, spec, random });
  const features = new Map((records.columns ?? []).map((column, feature) => [column, (line: number) => String(values[line * sizeOfRecord(spec) + feature]!)]));
  const index = new Map<string, (line: number) => string>(records.index === records.values ? features : []);
  if (records.row !== undefined) index.set(records.row, String);
  index.set(records.patient, (line) => names[line]!);
  index.set(records.label, () => String(uniformIndex(study.classes.length, random)));
  // Last: what the filters ask of a column goes before everything else.
  for (const [column, allowed] of filterValues([records.where, site.where])) index.set(column, () => allowed[allowed.length > 1 ? uniformIndex(allowed.length, random) : 0] ?? '');
  const written = new Map([[records.values, records.columns === undefined ? formatNpy({ shape: [lines, ...spec.shape], data: values }) : table(features, lines)]]);
  written.set(records.index, table(index, lines));
  return { ...files, read: async (path) => written.get(path) ?? files.read(path) };
}

/** The transform's default bound: as good as none. */
const UNBOUNDED = 1e6;

function sizeOfRecord({ shape }: Modality): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** [count, features], before the study's transform. */
function rawFeatures({ count, like, spec, random }: { readonly count: number; readonly like: Dataset; readonly spec: Modality; readonly random: RandomSource }): Float32Array {
  const size = sizeOfRecord(spec);
  const vocabulary = vocabularyOf(spec.encoder);
  if (vocabulary !== undefined) {
    const tokens = Array.from({ length: count }, () => 1 + uniformIndex(vocabulary - 1, random));
    return Float32Array.from({ length: count * size }, (_, i) => tokens[Math.floor(i / size)]!);
  }
  const { subtract, divideBy, clip } = spec.records.transform;
  if (clip >= UNBOUNDED && (spec.records.frontEnd !== undefined || spec.records.frozen !== undefined)) {
    throw new AntiphonError('study-invalid', 'canaries behind a front-end or a frozen network need a bound on the records: give transform.clip in the study, or audit another modality with --modality');
  }
  const at = (constant: number | readonly number[], feature: number): number => (typeof constant === 'number' ? constant : (constant[feature % constant.length] ?? 0));
  const reach = new Float64Array(size).fill(clip < UNBOUNDED ? clip : 0);
  for (let record = 0; clip >= UNBOUNDED && record < like.labels.length; record += 1) {
    gatherRecords(like, [record]).forEach((value, i) => (reach[i] = Math.max(reach[i]!, Math.abs(value))));
  }
  const coins = freshBytes(random, count * size);
  return Float32Array.from({ length: count * size }, (_, i) => {
    const feature = i % size;
    return at(subtract, feature) + at(divideBy, feature) * reach[feature]! * ((coins[i]! & 1) === 1 ? 1 : -1);
  });
}

/** Names that no real patient has, of patients who fall into the site's share. */
function canaryNames(count: number, { site, primitives, random }: Pick<CanaryRequest, 'site' | 'primitives' | 'random'>): readonly string[] {
  const names: string[] = [];
  const run = toHex(freshBytes(random, 12));
  for (let i = 0; names.length < count; i += 1) {
    const name = `canary-${run}-${i}`;
    if (isInShare(site, primitives, name)) names.push(name);
  }
  return names;
}

/** Where a patient's name is the row of their values: the numbers from 0 until `count` of them fall into the share; the reader drops the others. */
function numbers(count: number, { site, primitives }: Pick<CanaryRequest, 'site' | 'primitives'>): readonly string[] {
  const names: string[] = [];
  let found = 0;
  while (found < count) {
    const name = String(names.length);
    names.push(name);
    if (isInShare(site, primitives, name)) found += 1;
  }
  return names;
}

function isInShare({ share }: SiteSpec, { sha256 }: Primitives, name: string): boolean {
  return share === undefined || inShare(share, shareOf(sha256, name));
}

/** Per column, the values that pass every filter. */
function filterValues(filters: readonly (FilterSpec | undefined)[]): ReadonlyMap<string, readonly string[]> {
  const allowed = new Map<string, readonly string[]>();
  for (const filter of filters) {
    for (const [column, condition] of Object.entries(filter ?? {})) {
      const own = allowedValues(condition);
      allowed.set(column, allowed.get(column)?.filter((value) => own.includes(value)) ?? own);
    }
  }
  return allowed;
}

/** CSV of so many lines under a header. */
function table(cells: ReadonlyMap<string, (line: number) => string>, lines: number): Uint8Array<ArrayBuffer> {
  const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
  const body = Array.from({ length: lines }, (_, line) => [...cells.values()].map((cell) => quote(cell(line))).join(','));
  return utf8([[...cells.keys()].map(quote).join(','), ...body].join('\n'));
}
