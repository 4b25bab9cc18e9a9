import { AntiphonError, invariant } from '../errors.ts';
import { vocabularyOf } from '../study/encoder-input.ts';
import type { Modality, TransformSpec } from '../study/schema.ts';
import type { DataFiles, ParquetColumns } from './files.ts';
import { createFrontEnd } from './front-end.ts';
import { sameShape } from './frozen-layout.ts';
import { parseNpy, parseNpyHeader } from './npy.ts';
import { columnIndex, isParquet, missingColumn, readHeader, readTable, type Table } from './table.ts';

/** The `values` file of a modality: raw features by row, NaN where not measured. */
export interface ValuesFile {
  readonly path: string;
  readonly rows: number;
  readonly record: (row: number) => RawRecord;
}

/** One record as it is in its file. */
export interface RawRecord {
  readonly value: (feature: number) => number;
  /** For messages: the place of a feature, never its value. */
  readonly place: (feature: number) => string;
}

export async function readValues(files: DataFiles, modality: { readonly name: string; readonly spec: Modality }): Promise<ValuesFile> {
  const { values: path, columns } = modality.spec.records;
  invariant(path !== undefined, `a values file of modality ${modality.name}`);
  if (columns === undefined) return npyValues(await files.read(path), { ...modality, path });
  return isParquet(path) ? parquetValues(await files.decoders.parquet(await files.read(path), path, columns), { path, columns }) : tableValues(await readTable(files, path), columns);
}

function npyValues(bytes: Uint8Array, { name, spec, path }: { readonly name: string; readonly spec: Modality; readonly path: string }): ValuesFile {
  const { shape, data } = parseNpy(bytes, path);
  const rows = rowsOf(shape, { name, spec, path });
  const size = spec.shape.reduce((product, length) => product * length, 1);
  return {
    path,
    rows,
    record: (row) => ({ value: (feature) => data[row * size + feature] ?? Number.NaN, place: (feature) => `${path}, row ${row}, feature ${feature}` }),
  };
}

function rowsOf([rows, ...record]: readonly number[], { name, spec, path }: { readonly name: string; readonly spec: Modality; readonly path: string }): number {
  if (rows !== undefined && sameShape(record, spec.shape)) return rows;
  const found = rows === undefined ? '' : [rows, ...record].join(', ');
  throw new AntiphonError('data-invalid', `expected [rows, ${spec.shape.join(', ')}] in ${path}, as the shape of modality "${name}" says, found [${found}]; change the shape or the file`);
}

/** Whether the `values` file is there and has the columns, or the shape, that the study says; of its records nothing is read. Throws AntiphonError('data-invalid'). */
export async function checkValuesLayout(files: DataFiles, { name, spec }: { readonly name: string; readonly spec: Modality }): Promise<void> {
  const { values: path, columns } = spec.records;
  if (path === undefined) return;
  if (columns === undefined) {
    rowsOf(parseNpyHeader(await files.readStart(path, MAX_HEADER_BYTES), path).shape, { name, spec, path });
    return;
  }
  const header = await readHeader(files, path);
  for (const column of columns) columnIndex(header, column, 'records.columns');
}

/** NumPy pads its headers to 64 bytes; those of plain arrays fit in two of that. */
const MAX_HEADER_BYTES = 1 << 16;

function tableValues(table: Table, columns: readonly string[]): ValuesFile {
  const indices = columns.map((column) => columnIndex(table, column, 'records.columns'));
  return {
    path: table.path,
    rows: table.rows.length,
    record: (row) => {
      const place = (feature: number): string => `${table.path}:${table.rows[row]?.line ?? 0}, column "${columns[feature] ?? ''}"`;
      return {
        place,
        value: (feature) => {
          const cell = table.rows[row]?.cells[indices[feature] ?? -1] ?? '';
          if (cell === '' || /^nan$/i.test(cell)) return Number.NaN;
          const number = Number(cell);
          if (Number.isNaN(number)) throw new AntiphonError('data-invalid', `expected a number or an empty cell in ${place(feature)}, found text; correct the file or leave the column out`);
          return number;
        },
      };
    },
  };
}

function parquetValues({ rows, names, columns: read }: ParquetColumns, { path, columns }: { readonly path: string; readonly columns: readonly string[] }): ValuesFile {
  const cells = columns.map((name) => read.get(name) ?? missingColumn({ path, columns: names }, name, 'records.columns'));
  return {
    path,
    rows,
    record: (row) => {
      const place = (feature: number): string => `${path}, row ${row}, column "${columns[feature] ?? ''}"`;
      return {
        place,
        value: (feature) => {
          const cell = cells[feature]?.[row] ?? Number.NaN;
          if (typeof cell === 'string') throw new AntiphonError('data-invalid', `expected a number in ${place(feature)}, found text; write the column as numbers, or leave it out`);
          return Number(cell);
        },
      };
    },
  };
}

