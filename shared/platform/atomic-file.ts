import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AntiphonError } from '../errors.ts';

/**
 * Writes a whole file or nothing: temporary file in the same folder, fsync, rename, fsync of the folder. `mode` 0o600 for
 * secrets. A full disk leaves the old file as it was: AntiphonError('storage-failed').
 */
export async function writeFileAtomic(path: string, content: Uint8Array | string, mode = 0o644): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const folder = await open(dirname(path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    await rm(temporary, { force: true });
    throw new AntiphonError('storage-failed', `could not write ${path}: ${error instanceof Error ? error.message : String(error)}; free space or fix the permissions, then start again`, { cause: error });
  }
}
