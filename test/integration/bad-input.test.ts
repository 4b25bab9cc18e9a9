import { createServer } from 'node:net';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, it } from 'vitest';
import { run, start, startOnSmallDisk, temporaryFolder, type Running } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

/** Simulates the tiny study after a change to its file or its data, and returns how that ended. */
async function simulateWith(change: { readonly study?: (text: string) => string; readonly data?: (text: string) => string }): Promise<{ code: number | null; stderr: string }> {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder, { rounds: 2 });
  if (change.study !== undefined) writeFileSync(study, change.study(readFileSync(study, 'utf8')));
  const table = join(data, 'all.csv');
  if (change.data !== undefined) writeFileSync(table, change.data(readFileSync(table, 'utf8')));
  const finished = await run('simulate', '--study', study, '--data', data, '--out', join(folder, 'run'));
  // Nothing was trained: nothing is left.
  expect(existsSync(join(folder, 'run'))).toBe(false);
  return finished;
}

it.each([
  ['an unknown study key, with a suggestion', { study: (t: string) => t.replace('localSteps:', 'localStep:') }, 3, /unknown key "localStep"; did you mean "localSteps"\?/],
  ['a modality that is not there', { study: (t: string) => t.replace('modality: right,', 'modality: rigth,') }, 3, /no modality "rigth"; did you mean "right"\?/],
  ['a file that is not there', { study: (t: string) => t.replaceAll('index: all.csv', 'index: none.csv') }, 4, /none\.csv/],
  ['a shape that the columns do not fill', { study: (t: string) => t.replaceAll('shape: [2]', 'shape: [3]') }, 3, /2 columns do not fill the shape \[3\]/],
  ['a missing value where the study allows none', { data: (t: string) => t.replace(/(p7,.*?train,)[^,]+/, '$1') }, 4, /missing/i],
  ['a label out of range', { data: (t: string) => t.replace(/p5,1,/, 'p5,9,') }, 4, /label/i],
  ['more patients than the study allows', { study: (t: string) => t.replace('patients: 250', 'patients: 20') }, 4, /at most 20 patients/],
] as const)('%s', async (_title, change, code, message) => {
  const result = await simulateWith(change);
  expect(result.stderr).toMatch(message);
  expect(result.code).toBe(code);
});

it('wrong command lines end with 2 and say what was expected', async () => {
  const bad = await run('simulate', '--rounds', 'many');
  expect(bad.stderr).toBe('antiphon: --rounds: expected a positive whole number, found "many"\n');
  expect(bad.code).toBe(2);
  const folder = temporaryFolder();
  for (const words of [['--delta', '2'], ['--sites', '100000'], ['--rounds', '2000000'], ['--seed', '-3']] as const) {
    const { stderr, code } = await run('simulate', '--out', join(folder, 'run'), ...words);
    expect(stderr).toMatch(new RegExp(`${words[0]}.*expected .*`));
    expect(code).toBe(2);
  }
  expect(readdirSync(folder)).toEqual([]);
  expect((await run('simulate', '--wat')).code).toBe(2);
});

it('a folder that cannot be made ends with 13 and says so', async () => {
  for (const out of ['/proc/nowhere/run', '/dev/null/run']) {
    const result = await run('simulate', '--out', out);
    expect(result.stderr).toMatch(/cannot create the folder|expected a folder/);
    expect(result.code).toBe(13);
  }
});

it('a port in use ends with 6', async () => {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder);
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
  const { port } = holder.address() as { port: number };
  const result = await run('coordinator', 'start', '--study', study, '--data', data, '--out', join(folder, 'run'), '--port', String(port));
  holder.close();
  expect(result.stderr).toContain(`port ${port} of 127.0.0.1 is in use`);
  expect(result.code).toBe(6);
  expect(existsSync(join(folder, 'run'))).toBe(false);
});