/** Normalises one record into `target` at `offset`; returns false, writing nothing, where fewer than `minimumMeasured` features are measured. */
export type RecordNormaliser = (raw: RawRecord, target: Float32Array, offset: number) => boolean;

/** What the encoder, or a frozen network before it, gets of each record: transformed, then through the modality's front-end where it has one; `size` features each. */
export function encoderInput(modality: { readonly name: string; readonly spec: Modality }): { readonly size: number; readonly prepare: RecordNormaliser } {
  const { shape, records, encoder } = modality.spec;
  const rawSize = shape.reduce((product, length) => product * length, 1);
  const vocabulary = vocabularyOf(encoder);
  const normalise = vocabulary === undefined ? normaliser(rawSize, modality) : tokensOnly(normaliser(rawSize, modality), { tokens: rawSize, vocabulary });
  if (records.frontEnd === undefined) return { size: rawSize, prepare: normalise };
  const { size, apply } = createFrontEnd(records.frontEnd, shape);
  const record = new Float32Array(rawSize);
  return {
    size,
    prepare: (raw, target, offset) => {
      const present = normalise(raw, record, 0);
      if (present) apply(record, target, offset);
      return present;
    },
  };
}

/** Whatever the encoder looks up in its table is there: anything but a token number is refused here. */
function tokensOnly(normalise: RecordNormaliser, { tokens, vocabulary }: { readonly tokens: number; readonly vocabulary: number }): RecordNormaliser {
  return (raw, target, offset) => {
    const present = normalise(raw, target, offset);
    for (let i = 0; present && i < tokens; i += 1) {
      const token = target[offset + i]!;
      if (Number.isInteger(token) && token >= 0 && token < vocabulary) continue;
      throw new AntiphonError('data-invalid', `expected a token number, whole and from 0 (none) to ${vocabulary - 1}, in ${raw.place(i)}, found another; correct the file, or raise the vocabulary of the modality's encoder`);
    }
    return present;
  };
}

function normaliser(size: number, modality: { readonly name: string; readonly spec: Modality }): RecordNormaliser {
  const { transform, minimumMeasured } = modality.spec.records;
  const { clip, missing } = transform;
  const { name, spec: { shape } } = modality;
  const subtract = perFeature(transform, 'subtract', { size, shape, name });
  const divideBy = perFeature(transform, 'divideBy', { size, shape, name });
  if (divideBy.includes(0)) throw new AntiphonError('study-invalid', `transform.divideBy of modality "${modality.name}" holds a 0; a feature cannot be divided by it`);
  const raw = new Float64Array(size);
  return ({ value: valueOf, place }, target, offset) => {
    let measured = 0;
    for (let i = 0; i < size; i += 1) {
      const value = valueOf(i);
      if (value === Infinity || value === -Infinity) throw new AntiphonError('data-invalid', `expected a finite number in ${place(i)}, found an infinite one; correct the file`);
      raw[i] = value;
      if (!Number.isNaN(value)) measured += 1;
    }
    if (measured < minimumMeasured) return false;
    for (let i = 0; i < size; i += 1) {
      const value = raw[i]!;
      if (!Number.isNaN(value)) target[offset + i] = Math.min(clip, Math.max(-clip, (value - subtract[i]!) / divideBy[i]!));
      else if (missing !== undefined) target[offset + i] = missing;
      else throw new AntiphonError('data-invalid', `expected a number in ${place(i)}, found none (empty or NaN); correct the file, or give transform.missing of modality "${modality.name}"`);
    }
    return true;
  };
}

function perFeature(transform: TransformSpec, key: 'subtract' | 'divideBy', modality: { readonly size: number; readonly shape: readonly number[]; readonly name: string }): Float64Array {
  const constant = transform[key];
  const { size, shape, name } = modality;
  if (typeof constant === 'number') return new Float64Array(size).fill(constant);
  const channels = shape.length > 1 ? shape.at(-1) : undefined;
  if (constant.length === size || constant.length === channels) return Float64Array.from({ length: size }, (_, feature) => constant[feature % constant.length]!);
  const perChannel = channels === undefined || channels === 1 ? '' : `, or ${channels} (one per channel),`;
  throw new AntiphonError('study-invalid', `expected one number or ${size} (one per feature)${perChannel} in transform.${key} of modality "${name}", found ${constant.length}`);
}
