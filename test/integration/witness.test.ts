import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { run, start, temporaryFolder, type Running } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

const folder = (): { study: string; data: string; out: string; home: string; path: (name: string) => string } => {
  const root = temporaryFolder();
  return { ...writeTinyStudy(root, { rounds: 4 }), out: join(root, 'run'), home: join(root, 'witness'), path: (name) => join(root, name) };
};

async function lead({ study, data, out }: { readonly study: string; readonly data: string; readonly out: string }, port = '0'): Promise<Running & { readonly url: string; readonly kill: () => Promise<unknown> }> {
  const coordinator = start('coordinator', 'start', '--study', study, '--out', out, '--data', data, '--port', port, '--events');
  const { url } = JSON.parse(await coordinator.line((line) => line.includes('"listening"'))) as { url: string };
  const kill = async (): Promise<unknown> => {
    coordinator.child.kill('SIGKILL');
    return coordinator.finished;
  };
  onTestFinished(async () => void (await kill()));
  return { ...coordinator, url, kill };
}

it('a witness from outside sees a running ledger grow, reads one line of it with its proof, and knows a rolled-back ledger, which an audit with its heads knows too', async () => {
  const place = folder();
  const { study, data, out, home, path } = place;
  const first = await lead({ study, data, out });
  const witness = (...more: readonly string[]) => run('witness', first.url, '--home', home, ...more);

  const met = await witness('--name', 'ethics-board', '--line', '1');
  expect(met.code, met.stderr).toBe(0);
  const begun = readFileSync(join(out, 'ledger.jsonl'), 'utf8');
  expect(met.stdout).toContain(`head over ${begun.split('\n').length - 2} lines, signed by the coordinator, the first head that this witness sees; cosigned as ethics-board`);
  expect(met.stdout).toMatch(/coordinator's key [0-9a-f]{64}/);
  expect(met.stdout.split('\n')).toContain(begun.split('\n')[0]);
  expect((await witness()).stdout).toContain('no line since the last time');

  const invite = (await run('coordinator', 'invite', '--out', out, '--site', 'left-1')).stdout.trim();
  expect((await run('site', 'enroll', invite, '--data', data, '--home', path('left-1'), '--patients-disjoint', '--vault', path('vault'))).code).toBe(0);
  const grown = readFileSync(join(out, 'ledger.jsonl'), 'utf8');
  expect((await witness()).stdout).toContain(`extends the ${begun.split('\n').length - 2} lines seen before`);
  const beyond = await witness('--line', '99');
  expect(beyond.code).toBe(2);
  expect(beyond.stderr).toContain('expected a line from 1 to');
  const renamed = await witness('--name', 'another');
  expect(renamed.code).toBe(2);
  expect(renamed.stderr).toContain('belongs to the witness "ethics-board"');

  // An honest copy of the ledger agrees with what was seen.
  writeFileSync(path('ledger.jsonl'), grown);
  const agreed = await run('audit', path('ledger.jsonl'), '--site-logs', home);
  expect(agreed.stdout).toContain('"ethics-board" cosigned the head over');
  expect(agreed.code).toBe(0);

  // The coordinator forgets the enrolment: every line it shows is signed, and still the witness knows.
  await first.kill();
  writeFileSync(join(out, 'ledger.jsonl'), begun);
  await lead({ study, data, out }, new URL(first.url).port);
  const rolledBack = await witness();
  expect(rolledBack.code).toBe(22);
  expect(rolledBack.stderr).toContain('lines were removed');
  const audited = await run('audit', join(out, 'ledger.jsonl'), '--site-logs', home);
  expect(audited.code).toBe(22);
  expect(audited.stdout + audited.stderr).toContain('"ethics-board" has seen a signed ledger of');

  // And one that took another way since: the refused head is evidence against the ledger that the witness had agreed to, too.
  const another = (await run('coordinator', 'invite', '--out', out, '--site', 'left-2')).stdout.trim();
  expect((await run('site', 'enroll', another, '--data', data, '--home', path('left-2'), '--patients-disjoint', '--vault', path('vault'))).code).toBe(0);
  const forked = await witness();
  expect(forked.code).toBe(22);
  expect(forked.stderr).toMatch(/signed two ledgers of|does not extend/);
  const evidence = await run('audit', path('ledger.jsonl'), '--site-logs', join(home, 'evidence.jsonl'));
  expect(evidence.code).toBe(22);
  expect(evidence.stdout + evidence.stderr).toContain('another ledger of');
});

it('what is no coordinator, is not there, or has another key than was said is told apart', async () => {
  const { study, data, out, home, path } = folder();
  const { url } = await lead({ study, data, out });
  const other = await run('witness', url, '--home', home, '--key', 'ab'.repeat(32));
  expect(other.code).toBe(21);
  expect(other.stderr).toContain(`expected a coordinator with the key ${'ab'.repeat(32)}, found `);
  expect((await run('witness', `${url}/nowhere`, '--home', home)).code).toBe(23);
  const nobody = await run('witness', 'http://127.0.0.1:9', '--home', home);
  expect(nobody.code).toBe(6);
  expect(nobody.stderr).toContain('is the coordinator running?');
  expect((await run('witness', url, '--home', home)).code).toBe(0);
  writeFileSync(join(home, 'heads.jsonl'), 'nothing\n');
  const damaged = await run('witness', url, '--home', home);
  expect(damaged.code).toBe(13);
  expect(damaged.stderr).toContain('what was seen must not be forgotten');
  // What is there and cannot be read is not begun anew.
  rmSync(join(home, 'heads.jsonl'));
  rmSync(join(home, 'witness.json'));
  mkdirSync(join(home, 'witness.json'));
  const unreadable = await run('witness', url, '--home', home);
  expect(unreadable.code).toBe(13);
  expect(unreadable.stderr).toContain('does not know what it has seen');
  expect((await run('audit', url, '--site-logs', path('nowhere'))).code).toBe(23);
});
