import { utf8 } from '../../shared/bytes.ts';
import type { DataFiles } from '../../shared/data/files.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { AntiphonError } from '../../shared/errors.ts';

/** A data folder in memory, read by the same parser as a real one. */
export function memoryFiles(content: Readonly<Record<string, string | Uint8Array>>): DataFiles {
  const read = (path: string): Promise<Uint8Array> => {
    const found = content[path];
    if (found === undefined) return Promise.reject(new AntiphonError('data-invalid', `no ${path}`));
    return Promise.resolve(typeof found === 'string' ? utf8(found) : found);
  };
  return {
    ...openDataFolder('.'),
    readRecord: (path) => {
      const found = content[path];
      return Promise.resolve(found === undefined ? { unreadable: 'there is no such file' } : typeof found === 'string' ? utf8(found) : found);
    },
    read,
    readStart: async (path, most) => (await read(path)).subarray(0, most),
  };
}