it('invites: damaged, expired, used twice, and a ledger that was tampered with', async () => {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder);
  const out = join(folder, 'run');
  const arguments_ = ['coordinator', 'start', '--study', study, '--data', data, '--out', out, '--port', '0', '--events'];
  const lead = start(...arguments_);
  await lead.line((line) => line.includes('"listening"'));
  const enrol = (invite: string, home: string) => run('site', 'enroll', invite, '--data', data, '--home', join(folder, home), '--patients-disjoint');
  const invite = (await run('coordinator', 'invite', '--out', out, '--site', 'left-1')).stdout.trim();

  const damaged = await enrol(invite.slice(0, -3), 'x');
  expect(damaged.stderr).toContain('damaged or truncated');
  expect(damaged.code).toBe(5);
  // Nothing said of disjointness, then the wrong folder: neither uses the invite up.
  const silent = await run('site', 'enroll', invite, '--data', data, '--home', join(folder, 'left-1'));
  expect(silent.stderr).toContain('--patients-disjoint if that is true');
  expect(silent.code).toBe(5);
  // Nothing was admitted: nothing is left, neither a folder nor limits.
  expect(existsSync(join(folder, 'left-1'))).toBe(false);
  const limited = await run('site', 'enroll', invite, '--data', data, '--home', join(folder, 'left-1'), '--vault', join(folder, 'vault'), '--max-epsilon', '3');
  expect(limited.code).toBe(5);
  expect(existsSync(join(folder, 'vault'))).toBe(false);
  const nowhere = await run('site', 'enroll', invite, '--data', join(folder, 'nowhere'), '--home', join(folder, 'left-1'), '--patients-disjoint');
  expect(nowhere.stderr).toContain('expected the data folder');
  expect(nowhere.code).toBe(4);
  const short = (await run('coordinator', 'invite', '--out', out, '--site', 'left-2', '--hours', '0.0000001')).stdout.trim();
  const expired = await enrol(short, 'y');
  expect(expired.stderr).toContain('expired');
  expect(expired.code).toBe(5);
  expect((await enrol(invite, 'left-1')).code).toBe(0);
  // The same key may ask again, with the same statement; another may not.
  expect((await enrol(invite, 'left-1')).code).toBe(0);
  const twice = await enrol(invite, 'thief');
  expect(twice.stderr).toContain('has been used');
  expect(twice.code).toBe(5);
  const needless = await run('coordinator', 'invite', '--out', out, '--site', 'left-1');
  expect(needless.stderr).toContain('site "left-1" is enrolled already, with the key');
  expect(needless.stdout).toBe('');
  expect(needless.code).toBe(5);
  lead.child.kill('SIGTERM');
  expect((await lead.finished).code).toBe(130);

  const ledger = join(out, 'ledger.jsonl');
  writeFileSync(ledger, readFileSync(ledger, 'utf8').replace('"patients":150', '"patients":151'));
  const audit = await run('audit', ledger);
  expect(audit.stdout).toContain('TAMPERED');
  expect(audit.code).toBe(21);
  const restart = await run(...arguments_);
  expect(restart.stderr).toContain('ledger line 4: the head signs other lines');
  expect(restart.code).toBe(8);
  expect((await run('audit', join(folder, 'nothing'))).code).toBe(23);
});

it('a full disk ends the coordinator with 13 and loses nothing: started again with space, the study goes on and verifies', async () => {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder, { rounds: 6 });
  const out = join(folder, 'run');
  const arguments_ = ['coordinator', 'start', '--study', study, '--data', data, '--out', out, '--events', '--port'];
  const full = startOnSmallDisk(16, ...arguments_, '0');
  const { url } = JSON.parse(await full.line((line) => line.includes('"listening"'))) as { url: string };
  const homes = ['left-1', 'left-2', 'right-1'].map((site) => join(folder, site));
  for (const home of homes) {
    const invite = (await run('coordinator', 'invite', '--out', out, '--site', basename(home))).stdout.trim();
    expect((await run('site', 'enroll', invite, '--data', data, '--home', home, '--patients-disjoint')).code).toBe(0);
  }
  const sites = start('site', 'start', '--home', ...homes);
  const ended = await full.finished;
  expect(ended.stderr).toMatch(/could not (append|write).*free space/);
  expect(ended.code).toBe(13);
  const metrics = readFileSync(join(out, 'metrics.jsonl'), 'utf8');
  expect(metrics.endsWith('\n')).toBe(true);
  for (const line of metrics.trim().split('\n')) expect(JSON.parse(line)).toHaveProperty('type');
  const again = await run(...arguments_, new URL(url).port);
  expect(again.stderr).toBe('');
  expect(again.code).toBe(0);
  expect((await sites.finished).code).toBe(0);
  const audit = await run('audit', join(out, 'ledger.jsonl'), '--json');
  expect(JSON.parse(audit.stdout)).toMatchObject({ verdict: 'verified', closed: true });
});

