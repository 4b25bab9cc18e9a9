import { appendFile, chmod, readFile, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { fromHex, toHex } from '../../shared/bytes.ts';
import { identityFromSeed, roundKeysFromSecret, type Identity } from '../../shared/crypto/keys.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { makeFolder } from '../../shared/platform/folder.ts';
import { enterFolder, type FreshFolder } from '../../shared/platform/fresh-folder.ts';
import type { IssuedInvite } from '../enrolment.ts';
import type { RoundKeyStore } from '../run.ts';

/** The files of a study's run, all in one folder. */
export const runFiles = (folder: string) => ({
  ledger: join(folder, 'ledger.jsonl'),
  /** The sites' cosignatures of its heads. */
  witnesses: join(folder, 'witnesses.jsonl'),
  metrics: join(folder, 'metrics.jsonl'),
  report: join(folder, 'report.html'),
  study: join(folder, 'study.yaml'),
  checkpoints: join(folder, 'checkpoints'),
  /** Owner-only: the coordinator's key, issued invites (hashes), the open round's key. */
  key: join(folder, 'private', 'coordinator.key'),
  invites: join(folder, 'private', 'invites.jsonl'),
  roundKey: join(folder, 'private', 'round.json'),
  /** Where a running coordinator listens. */
  address: join(folder, 'coordinator.json'),
});

/** Beside the coordinator's own: what `simulate` keeps in the same folder. */
const SIMULATED = ['sites', 'data'];

/**
 * Enters the folder of a run, which is made, empty, or an earlier run's: what else lies in a folder is somebody's own, and nothing of it is written over (AntiphonError('usage')). The first
 * thing that a run makes is its private folder, so that one which crashed right then is known again. `undo` as `enterFolder` has it.
 */
export async function enterRunFolder(folder: string): Promise<FreshFolder> {
  const found: readonly string[] = await readdir(folder).catch(() => []);
  const { ledger, key, ...others } = runFiles('');
  const own = [ledger, ...Object.values(others), ...SIMULATED];
  const isRun = found.includes(dirname(key)) && (found.includes(ledger) || found.every((name) => isHidden(name) || own.some((file) => name === file || name.startsWith(`${file}.`) || file.startsWith(`${name}/`))));
  const strange = found.filter((name) => !isHidden(name));
  if (!isRun && strange.length > 0) {
    const shown = `${strange.slice(0, 3).join(', ')}${strange.length > 3 ? ` and ${strange.length - 3} more` : ''}`;
    throw new AntiphonError('usage', `expected an empty folder or a run's in --out, found ${shown} in ${folder}, which holds no run; nothing of it was touched: choose another with --out`);
  }
  const fresh = await enterFolder(folder);
  try {
    await prepareRunFolder(folder);
  } catch (error) {
    await fresh.undo();
    throw error;
  }
  return fresh;
}

function isHidden(name: string): boolean {
  return name.startsWith('.');
}

export async function prepareRunFolder(folder: string): Promise<void> {
  try {
    await makeFolder(folder);
    await makeFolder(join(folder, 'private'), 0o700);
    await chmod(join(folder, 'private'), 0o700);
  } catch (error) {
    if (error instanceof AntiphonError) throw error;
    throw new AntiphonError('storage-failed', `cannot create the folder ${folder}: ${error instanceof Error ? error.message : String(error)}; choose another with --out`, { cause: error });
  }
}

/** The coordinator's identity: made once per run folder. */
export async function coordinatorIdentity(folder: string, generate: () => Identity): Promise<Identity> {
  const path = runFiles(folder).key;
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text !== undefined) return identityFromSeed(fromHex(text.trim(), 32));
  const identity = generate();
  await writeFileAtomic(path, `${toHex(identity.secretKey)}\n`, 0o600);
  return identity;
}

const inviteSchema = z.strictObject({ id: z.string(), site: z.string(), expiresAt: z.int() });

/** Read anew at every enrolment: `antiphon coordinator invite` appends while the coordinator runs. */
export async function readInvites(folder: string): Promise<readonly IssuedInvite[]> {
  const text = await readFile(runFiles(folder).invites, 'utf8').catch(() => '');
  return text.split('\n').filter((line) => line !== '').map((line) => inviteSchema.parse(JSON.parse(line)));
}

export async function recordInvite(folder: string, invite: IssuedInvite): Promise<void> {
  await appendFile(runFiles(folder).invites, `${JSON.stringify(invite)}\n`, { mode: 0o600 });
}

const roundKeySchema = z.strictObject({ round: z.int(), secretKey: z.string() });

export function roundKeyFile(folder: string): RoundKeyStore {
  const path = runFiles(folder).roundKey;
  return {
    load: async (round) => {
      const text = await readFile(path, 'utf8').catch(() => undefined);
      if (text === undefined) return undefined;
      const stored = roundKeySchema.parse(JSON.parse(text));
      return stored.round === round ? roundKeysFromSecret(fromHex(stored.secretKey, 32)) : undefined;
    },
    save: async (round, { secretKey }) => {
      await writeFileAtomic(path, JSON.stringify({ round, secretKey: toHex(secretKey) }), 0o600);
    },
  };
}

const addressSchema = z.object({ url: z.string(), study: z.string(), coordinatorKey: z.string(), pid: z.int() });
export type CoordinatorAddress = z.output<typeof addressSchema>;

export async function readAddress(folder: string): Promise<CoordinatorAddress> {
  const path = runFiles(folder).address;
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new AntiphonError('enrolment-refused', `no coordinator has been started in ${folder} (no ${path}); run \`npx antiphon coordinator start --study FILE --out ${folder}\` first`, { cause: error });
  });
  return addressSchema.parse(JSON.parse(text));
}

export async function writeAddress(folder: string, address: CoordinatorAddress): Promise<void> {
  await writeFileAtomic(runFiles(folder).address, `${JSON.stringify(address, null, 2)}\n`);
}
