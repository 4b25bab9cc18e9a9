import { mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { AntiphonError } from '../errors.ts';

/**
 * Makes a folder and what it lies in. One level at a time: Node's own recursive mode never ends where a file system says ENOENT to a new folder (/proc). `mode` is that of the new
 * folders. Throws AntiphonError('storage-failed').
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  const missing: string[] = [];
  for (let at = resolve(path); !(await isFolder(at)); at = dirname(at)) missing.unshift(at);
  for (const folder of missing) {
    await mkdir(folder, { mode }).catch((error: unknown) => {
      // Somebody else was faster.
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return;
      throw new AntiphonError('storage-failed', `cannot create the folder ${folder}: ${error instanceof Error ? error.message : String(error)}; choose another place, or mend its permissions`, { cause: error });
    });
  }
}

async function isFolder(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined && !found.isDirectory()) throw new AntiphonError('storage-failed', `expected a folder at ${path}, found a file; choose another place`);
  return found !== undefined;
}
