import { mkdir, open, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { toHex, utf8 } from '../../shared/bytes.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { parseJson } from '../../shared/json.ts';
import { canonicalJson } from '../../shared/ledger/canonical.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { makeFolder } from '../../shared/platform/folder.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { SOFTWARE } from '../../shared/protocol/software.ts';
import { studyHash } from '../../shared/study/hash.ts';
import type { Cell } from './grid.ts';
import { formatScores, scoresFromUnknown, type RunScores } from './scores.ts';

/** What a result is a result of; any of it changed, and the cell is run anew. */
export interface CellIdentity {
  readonly study: string;
  readonly data: string;
  readonly seed: number;
  readonly software: string;
}

export function identityOf({ study, seed }: Pick<Cell, 'study' | 'seed'>, data: string): CellIdentity {
  return { study: studyHash(study, primitives), data, seed, software: SOFTWARE };
}

/** The cell's folder: 20 hexadecimal digits. */
export function cellHash(identity: CellIdentity): string {
  return toHex(primitives.sha256(utf8(canonicalJson(identity)))).slice(0, 20);
}

const epsilon = z.number().min(0).nullable();
const resultSchema = z.strictObject({
  antiphonCell: z.literal(1),
  name: z.string(),
  identity: z.strictObject({ study: z.string(), data: z.string(), seed: z.int(), software: z.string() }),
  /** Name of the run's folder beside this file. */
  run: z.string().regex(/^run-\d+$/),
  reason: z.enum(['completed', 'budget-exhausted']),
  rounds: z.int().positive(),
  /** Null without privacy. `epsilon` is the binding accountant's. */
  spent: z.strictObject({ epsilon, pld: epsilon, rdp: epsilon, delta: z.number() }),
  seconds: z.number().min(0),
  /** As `simulate` itself has said, by the study's own fusion. */
  accuracy: z.record(z.string(), z.number()),
});
export type CellResult = z.output<typeof resultSchema>;

const rate = z.number().min(0).max(1);
/** The last line of `audit --membership --json`, as far as it is used. */
const membershipSchema = z.object({
  audit: z.literal('membership'),
  references: z.int(),
  rows: z.array(z.object({ on: z.string(), attack: z.string(), members: z.int().positive(), nonMembers: z.int().positive(), auc: rate, chance: z.number(), points: z.array(z.object({ truePositives: z.int(), rate })) })),
});
export type CellMembership = z.output<typeof membershipSchema>;

export const cellFiles = (folder: string) => ({ result: join(folder, 'result.json'), scores: join(folder, 'scores.json'), membership: join(folder, 'membership.json') });

/** The cell's result; undefined where it has none, a damaged one, or one of something else: then it has to be run. */
export async function readResult(folder: string, identity: CellIdentity): Promise<CellResult | undefined> {
  const result = resultSchema.safeParse(await readJson(cellFiles(folder).result));
  return result.success && canonicalJson(result.data.identity) === canonicalJson(identity) ? result.data : undefined;
}

/** Undefined where they are damaged, or another version's: the run has to be scored again. */
export async function readScores(folder: string): Promise<RunScores | undefined> {
  return scoresFromUnknown(await readJson(cellFiles(folder).scores));
}

/** Commit point of a cell: `result.json`, last. A retrained cell has lost its old one by then (`claimAttempt`). */
export async function writeResult(folder: string, { result, scores }: { readonly result: CellResult; readonly scores: RunScores }): Promise<void> {
  const files = cellFiles(folder);
  await writeFileAtomic(files.scores, formatScores(scores));
  await writeFileAtomic(files.result, `${JSON.stringify(resultSchema.parse(result), null, 1)}\n`);
}

export function membershipFromUnknown(value: unknown): CellMembership | undefined {
  const parsed = membershipSchema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

export async function readMembership(folder: string, references: number): Promise<CellMembership | undefined> {
  const found = membershipFromUnknown(await readJson(cellFiles(folder).membership));
  return found?.references === references ? found : undefined;
}

/**
 * A fresh folder for one attempt; a cell that was cut off never goes on, so that no number comes from a run that lost a round. Result, scores and attack of earlier attempts are gone, durably,
 * when this resolves: none of them ever stands beside one of the new attempt.
 */
export async function claimAttempt(folder: string): Promise<string> {
  await makeFolder(folder);
  await discardFindings(folder);
  for (let attempt = 1; attempt < 10_000; attempt += 1) {
    const name = `run-${attempt}`;
    const made = await mkdir(join(folder, name)).then(() => true, (error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
      throw new AntiphonError('storage-failed', `cannot create ${join(folder, name)}: ${error instanceof Error ? error.message : String(error)}; choose another --out`, { cause: error });
    });
    if (made) return name;
  }
  throw new AntiphonError('storage-failed', `${folder} holds ten thousand attempts; remove it`);
}

async function discardFindings(folder: string): Promise<void> {
  try {
    for (const path of Object.values(cellFiles(folder))) await rm(path, { force: true });
    const listing = await open(folder, 'r');
    await listing.sync().finally(() => listing.close());
  } catch (error) {
    throw new AntiphonError('storage-failed', `cannot remove the earlier result in ${folder}: ${error instanceof Error ? error.message : String(error)}; mend its permissions, or choose another --out`, { cause: error });
  }
}

/** Earlier attempts. One whose processes are still ending may outlive this; the next start removes it. */
export async function removeOtherAttempts(folder: string, kept: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (/^run-\d+$/.test(name) && name !== kept) await rm(join(folder, name), { recursive: true, force: true, maxRetries: 3 }).catch(() => undefined);
  }
}

async function readJson(path: string): Promise<unknown> {
  return parseJson(await readFile(path, 'utf8').catch(() => ''));
}
