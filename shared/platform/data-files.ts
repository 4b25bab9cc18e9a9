import { readFile, realpath } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { parse } from 'csv-parse/sync';
import type { CsvLine, DataFiles } from '../data/files.ts';
import { AntiphonError } from '../errors.ts';

/** The data folder of a site or of the coordinator. Reads nothing outside it, whatever links it holds; the folder itself may be a link. */
export function openDataFolder(folder: string): DataFiles {
  return {
    parseCsv,
    read: async (path) => {
      const root = await realpath(folder).catch((error: unknown) => {
        throw new AntiphonError('data-invalid', `expected the data folder ${resolve(folder)}, found none (${reason(error)}); give the folder with --data`, { cause: error });
      });
      const wanted = resolve(root, path);
      refuseOutside(root, wanted, path);
      const found = await realpath(wanted).catch((error: unknown) => {
        throw new AntiphonError('data-invalid', `expected the data file ${wanted}, found none (${reason(error)}); put it there, or name it right in the study's "records"`, { cause: error });
      });
      refuseOutside(root, found, path);
      return readFile(found).catch((error: unknown) => {
        throw new AntiphonError('data-invalid', `could not read the data file ${found} (${reason(error)}); check that it is a file, and its permissions`, { cause: error });
      });
    },
  };
}

function refuseOutside(root: string, path: string, named: string): void {
  const inside = root.endsWith(sep) ? root : root + sep;
  if (path.startsWith(inside)) return;
  throw new AntiphonError('data-invalid', `the study names the file "${named}", which lies outside the data folder ${root}; only files inside it are read: copy the file there`);
}

function reason(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : String(error);
}

/** Lines may be ragged: the table reader says which, in its own words. */
function parseCsv(text: string): readonly CsvLine[] {
  const lines: CsvLine[] = [];
  parse(text, {
    bom: true,
    trim: true,
    relax_column_count: true,
    on_record: (cells: string[], { lines: line }) => {
      lines.push({ cells, line });
      return null;
    },
  });
  return lines;
}
