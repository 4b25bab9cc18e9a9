import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { AntiphonError } from '../errors.ts';

/** How to give a lock back. */
export type Unlock = () => Promise<void>;

/**
 * Takes a lock file for this process. A lock whose process is gone is taken over. `busy` makes the message for one that lives.
 * Throws AntiphonError('storage-failed').
 */
export async function takeLock(path: string, busy: (pid: number) => string): Promise<Unlock> {
  const outcome = await tryLock(path);
  if (typeof outcome === 'function') return outcome;
  throw new AntiphonError('storage-failed', busy(outcome.heldBy));
}

const WAIT_MS = 20_000;
const POLL_MS = 15;

/** Runs `work` while no other process, and nobody else in this one, runs work under the same lock; waits for its turn. */
export function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const turn = (turns.get(path) ?? Promise.resolve()).then(async () => {
    const unlock = await waitForLock(path);
    try {
      return await work();
    } finally {
      await unlock();
    }
  });
  const settled = turn.then(() => undefined, () => undefined);
  turns.set(path, settled);
  void settled.then(() => {
    if (turns.get(path) === settled) turns.delete(path);
  });
  return turn;
}

/** Who waits in this process, by path: a lock file knows processes only. */
const turns = new Map<string, Promise<void>>();

async function waitForLock(path: string): Promise<Unlock> {
  const until = Date.now() + WAIT_MS;
  for (;;) {
    const outcome = await tryLock(path);
    if (typeof outcome === 'function') return outcome;
    if (Date.now() > until) throw new AntiphonError('storage-failed', `process ${outcome.heldBy} has held ${path} for ${WAIT_MS / 1000} s; stop it, or remove the file if it is none of ours`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Locks that this process has or is about to take. */
const held = new Set<string>();
/** A lock file without its process number is being written, unless it is older than this. */
const WRITTEN_WITHIN_MS = 2000;

async function tryLock(path: string): Promise<Unlock | { readonly heldBy: number }> {
  for (;;) {
    if (held.has(path)) return { heldBy: process.pid };
    // Before it is written: who reads this process's number meanwhile is not to take it for an earlier process's.
    held.add(path);
    try {
      await writeFile(path, `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
      return async () => {
        held.delete(path);
        await rm(path, { force: true });
      };
    } catch (error) {
      held.delete(path);
      if (!hasCode(error, 'EEXIST')) throw new AntiphonError('storage-failed', `cannot create ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    const holder = await holderOf(path);
    if (holder === undefined) continue;
    if (holder.isAlive) return { heldBy: holder.pid };
    await takeAway(path, holder.text);
  }
}

/** Undefined: given back meanwhile. */
async function holderOf(path: string): Promise<{ readonly pid: number; readonly text: string; readonly isAlive: boolean } | undefined> {
  try {
    const text = await readFile(path, 'utf8');
    const pid = Number(text.trim());
    const isYoung = text === '' && Date.now() - (await stat(path)).mtimeMs < WRITTEN_WITHIN_MS;
    return { pid, text, isAlive: isYoung || isAlive(pid) };
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw new AntiphonError('storage-failed', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Of a process that is gone; one at a time, and only if it is still that one's: another may have taken it over meanwhile. */
async function takeAway(path: string, text: string): Promise<void> {
  const guard = `${path}.taken-over`;
  try {
    await writeFile(guard, '', { flag: 'wx' });
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    const age = await stat(guard).then(({ mtimeMs }) => Date.now() - mtimeMs, () => 0);
    if (age > WRITTEN_WITHIN_MS) await rm(guard, { force: true });
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    return;
  }
  try {
    const found = await readFile(path, 'utf8').catch(() => undefined);
    if (found === text) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** Another process than this one: a lock of this process's number that it does not know of is an earlier process's. */
function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
}
