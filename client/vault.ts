import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { AntiphonError } from '../shared/errors.ts';
import { parseJson } from '../shared/json.ts';
import { writeFileAtomic } from '../shared/platform/atomic-file.ts';
import { makeFolder } from '../shared/platform/folder.ts';
import { withLock } from '../shared/platform/lock.ts';
import { limitsSchema, type Limits, type SpendEntry } from './limits.ts';
import { damaged, isMissing, openSpendLog, unreadable } from './spend-log.ts';

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
  const log = openSpendLog(logPath);
  const inside: Pick<Vault, 'limits' | 'entries' | 'append'> = {
    limits: async () => {
      const text = await readExisting(limitsPath);
      if (text === undefined) return {};
      const parsed = limitsSchema.safeParse(parseJson(text));
      if (!parsed.success) throw damaged(limitsPath, parsed.error.issues[0]?.message ?? '');
      return parsed.data;
    },
    entries: log.entries,
    append: async (entry) => {
      if (entry.type === 'release' && (await inside.entries()).some((other) => other.type === 'release' && other.reserve === entry.reserve && other.site === entry.site)) {
        throw new AntiphonError('storage-failed', `${logPath} has a release of "${entry.site}" for round ${entry.round} already: another process of this site runs with a copy of its folder; stop one of them`);
      }
      await log.append(entry);
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

async function readExisting(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw unreadable(path, error);
  }
}
