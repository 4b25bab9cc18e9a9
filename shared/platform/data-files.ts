import { open, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { parse } from 'csv-parse/sync';
import type { CsvLine, DataFiles, Decoders, Networks, Unreadable } from '../data/files.ts';
import { AntiphonError } from '../errors.ts';
import { decodeDicom } from './decoders/dicom.ts';
import { decodeImage } from './decoders/image.ts';
import { decodeParquet } from './decoders/parquet.ts';
import { decodeWav } from './decoders/wav.ts';
import { createRowStore } from './row-store.ts';

const MIB = 2 ** 20;
const MAX_RECORD_BYTES = 512 * MIB;

export const nodeDecoders: Decoders = { image: decodeImage, wav: decodeWav, dicom: decodeDicom, parquet: decodeParquet };

/** Apart, so that TensorFlow.js is only loaded where a study has a frozen network. */
const nodeNetworks: Networks = {
  'tfjs-graph': async (bytes) => (await import('./frozen/tfjs-graph.ts')).openTfjsGraph(bytes),
  onnx: async (bytes) => (await import('./frozen/onnx.ts')).openOnnx(bytes),
};

/**
 * The data folder of a site or of the coordinator. Reads nothing outside it, whatever links it holds; the folder itself may be a link. Encoder inputs of more than
 * ANTIPHON_RECORDS_IN_MEMORY_MIB (1024) of a site go to a file in `cacheFolder`, an owner-only folder; omitted, in the system's temporary folder.
 */
export function openDataFolder(folder: string, { cacheFolder }: { readonly cacheFolder?: string } = {}): DataFiles {
  const openRoot = (): Promise<string> =>
    realpath(folder).catch((error: unknown) => {
      throw new AntiphonError('data-invalid', `expected the data folder ${resolve(folder)}, found none (${reason(error)}); give the folder with --data`, { cause: error });
    });
  /** The real path of a file that the study names. */
  const locate = async (path: string): Promise<string> => {
    const root = await openRoot();
    const wanted = resolve(root, path);
    refuseOutside(root, wanted, path);
    const found = await realpath(wanted).catch(async (error: unknown) => {
      const above = dirname(resolve(folder));
      const hint = (await stat(resolve(above, path)).catch(() => undefined))?.isFile() === true ? `--data may be one folder too deep: ${above} has it; else ` : '';
      throw new AntiphonError('data-invalid', `expected the data file ${wanted}, found none (${reason(error)}); ${hint}put it there, or name it right in the study's "records"`, { cause: error });
    });
    refuseOutside(root, found, path);
    return found;
  };
  return {
    parseCsv,
    decoders: nodeDecoders,
    networks: nodeNetworks,
    inMemoryBytes: inMemoryMib() * MIB,
    openRowStore: (size) => createRowStore(size, cacheFolder),
    readRecord: async (path) => readInside(await openRoot(), path),
    read: async (path) => {
      const found = await locate(path);
      return readFile(found).catch((error: unknown) => {
        throw notReadable(found, error);
      });
    },
    readStart: async (path, most) => {
      const found = await locate(path);
      try {
        const file = await open(found, 'r');
        try {
          const { buffer, bytesRead } = await file.read(new Uint8Array(most), 0, most, 0);
          return buffer.subarray(0, bytesRead);
        } finally {
          await file.close();
        }
      } catch (error) {
        throw notReadable(found, error);
      }
    },
  };
}

async function readInside(root: string, path: string): Promise<Uint8Array | Unreadable> {
  const found = path.includes('\0') ? undefined : await realpath(resolve(root, path)).catch(() => undefined);
  if (found === undefined) return { unreadable: 'there is no such file' };
  if (!isInside(root, found)) return { unreadable: 'it lies outside the data folder' };
  const status = await stat(found).catch(() => undefined);
  if (status?.isFile() !== true) return { unreadable: 'it is not a file' };
  if (status.size > MAX_RECORD_BYTES) return { unreadable: `it is larger than ${MAX_RECORD_BYTES / MIB} MiB` };
  return readFile(found).catch((error: unknown) => ({ unreadable: `it cannot be opened (${error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason'})` }));
}

function inMemoryMib(): number {
  const text = process.env['ANTIPHON_RECORDS_IN_MEMORY_MIB'] ?? '1024';
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw new AntiphonError('usage', `expected whole MiB in ANTIPHON_RECORDS_IN_MEMORY_MIB, found "${text}"`);
}

function isInside(root: string, path: string): boolean {
  return path.startsWith(root.endsWith(sep) ? root : root + sep);
}

function refuseOutside(root: string, path: string, named: string): void {
  if (isInside(root, path)) return;
  throw new AntiphonError('data-invalid', `the study names the file "${named}", which lies outside the data folder ${root}; only files inside it are read: copy the file there`);
}

function notReadable(path: string, error: unknown): AntiphonError {
  return new AntiphonError('data-invalid', `could not read the data file ${path} (${reason(error)}); check that it is a file, and its permissions`, { cause: error });
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
