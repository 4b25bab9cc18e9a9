import { readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { makeFolder } from './folder.ts';

export interface FreshFolder {
  /** Removes what has come into the folder since, and the folders that were made for it; what was there before stays. */
  readonly undo: () => Promise<void>;
}

/** Makes a folder (AntiphonError('storage-failed')) for a start that may fail, and then is to leave nothing. */
export async function enterFolder(folder: string, mode?: number): Promise<FreshFolder> {
  const before = await entriesOf(folder);
  const made: string[] = [];
  for (let at = resolve(folder); (await entriesOf(at)) === undefined; at = dirname(at)) made.push(at);
  await makeFolder(folder, mode);
  return {
    undo: async () => {
      const added = ((await entriesOf(folder)) ?? []).filter((name) => before?.includes(name) !== true);
      for (const name of added) await rm(join(folder, name), { recursive: true, force: true });
      // The innermost first; one that somebody else has filled meanwhile stays.
      for (const path of made) await rmdir(path).catch(() => undefined);
    },
  };
}

/** Undefined where there is no folder, or none that can be read. */
function entriesOf(folder: string): Promise<readonly string[] | undefined> {
  return readdir(folder).catch(() => undefined);
}
