import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { run, start, startToCrash, temporaryFolder, type Running } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

const SITES = ['left-1', 'left-2', 'right-1'] as const;

interface Enrolled {
  readonly folder: string;
  readonly lead: readonly string[];
  readonly out: string;
  readonly homes: readonly string[];
}

/** A coordinator on a port of its own and its three sites, enrolled; nothing runs. */
async function enrolled(): Promise<Enrolled> {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder, { rounds: 2 });
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
  return { folder, lead: [...arguments_, new URL(url).port], out, homes };
}

/** Everything as it stood, in the same place: sites know their folders by name. */
function rewind({ folder }: Enrolled, saved: string): void {
  rmSync(folder, { recursive: true, force: true });
  cpSync(saved, folder, { recursive: true });
}

function killedWithTest(running: Running): Running {
  onTestFinished(async () => {
    running.child.kill('SIGKILL');
    await running.finished;
  });
  return running;
}

async function expectVerified({ out, homes }: Enrolled, what: string): Promise<void> {
  const { code, stdout } = await run('audit', out, '--site-logs', ...homes, '--json');
  // Spend logs and copies included: whatever a site released is charged.
  const report = JSON.parse(stdout) as { verdict: string; problem: string | null; closed: boolean; curve: { round: number }[] };
  expect(report, what).toMatchObject({ verdict: 'verified', problem: null, closed: true });
  expect(code, what).toBe(0);
  expect(report.curve.map(({ round }) => round), what).toEqual([1, 2]);
}

it('a coordinator killed before any durable step of its study, started again, loses and forgets nothing', { timeout: 600_000 }, async () => {
  const federation = await enrolled();
  const saved = temporaryFolder();
  cpSync(federation.folder, saved, { recursive: true });
  let survived = false;
  let crashes = 0;
  for (let step = 1; !survived; step += 1) {
    const doomed = startToCrash(step, ...federation.lead);
    const sites = killedWithTest(start('site', 'start', '--home', ...federation.homes));
    const { code } = await doomed.finished;
    survived = code === 0;
    if (!survived) {
      crashes += 1;
      expect((await run(...federation.lead)).code, `after a crash before step ${step}`).toBe(0);
    }
    expect((await sites.finished).code, `sites after a crash before step ${step}`).toBe(0);
    await expectVerified(federation, `crash before step ${step}`);
    rewind(federation, saved);
  }
  console.log(`${crashes} crash points`);
  expect(crashes).toBeGreaterThan(12);
});

it('sites killed before any durable step of theirs, started again, release once and stay charged', { timeout: 600_000 }, async () => {
  const federation = await enrolled();
  const saved = temporaryFolder();
  cpSync(federation.folder, saved, { recursive: true });
  let survived = false;
  let crashes = 0;
  for (let step = 1; !survived; step += 1) {
    const lead = killedWithTest(start(...federation.lead));
    const doomed = startToCrash(step, 'site', 'start', '--home', ...federation.homes);
    const { code } = await doomed.finished;
    survived = code === 0;
    if (!survived) {
      crashes += 1;
      expect((await start('site', 'start', '--home', ...federation.homes).finished).code, `after a crash before step ${step}`).toBe(0);
    }
    expect((await lead.finished).code, `coordinator after a crash of sites before step ${step}`).toBe(0);
    const releases = federation.homes.flatMap((home) => readFileSync(join(home, 'spend.jsonl'), 'utf8').split('\n').filter((line) => line.includes('"release"')).map((line) => (JSON.parse(line) as { reserve: string; site: string })));
    expect(new Set(releases.map(({ reserve, site }) => `${reserve}/${site}`)).size).toBe(releases.length);
    await expectVerified(federation, `crash of sites before step ${step}`);
    rewind(federation, saved);
  }
  console.log(`${crashes} crash points`);
  expect(crashes).toBeGreaterThan(12);
});
