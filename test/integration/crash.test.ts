import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { run, start, startToCrash, startToStop, temporaryFolder, type Running } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

const SITES = ['left-1', 'left-2', 'right-1'] as const;

interface Federation {
  readonly lead: readonly string[];
  readonly out: string;
  readonly homes: readonly string[];
}

/** A study of many short rounds, its three sites enrolled; nothing runs. */
async function enrolled(rounds: number): Promise<Federation> {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder, { rounds });
  const out = join(folder, 'run');
  const arguments_ = ['coordinator', 'start', '--study', study, '--out', out, '--data', data, '--events', '--port'];
  const first = start(...arguments_, '0');
  const { url } = JSON.parse(await first.line((line) => line.includes('"listening"'))) as { url: string };
  const homes = SITES.map((site) => join(folder, site));
  for (const [i, home] of homes.entries()) {
    const invite = (await run('coordinator', 'invite', '--out', out, '--site', SITES[i]!)).stdout.trim();
    expect((await run('site', 'enroll', invite, '--data', data, '--home', home, '--patients-disjoint', '--vault', home, '--dataset', 'spend')).code).toBe(0);
  }
  first.child.kill('SIGTERM');
  expect((await first.finished).code).toBe(130);
  return { lead: [...arguments_, new URL(url).port], out, homes };
}

function killedWithTest(running: Running): Running {
  onTestFinished(async () => {
    running.child.kill('SIGKILL');
    await running.finished;
  });
  return running;
}

/** The ledger holds, and whatever a site wrote down as released is charged in it. */
async function expectCharged({ out, homes }: Federation, what: string): Promise<{ readonly closed: boolean; readonly roundCount: number }> {
  const { code, stdout } = await run('audit', out, '--site-logs', ...homes, '--json');
  const report = JSON.parse(stdout) as { verdict: string; problem: string | null; closed: boolean; roundCount: number };
  expect(report, what).toMatchObject({ verdict: 'verified', problem: null });
  expect(code, what).toBe(0);
  return report;
}

it('a coordinator killed before each durable step, from its start to far into its rounds, forgets nothing', { timeout: 400_000 }, async () => {
  const federation = await enrolled(24);
  const sites = killedWithTest(start('site', 'start', '--home', ...federation.homes));
  let rounds = 0;
  for (let step = 1; step <= 22; step += 1) {
    const { code, stderr } = await startToCrash(step, ...federation.lead).finished;
    expect(code, `step ${step}: ${stderr}`).toBeNull();
    ({ roundCount: rounds } = await expectCharged(federation, `killed before step ${step}`));
  }
  console.log(`22 crashes over ${rounds} rounds`);
  expect(rounds).toBeGreaterThan(2);
  expect((await run(...federation.lead)).code).toBe(0);
  expect((await sites.finished).code).toBe(0);
  expect(await expectCharged(federation, 'at the end')).toMatchObject({ closed: true, roundCount: 24 });
});

it('sites killed before each durable step release at most once for a reserve, and stay charged', { timeout: 400_000 }, async () => {
  const federation = await enrolled(60);
  const lead = killedWithTest(start(...federation.lead));
  let crashes = 0;
  for (let step = 1; step <= 22; step += 1) {
    const { code, stderr } = await startToCrash(step, 'site', 'start', '--home', ...federation.homes).finished;
    expect(code, `step ${step}: ${stderr}`).toBeNull();
    crashes += 1;
  }
  expect((await start('site', 'start', '--home', ...federation.homes).finished).code).toBe(0);
  expect((await lead.finished).code).toBe(0);
  const logs = federation.homes.map((home) => readFileSync(join(home, 'spend.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { type: string; reserve: string }));
  for (const log of logs) {
    const of = (type: string): string[] => log.filter((entry) => entry.type === type).map(({ reserve }) => reserve);
    expect(new Set(of('release')).size).toBe(of('release').length);
    expect(new Set(of('spend')).size).toBe(of('spend').length);
    for (const reserve of of('release')) expect(of('spend')).toContain(reserve);
  }
  console.log(`${crashes} crashes; ${logs.flat().filter(({ type }) => type === 'release').length} releases`);
  expect(await expectCharged(federation, 'at the end')).toMatchObject({ closed: true });
});

it('sites asked to stop at any step of their start end by themselves, and hold nothing', async () => {
  const { homes } = await enrolled(1);
  // Settings, key, study, lock, ledger; after the data are read, the staged update.
  for (let step = 1; step <= 6; step += 1) {
    const { code, stderr } = await killedWithTest(startToStop(step, 'site', 'start', '--home', homes[0]!)).finished;
    expect(stderr, `step ${step}`).toBe('antiphon: stopped; start the site again to go on\n');
    expect(code, `step ${step}`).toBe(130);
  }
  expect(existsSync(join(homes[0]!, 'site.lock'))).toBe(false);
});
