import { open, readFile, type FileHandle } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { AntiphonError } from '../shared/errors.ts';
import { parseJson } from '../shared/json.ts';
import { writeFileAtomic } from '../shared/platform/atomic-file.ts';
import { makeFolder } from '../shared/platform/folder.ts';
import { withLock } from '../shared/platform/lock.ts';
import { limitsSchema, spendEntrySchema, type Limits, type SpendEntry } from './limits.ts';

/**
 * What an institution keeps of one data set, outside of any study's folder: its limits and its spend log. Neither a restart nor a new enrolment, under whatever
 * name, forgets what its patients have spent.
 */
export interface Vault {
  readonly limits: () => Promise<Limits>;
  readonly entries: () => Promise<readonly SpendEntry[]>;
  /**
   * Durable when it resolves. Throws AntiphonError('storage-failed'): then nothing may be trained or sent. There is one release of a site for a reserve: a
   * second is refused, whichever process asks.
   */
  readonly append: (entry: SpendEntry) => Promise<void>;
  /** Nobody else decides on this data set meanwhile: what is read inside is still so when it is written. */
  readonly exclusively: <T>(decide: (inside: Pick<Vault, 'limits' | 'entries' | 'append'>) => Promise<T>) => Promise<T>;
}

export function defaultVault(): string {
  return process.env['ANTIPHON_VAULT'] ?? join(homedir(), '.antiphon');
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** `changeLimits` sets those that are given and keeps the others. */
export function openVault(folder: string, dataset: string): Vault & { readonly changeLimits: (given: Limits) => Promise<void> } {
  if (!NAME.test(dataset)) throw new AntiphonError('usage', `expected letters, digits, ".", "_" and "-" in the name of the data set, found "${dataset}"`);
  const limitsPath = join(folder, `${dataset}.limits.json`);
  const logPath = join(folder, `${dataset}.jsonl`);
  const inside: Pick<Vault, 'limits' | 'entries' | 'append'> = {
    limits: async () => {
      const text = await readExisting(limitsPath);
      if (text === undefined) return {};
      const parsed = limitsSchema.safeParse(parseJson(text));
      if (!parsed.success) throw damaged(limitsPath, parsed.error.issues[0]?.message ?? '');
      return parsed.data;
    },
    entries: async () => {
      const text = (await readExisting(logPath)) ?? '';
      // A last line without its newline was never acknowledged; the next append begins on a line of its own.
      return text.split('\n').slice(0, -1).filter((line) => line !== '').flatMap((line, i) => {
        const parsed = spendEntrySchema.safeParse(parseJson(line));
        if (parsed.success) return [parsed.data];
        // Torn by a crash and closed by the append after it.
        if (!line.endsWith('}')) return [];
        throw damaged(logPath, `line ${i + 1} is not an entry`);
      });
    },
    append: async (entry) => {
      if (entry.type === 'release' && (await inside.entries()).some((other) => other.type === 'release' && other.reserve === entry.reserve && other.site === entry.site)) {
        throw new AntiphonError('storage-failed', `${logPath} has a release of "${entry.site}" for round ${entry.round} already: another process of this site runs with a copy of its folder; stop one of them`);
      }
      try {
        const file = await open(logPath, 'a+', 0o600);
        try {
          await file.appendFile(`${(await endsWithLine(file)) ? '' : '\n'}${JSON.stringify(entry)}\n`);
          await file.datasync();
        } finally {
          await file.close();
        }
      } catch (error) {
        throw new AntiphonError('storage-failed', `could not append to the spend log ${logPath}: ${error instanceof Error ? error.message : String(error)}; nothing was trained or sent for it: free space or fix the permissions, then start again`, { cause: error });
      }
    },
  };
  const exclusively: Vault['exclusively'] = async (decide) => {
    await makeFolder(folder, 0o700);
    return withLock(`${logPath}.lock`, () => decide(inside));
  };
  return {
    ...inside,
    append: (entry) => exclusively(({ append }) => append(entry)),
    exclusively,
    changeLimits: (given) => exclusively(async () => {
      await writeFileAtomic(limitsPath, `${JSON.stringify(limitsSchema.parse({ ...(await inside.limits()), ...given }), null, 2)}\n`, 0o600);
    }),
  };
}

async function endsWithLine(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  if (size === 0) return true;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] === 0x0a;
}

async function readExisting(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new AntiphonError('storage-failed', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}; without it nobody knows what was spent, so nothing is trained`, { cause: error });
  }
}

function damaged(path: string, what: string): AntiphonError {
  return new AntiphonError('storage-failed', `${path} is damaged (${what}); restore it from a copy: what was spent must not be forgotten`);
}
