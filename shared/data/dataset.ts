import type { Primitives } from '../crypto/primitives.ts';
import { AntiphonError } from '../errors.ts';
import type { Modality, Study } from '../study/schema.ts';
import type { DataFiles } from './files.ts';
import { selects, shareOf, type Selection } from './selection.ts';
import { columnIndex, readTable, type Table } from './table.ts';
import { encoderInputReader, readValues } from './values.ts';

/** The records of one modality that a site holds, or that an evaluation uses. SENSITIVE at a site: never logged, never sent. */
export interface Dataset {
  /** Features per record, as the encoder sees them. */
  readonly size: number;
  /** [records, size] row-major, normalised by the study's public constants, then through the modality's front-end. */
  readonly features: Float32Array;
  /** Class of each record, 0-based. */
  readonly labels: Int32Array;
  /** The units of privacy, in order of first appearance; `records[i]` are the record indices of patient `ids[i]`. */
  readonly patients: { readonly ids: readonly string[]; readonly records: readonly Int32Array[] };
  /** Line of the index file each record stands on, for messages. */
  readonly lines: Int32Array;
  /** Value of the sample column of each record, where one was asked for. */
  readonly samples?: readonly string[];
}

export interface DatasetRequest {
  readonly study: Study;
  /** Name of the modality. */
  readonly modality: string;
  readonly selection: Selection;
  readonly files: DataFiles;
  readonly primitives: Pick<Primitives, 'sha256'>;
  /** The index column that joins modalities (`evaluation.sample`). */
  readonly sampleColumn?: string;
}

/**
 * Reads, selects, normalises, applies the front-end, groups by patient. Throws AntiphonError('data-invalid') naming file and line (never a value) on a missing
 * file or column, a wrong shape, a label or row out of range, a missing or infinite feature, or when nothing is selected.
 */
export async function buildDataset(request: DatasetRequest): Promise<Dataset> {
  const { study, modality: name, selection, files, primitives, sampleColumn } = request;
  const spec = study.modalities[name];
  if (spec === undefined) throw new AntiphonError('study-invalid', `the study has no modality "${name}"; it has: ${Object.keys(study.modalities).join(', ')}`);
  const index = await readTable(files, spec.records.index);
  const entries = selectEntries({ index, spec, selection, sampleColumn, classes: study.classes, sha256: primitives.sha256 });
  const values = await readValues(files, { name, spec });
  const { size, read } = encoderInputReader(values, { name, spec });

  const features = new Float32Array(entries.length * size);
  const kept: Entry[] = [];
  for (const entry of entries) {
    if (entry.row >= values.rows) {
      throw new AntiphonError('data-invalid', `${index.path}:${entry.line} points beyond the last row of ${values.path}, which has ${values.rows}; the two files do not belong together`);
    }
    if (read(entry.row, features, kept.length * size)) kept.push(entry);
  }
  if (kept.length === 0) {
    const why = entries.length === 0 ? 'no line passes' : `${entries.length} lines pass, none with ${spec.records.minimumMeasured} measured features;`;
    throw new AntiphonError('data-invalid', `expected records of modality "${name}" in ${index.path}: ${why} ${describe(spec, selection)}; check the study's "where" and "share" and the data folder`);
  }
  return {
    size,
    features: kept.length === entries.length ? features : features.slice(0, kept.length * size),
    labels: Int32Array.from(kept, ({ label }) => label),
    lines: Int32Array.from(kept, ({ line }) => line),
    patients: groupByPatient(kept),
    ...(sampleColumn === undefined ? {} : { samples: kept.map(({ sample }) => sample) }),
  };
}

interface Entry {
  readonly line: number;
  readonly row: number;
  readonly label: number;
  readonly patient: string;
  readonly sample: string;
}

function selectEntries(input: {
  readonly index: Table;
  readonly spec: Modality;
  readonly selection: Selection;
  readonly sampleColumn: string | undefined;
  readonly classes: readonly string[];
  readonly sha256: Primitives['sha256'];
}): Entry[] {
  const { index, spec, selection, sampleColumn, classes, sha256 } = input;
  const { records } = spec;
  const at = (column: string, purpose: string): number => columnIndex(index, column, purpose);
  const patientAt = at(records.patient, 'records.patient');
  const labelAt = at(records.label, 'records.label');
  const rowAt = records.row === undefined ? undefined : at(records.row, 'records.row');
  const sampleAt = sampleColumn === undefined ? undefined : at(sampleColumn, 'evaluation.sample');
  const filters = [records.where, selection.where];
  const filterAt = new Map(filters.flatMap((filter) => Object.keys(filter ?? {})).map((column) => [column, at(column, 'where')]));
  const labelOf = labelReader(classes);

  return index.rows.flatMap(({ cells, line }, position): Entry[] => {
    const text = (column: number): string => cells[column] ?? '';
    const named = (column: number, key: string): string => {
      if (text(column) !== '') return text(column);
      throw new AntiphonError('data-invalid', `expected a value in column "${index.columns[column] ?? ''}" (${key}) of ${index.path}:${line}, found an empty cell`);
    };
    const patient = named(patientAt, 'records.patient');
    const chosen = selects({ filters, share: selection.share, cell: (column) => text(filterAt.get(column) ?? -1), position: () => shareOf(sha256, patient) });
    if (!chosen) return [];
    const label = labelOf(text(labelAt));
    if (label === undefined) {
      throw new AntiphonError('data-invalid', `expected a class in ${index.path}:${line}, column "${records.label}": a number from 0 to ${classes.length - 1} or a name among the study's "classes"; found something else: correct the file or the classes`);
    }
    const row = rowAt === undefined ? position : rowNumber(text(rowAt));
    if (row === undefined) throw new AntiphonError('data-invalid', `expected a row number of ${records.values} in ${index.path}:${line}, column "${records.row ?? ''}", found something else`);
    return [{ line, row, label, patient, sample: sampleAt === undefined ? '' : named(sampleAt, 'evaluation.sample') }];
  });
}

/** A class's name goes before its number, for classes whose names are numbers. */
function labelReader(classes: readonly string[]): (text: string) => number | undefined {
  const byText = new Map([...classes.map((_, i): [string, number] => [String(i), i]), ...classes.map((name, i): [string, number] => [name, i])]);
  return (text) => byText.get(text) ?? (/^\d+(?:\.0+)?$/.test(text) ? byText.get(String(Number(text))) : undefined);
}

function rowNumber(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function groupByPatient(entries: readonly Entry[]): Dataset['patients'] {
  const groups = new Map<string, number[]>();
  entries.forEach(({ patient }, record) => {
    const group = groups.get(patient);
    if (group === undefined) groups.set(patient, [record]);
    else group.push(record);
  });
  return { ids: [...groups.keys()], records: [...groups.values()].map((group) => Int32Array.from(group)) };
}

function describe(spec: Modality, { where, share }: Selection): string {
  const conditions = Object.entries({ ...spec.records.where, ...where }).map(([column, values]) => `${column} = ${[values].flat().join(' or ')}`);
  return [...conditions, ...(share === undefined ? [] : [`share ${share.from} to ${share.to}`])].join(', ');
}
