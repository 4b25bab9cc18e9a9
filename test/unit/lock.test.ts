import { fork } from 'node:child_process';
import { existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { openVault } from '../../client/vault.ts';
import { takeLock, withLock } from '../../shared/platform/lock.ts';
import { temporaryFolder } from '../support/processes.ts';

const path = (): string => join(temporaryFolder(), 'a.lock');
const busy = (pid: number): string => `held by ${pid}`;

it('a lock is refused while it is held, in this process or another, and free afterwards', async () => {
  const file = path();
  const unlock = await takeLock(file, busy);
  await expect(takeLock(file, busy)).rejects.toThrow(`held by ${process.pid}`);
  await unlock();
  expect(existsSync(file)).toBe(false);
  const other = fork('-e', ['setInterval(() => undefined, 1000)'], { execArgv: ['-e', 'setInterval(() => undefined, 1000)'] });
  writeFileSync(file, `${other.pid}\n`);
  await expect(takeLock(file, busy)).rejects.toMatchObject({ code: 'storage-failed', message: `held by ${other.pid}` });
  const gone = new Promise((resolve) => other.once('exit', resolve));
  other.kill('SIGKILL');
  await gone;
  await (await takeLock(file, busy))();
});

it('a lock of a process that is gone, or that was never written, is taken over by one of those who find it', async () => {
  const file = path();
  writeFileSync(file, '999999999\n');
  const outcomes = await Promise.allSettled([takeLock(file, busy), takeLock(file, busy), takeLock(file, busy)]);
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect(readdirSync(dirname(file))).toEqual(['a.lock']);
  const empty = path();
  writeFileSync(empty, '');
  await expect(takeLock(empty, busy)).rejects.toThrow('held by 0');
  utimesSync(empty, new Date(0), new Date(0));
  await (await takeLock(empty, busy))();
});

it('work under one lock is done one after the other, a failure of one does not stop the next', async () => {
  const file = path();
  let inside = 0;
  const order: number[] = [];
  const work = (i: number) => withLock(file, async () => {
    inside += 1;
    expect(inside).toBe(1);
    await Promise.resolve();
    order.push(i);
    inside -= 1;
    if (i === 1) throw new Error('one fails');
  });
  const outcomes = await Promise.allSettled([0, 1, 2, 3].map(work));
  expect(order).toEqual([0, 1, 2, 3]);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
});

it('a vault has one release of a site for a reserve, and what is decided in it is decided alone', async () => {
  const folder = temporaryFolder();
  const [one, other] = [openVault(folder, 'ward'), openVault(folder, 'ward')];
  const where = { study: 'ab'.repeat(32), site: 'a', round: 3, reserve: 'cd'.repeat(32), time: '2026-01-02T03:04:05.678Z' };
  const release = (update: string) => ({ type: 'release' as const, ...where, update: update.repeat(32) });
  const outcomes = await Promise.allSettled([one.append(release('01')), other.append(release('02'))]);
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  await other.append({ ...release('03'), site: 'b' });
  expect((await one.entries()).map(({ site }) => site)).toEqual(['a', 'b']);
  // Each adds one only where there is none yet of its kind: reading and writing are one step.
  const once = (vault: typeof one) => vault.exclusively(async ({ entries, append }) => {
    if (!(await entries()).some(({ type }) => type === 'refusal')) await append({ type: 'refusal', ...where });
  });
  await Promise.all([once(one), once(other), once(one), once(other)]);
  expect((await one.entries()).filter(({ type }) => type === 'refusal')).toHaveLength(1);
});

it('limits that are given change, the others stay', async () => {
  const vault = openVault(temporaryFolder(), 'ward');
  await vault.changeLimits({ maxEpsilon: 2 });
  await vault.changeLimits({ minCohort: 3 });
  expect(await vault.limits()).toEqual({ maxEpsilon: 2, minCohort: 3 });
});
