import didYouMean from 'didyoumean2';
import { fromUtf8 } from '../bytes.ts';
import { AntiphonError } from '../errors.ts';
import type { CsvLine, DataFiles, ParquetColumns } from './files.ts';

/** A CSV file with a header, or a Parquet file; every row has as many cells as there are columns. */
export interface Table {
  readonly path: string;
  readonly columns: readonly string[];
  readonly rows: readonly CsvLine[];
}

export async function readTable(files: DataFiles, path: string): Promise<Table> {
  const bytes = await files.read(path);
  return isParquet(path) ? tableOf(await files.decoders.parquet(bytes, path), path) : parseTable({ bytes, path, parseCsv: files.parseCsv });
}

/** A header longer than this is none. */
const MAX_HEADER_BYTES = 1 << 20;

/** The table's columns, without its rows: the beginning of a CSV file, or what a Parquet file says of itself. Throws as `readTable` does. */
export async function readHeader(files: DataFiles, path: string): Promise<Table> {
  if (isParquet(path)) return tableOf({ ...(await files.decoders.parquet(await files.read(path), path, [])), rows: 0 }, path);
  const start = await files.readStart(path, MAX_HEADER_BYTES);
  return parseTable({ bytes: start.subarray(0, endOfLine(start)), path, parseCsv: files.parseCsv });
}

/** Of the first line; a newline between quotes ends none. */
function endOfLine(bytes: Uint8Array): number {
  let quoted = false;
  for (let i = 0; i < bytes.length; i += 1) {
    if (bytes[i] === 0x22) quoted = !quoted;
    if (bytes[i] === 0x0a && !quoted) return i;
  }
  return bytes.length;
}

export function isParquet(path: string): boolean {
  return path.endsWith('.parquet');
}

/** Cells as a CSV file would hold them: nothing for null, `true` and `false`. The line of a record is its row, from 1. */
function tableOf({ rows, names, columns }: ParquetColumns, path: string): Table {
  const cells = names.map((name) => columns.get(name) ?? []);
  return { path, columns: names, rows: Array.from({ length: rows }, (_, row) => ({ cells: cells.map((column) => String(column[row] ?? '')), line: row + 1 })) };
}

/** Throws AntiphonError('data-invalid') on bytes that are not UTF-8, broken quoting, a missing or repeated header, a ragged line. Never quotes a cell. */
export function parseTable(input: { readonly bytes: Uint8Array; readonly path: string; readonly parseCsv: DataFiles['parseCsv'] }): Table {
  const { bytes, path, parseCsv } = input;
  const lines = linesOf(path, () => parseCsv(fromUtf8(bytes)));
  const [header, ...rows] = lines;
  if (header === undefined) throw new AntiphonError('data-invalid', `expected a header line in ${path}, found an empty file`);
  const columns = header.cells;
  const repeated = columns.find((name, i) => columns.indexOf(name) !== i);
  if (repeated !== undefined) throw new AntiphonError('data-invalid', `${path}:${header.line} names the column "${repeated}" twice; give every column its own name`);
  const ragged = rows.find(({ cells }) => cells.length !== columns.length);
  if (ragged !== undefined) {
    throw new AntiphonError('data-invalid', `expected ${columns.length} cells in ${path}:${ragged.line}, as in the header, found ${ragged.cells.length}; quote cells that hold commas`);
  }
  return { path, columns, rows };
}

function linesOf(path: string, parse: () => readonly CsvLine[]): readonly CsvLine[] {
  try {
    return parse();
  } catch (error) {
    // The parser's own words would quote the file, and the file is private.
    const line = typeof error === 'object' && error !== null && 'lines' in error && typeof error.lines === 'number' ? ` (at line ${error.lines})` : '';
    throw new AntiphonError('data-invalid', `${path} is not CSV in UTF-8${line}: check its quotes, its commas and its encoding`);
  }
}

/** The position of a column; `purpose` says who asks for it (a key of the study file). */
export function columnIndex(table: Table, name: string, purpose: string): number {
  const index = table.columns.indexOf(name);
  return index >= 0 ? index : missingColumn(table, name, purpose);
}

export function missingColumn({ path, columns }: Pick<Table, 'path' | 'columns'>, name: string, purpose: string): never {
  const [nearest] = [didYouMean(name, [...columns])].flat();
  const hint = typeof nearest === 'string' ? `did you mean "${nearest}"?` : `it has: ${columns.join(', ')}`;
  throw new AntiphonError('data-invalid', `expected the column "${name}" (${purpose}) in ${path}, found none; ${hint}`);
}
