import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RowStoreWriter } from '../data/features.ts';
import { AntiphonError } from '../errors.ts';

/** Bytes that are written at once. */
const BUFFER_BYTES = 2 ** 22;

/**
 * SENSITIVE. A file of float32 rows, in this machine's byte order: it lives no longer than this process. Only its owner can read it; where the system allows, its name is
 * removed as soon as it is open, so that nobody else can open it and its space is free however the process ends. Positioned, synchronous reads: the trainer needs a row now.
 * `folder` must be owner-only; omitted, a new one in the system's temporary folder. Throws AntiphonError('storage-failed').
 */
export function createRowStore(size: number, folder?: string): RowStoreWriter {
  const attempt = <T>(what: string, work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw new AntiphonError('storage-failed', `could not ${what} the records cache in ${home} (${error instanceof Error ? error.message : String(error)}); free space there, or let more records stay in memory with ANTIPHON_RECORDS_IN_MEMORY_MIB`, { cause: error });
    }
  };
  let home = folder ?? tmpdir();
  if (folder === undefined) home = attempt('create a folder for', () => mkdtempSync(join(tmpdir(), 'antiphon-records-')));
  const path = join(home, 'records.cache');
  const remove = (): void => {
    rmSync(folder === undefined ? home : path, { recursive: true, force: true });
  };
  const file = attempt('create', () => {
    // What a process that could not remove its own has left.
    rmSync(path, { force: true });
    return openSync(path, 'wx+', 0o600);
  });
  let named = true;
  try {
    remove();
    named = false;
  } catch {
    // This system keeps the names of open files: removed when it is closed.
  }

  const rowBytes = 4 * size;
  const buffer = new Float32Array(size * Math.max(1, Math.floor(BUFFER_BYTES / rowBytes)));
  let [buffered, written] = [0, 0];
  const flush = (): void => {
    const bytes = new Uint8Array(buffer.buffer, 0, 4 * buffered);
    for (let done = 0; done < bytes.length; ) done += attempt('write to', () => writeSync(file, bytes, done, bytes.length - done, written + done));
    written += bytes.length;
    buffered = 0;
  };
  return {
    append: (row) => {
      buffer.set(row, buffered);
      buffered += size;
      if (buffered === buffer.length) flush();
    },
    finish: () => {
      flush();
      let open = true;
      return {
        copy: (record, target, offset) => {
          const bytes = new Uint8Array(target.buffer, target.byteOffset + 4 * offset, rowBytes);
          for (let done = 0; done < rowBytes; ) {
            const read = attempt('read', () => readSync(file, bytes, done, rowBytes - done, record * rowBytes + done));
            if (read === 0) throw new AntiphonError('storage-failed', `the records cache in ${home} ends before record ${record}; somebody has cut it: start the site again`);
            done += read;
          }
        },
        close: () => {
          if (!open) return;
          open = false;
          closeSync(file);
          if (named) remove();
        },
      };
    },
  };
}