it('a site says whom it calls, that nobody answers, and when it tries again', async () => {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder);
  const out = join(folder, 'run');
  const lead = start('coordinator', 'start', '--study', study, '--data', data, '--out', out, '--port', '0', '--events');
  const { url } = JSON.parse(await lead.line((line) => line.includes('"listening"'))) as { url: string };
  const invite = (await run('coordinator', 'invite', '--out', out, '--site', 'right-1')).stdout.trim();
  expect((await run('site', 'enroll', invite, '--data', data, '--home', join(folder, 'right-1'))).code).toBe(0);
  lead.child.kill('SIGKILL');
  await lead.finished;
  const site = start('site', 'start', '--home', join(folder, 'right-1'));
  expect(await site.line((line) => line.includes('connecting'))).toBe(`right-1: connecting (${url})`);
  expect(await site.line((line) => line.includes('disconnected'))).toMatch(/^right-1: disconnected \(.*ECONNREFUSED.*; trying again within 0\.3 s\)$/);
  site.child.kill('SIGTERM');
  expect((await site.finished).code).toBe(130);
});

/** A running coordinator of the tiny study, and an invite for the site `right-1`, whose home is not there yet. */
async function invited(): Promise<{ readonly folder: string; readonly data: string; readonly home: string; readonly lead: Running; readonly invite: string }> {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder);
  const out = join(folder, 'run');
  const home = join(folder, 'right-1');
  const lead = start('coordinator', 'start', '--study', study, '--data', data, '--out', out, '--port', '0', '--events');
  await lead.line((line) => line.includes('"listening"'));
  const invite = (await run('coordinator', 'invite', '--out', out, '--site', 'right-1')).stdout.trim();
  return { folder, data, home, lead, invite };
}

it('an enrolment whose data are not there, or lack a column, says so and can be done again', async () => {
  const { folder, data, home, lead, invite } = await invited();
  const own = join(folder, 'own');
  mkdirSync(own);
  const enrol = () => run('site', 'enroll', invite, '--data', own, '--home', home);
  const empty = await enrol();
  expect(empty.stderr).toMatch(/expected the data file .*own\/all\.csv, found none.*has admitted this site's key.*mend the data, then run the same command again, with the same invite/);
  expect(empty.code).toBe(4);
  expect(existsSync(join(home, 'site.json'))).toBe(false);
  const table = readFileSync(join(data, 'all.csv'), 'utf8');
  writeFileSync(join(own, 'all.csv'), table.replace(',c,d', ',cc,d'));
  expect((await enrol()).stderr).toContain('expected the column "c" (records.columns) in all.csv, found none; did you mean "cc"?');
  writeFileSync(join(own, 'all.csv'), table);
  expect((await enrol()).code).toBe(0);
  lead.child.kill('SIGTERM');
  expect((await lead.finished).code).toBe(130);
});

it('a site keeps where its data have moved to once it has opened them there; stopped by its person, it does not speak of trying again', async () => {
  const { folder, data, home, lead, invite } = await invited();
  expect((await run('site', 'enroll', invite, '--data', data, '--home', home)).code).toBe(0);
  const elsewhere = join(folder, 'elsewhere');
  cpSync(data, elsewhere, { recursive: true });
  const moved = await run('site', 'start', '--home', home, '--data', join(folder, 'nowhere'));
  expect(moved.stderr).toContain('expected the data folder');
  expect(moved.code).toBe(4);
  expect(JSON.parse(readFileSync(join(home, 'site.json'), 'utf8'))).toMatchObject({ data });
  const site = start('site', 'start', '--home', home, '--data', elsewhere);
  await site.line((line) => line.includes('connected'));
  expect(JSON.parse(readFileSync(join(home, 'site.json'), 'utf8'))).toMatchObject({ data: elsewhere });
  site.child.kill('SIGINT');
  const { stdout, code } = await site.finished;
  // We closed it: nobody tries again.
  expect(stdout).not.toContain('disconnected');
  expect(code).toBe(130);
  lead.child.kill('SIGTERM');
  expect((await lead.finished).code).toBe(130);
});

it('init overwrites no file, and says so without a library\'s words', async () => {
  const file = join(temporaryFolder(), 'kept.yaml');
  writeFileSync(file, 'mine');
  const { code, stderr } = await run('init', file);
  expect(code).toBe(13);
  expect(stderr).toContain('is there already and is not overwritten');
  expect(stderr).not.toMatch(/copyfile|EEXIST/);
  expect(readFileSync(file, 'utf8')).toBe('mine');
});
