import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AntiphonError } from '../shared/errors.ts';
import { isCutShort, parseJson } from '../shared/json.ts';
import { syncFolder } from '../shared/platform/append-durably.ts';
import { spendEntrySchema, type SpendEntry } from './limits.ts';

/** What was spent on one data set, entry by entry. */
export interface SpendLog {
  /** Throws AntiphonError('storage-failed') where the log cannot be read, or holds what is no entry. */
  readonly entries: () => Promise<readonly SpendEntry[]>;
  /** Durable when it resolves. Throws AntiphonError('storage-failed'). */
  readonly append: (entry: SpendEntry) => Promise<void>;
}

/**
 * A last line without its newline was never acknowledged; the next append begins on a line of its own. The file is read again only where somebody else has
 * written it since: a long study reads its log once.
 */
export function openSpendLog(path: string): SpendLog {
  let known: { readonly stamp: string; readonly entries: readonly SpendEntry[] } = { stamp: '', entries: [] };
  return {
    entries: async () => {
      const read = await ifThere(path, async (file) => {
        const stamp = await stampOf(file);
        return stamp === known.stamp ? known : { stamp, entries: parseLog(await file.readFile('utf8'), path) };
      });
      if (read === undefined) return [];
      known = read;
      return read.entries;
    },
    append: async (entry) => {
      try {
        const file = await open(path, 'a+', 0o600);
        try {
          const { stamp, entries } = known;
          const isCurrent = (await stampOf(file)) === stamp;
          const isNew = (await file.stat()).size === 0;
          await file.appendFile(`${(await endsWithLine(file)) ? '' : '\n'}${JSON.stringify(entry)}\n`);
          await file.datasync();
          if (isNew) await syncFolder(dirname(path));
          if (isCurrent) known = { stamp: await stampOf(file), entries: [...entries, entry] };
        } finally {
          await file.close();
        }
      } catch (error) {
        throw new AntiphonError('storage-failed', `could not append to the spend log ${path}: ${error instanceof Error ? error.message : String(error)}; nothing was trained or sent for it: free space or fix the permissions, then start again`, { cause: error });
      }
    },
  };
}

function parseLog(text: string, path: string): readonly SpendEntry[] {
  return text.split('\n').slice(0, -1).filter((line) => line !== '').flatMap((line, i) => {
    const parsed = spendEntrySchema.safeParse(parseJson(line));
    if (parsed.success) return [parsed.data];
    // Torn by a crash and closed by the append after it.
    if (isCutShort(line)) return [];
    throw damaged(path, `line ${i + 1} is not an entry`);
  });
}

/** Which file it is, and in what state: another one after every write, whoever made it. */
async function stampOf(file: FileHandle): Promise<string> {
  const { dev, ino, size, mtimeNs } = await file.stat({ bigint: true });
  return [dev, ino, size, mtimeNs].join(':');
}

async function ifThere<T>(path: string, read: (file: FileHandle) => Promise<T>): Promise<T | undefined> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw unreadable(path, error);
  });
  try {
    return file === undefined ? undefined : await read(file);
  } catch (error) {
    throw error instanceof AntiphonError ? error : unreadable(path, error);
  } finally {
    await file?.close();
  }
}

async function endsWithLine(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  if (size === 0) return true;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] === 0x0a;
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

export function unreadable(path: string, error: unknown): AntiphonError {
  return new AntiphonError('storage-failed', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}; without it nobody knows what was spent, so nothing is trained`, { cause: error });
}

export function damaged(path: string, what: string): AntiphonError {
  return new AntiphonError('storage-failed', `${path} is damaged (${what}); restore it from a copy: what was spent must not be forgotten`);
}
