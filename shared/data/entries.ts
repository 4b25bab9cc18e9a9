import type { Primitives } from '../crypto/primitives.ts';
import { AntiphonError } from '../errors.ts';
import type { Modality } from '../study/schema.ts';
import { selects, shareOf, type Selection } from './selection.ts';
import { columnIndex, type Table } from './table.ts';

/** A record of the index that was asked for. */
export interface Entry {
  readonly line: number;
  /** Of the `values` file. */
  readonly row: number;
  /** Path of the record's file, or its text; private. Empty: the patient lacks this modality. */
  readonly cell: string;
  readonly label: number;
  readonly patient: string;
  readonly sample: string;
}

/** The lines of the index that pass the modality's and the selection's conditions. Throws AntiphonError('data-invalid') as `buildDataset` says. */
export function selectEntries(input: {
  readonly index: Table;
  readonly spec: Modality;
  readonly selection: Selection;
  readonly sampleColumn: string | undefined;
  /** What `cell` is taken from, where records have files or text; `purpose` is the study's key that names the column. */
  readonly cells: { readonly column: string; readonly purpose: string } | undefined;
  readonly classes: readonly string[];
  readonly sha256: Primitives['sha256'];
}): Entry[] {
  const { index, spec, selection, sampleColumn, cells: source, classes, sha256 } = input;
  const { records } = spec;
  const at = (column: string, purpose: string): number => columnIndex(index, column, purpose);
  const patientAt = at(records.patient, 'records.patient');
  const labelAt = at(records.label, 'records.label');
  const rowAt = records.row === undefined ? undefined : at(records.row, 'records.row');
  const cellAt = source === undefined ? undefined : at(source.column, source.purpose);
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
    if (row === undefined) throw new AntiphonError('data-invalid', `expected a row number of ${records.values ?? ''} in ${index.path}:${line}, column "${records.row ?? ''}", found something else`);
    return [{ line, row, cell: cellAt === undefined ? '' : text(cellAt), label, patient, sample: sampleAt === undefined ? '' : named(sampleAt, 'evaluation.sample') }];
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
