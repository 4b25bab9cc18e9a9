import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { run, start, temporaryFolder, type Running } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

const SITES = ['left-1', 'left-2', 'right-1'] as const;

interface Federation {
  readonly folder: string;
  readonly study: string;
  readonly data: string;
  readonly out: string;
  readonly home: (site: string) => string;
}

function prepare(changes: Parameters<typeof writeTinyStudy>[1] = {}): Federation {
  const folder = temporaryFolder();
  return { folder, ...writeTinyStudy(folder, changes), out: join(folder, 'run'), home: (site) => join(folder, site) };
}

const coordinator = ({ study, data, out }: Federation, port = '0'): Running => start('coordinator', 'start', '--study', study, '--out', out, '--data', data, '--port', port, '--events');
const isEvent = (type: string, more: (event: Record<string, unknown>) => boolean = () => true) => (line: string): boolean => {
  const event = JSON.parse(line) as Record<string, unknown>;
  return event['type'] === type && more(event);
};

async function enrolAll(federation: Federation): Promise<void> {
  for (const site of SITES) {
    const invite = await run('coordinator', 'invite', '--out', federation.out, '--site', site);
    expect(invite.code).toBe(0);
    const enrolled = await run('site', 'enroll', invite.stdout.trim(), '--data', federation.data, '--home', federation.home(site), '--patients-disjoint', '--vault', federation.home(site), '--dataset', 'spend');
    expect(enrolled.stderr).toBe('');
    expect(enrolled.code).toBe(0);
  }
}

const startSite = ({ home }: Federation, site: string): Running => start('site', 'start', '--home', home(site));
const portOf = (line: string): string => new URL((JSON.parse(line) as { url: string }).url).port;
const ledgerOf = ({ out }: Federation): string[] => readFileSync(join(out, 'ledger.jsonl'), 'utf8').trim().split('\n');

async function expectVerified(federation: Federation): Promise<void> {
  const kept = existsSync(federation.home('left-1')) ? SITES.map((site) => federation.home(site)) : [];
  const audit = await run('audit', federation.out, ...(kept.length === 0 ? [] : ['--site-logs', ...kept]));
  expect(audit.stdout).toContain('VERIFIED');
  expect(audit.code).toBe(0);
}

it('a study by hand: start, invite, enroll, start, to the end; every file is there and the ledger verifies', async () => {
  const federation = prepare();
  const lead = coordinator(federation);
  const port = portOf(await lead.line(isEvent('listening')));
  await enrolAll(federation);
  const sites = SITES.map((site) => startSite(federation, site));
  const { code, stderr } = await lead.finished;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  for (const site of sites) expect((await site.finished).code).toBe(0);
  for (const file of ['ledger.jsonl', 'metrics.jsonl', 'report.html', 'study.yaml', 'checkpoints/round-000004.safetensors']) expect(existsSync(join(federation.out, file)), file).toBe(true);
  await expectVerified(federation);
  // Every site holds the whole ledger, byte for byte, and its own spend log.
  for (const site of SITES) {
    expect(readFileSync(join(federation.home(site), 'ledger.jsonl'), 'utf8')).toBe(readFileSync(join(federation.out, 'ledger.jsonl'), 'utf8'));
    const log = readFileSync(join(federation.home(site), 'spend.jsonl'), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { type: string }).type);
    expect(log).toEqual(['spend', 'release', 'spend', 'release']);
  }
  // Started once more, the coordinator says what it has come to; it needs no records, evaluates nothing, and calls nobody.
  const metrics = readFileSync(join(federation.out, 'metrics.jsonl'), 'utf8');
  const again = await run('coordinator', 'start', '--study', federation.study, '--out', federation.out, '--port', '0');
  expect(again.stderr).toBe('');
  expect(again.code).toBe(0);
  expect(again.stdout).toMatch(/completed: all 4 rounds of the schedule; it had ended before, so nothing was trained or evaluated again\n/);
  expect(again.stdout).toContain(`files in ${federation.out}: report.html`);
  expect(again.stdout).not.toMatch(/listening|waiting/);
  expect(readFileSync(join(federation.out, 'metrics.jsonl'), 'utf8')).toBe(metrics);
  // One that lost the end, as by a kill: its cosignature of it is not there, and the coordinator waits for it.
  const witnesses = join(federation.out, 'witnesses.jsonl');
  writeFileSync(witnesses, readFileSync(witnesses, 'utf8').replace(/^.*"left-2".*\n/m, ''));
  const copy = join(federation.home('left-2'), 'ledger.jsonl');
  writeFileSync(copy, readFileSync(copy, 'utf8').split('\n').slice(0, -3).map((line) => `${line}\n`).join(''));
  const unaware = startSite(federation, 'left-2');
  const once = coordinator(federation, port);
  expect(await once.line(isEvent('listening'))).toContain('"unaware":["left-2"]');
  expect((await unaware.finished).code).toBe(0);
  expect((await once.finished).code).toBe(0);
  expect(readFileSync(join(federation.out, 'metrics.jsonl'), 'utf8')).toBe(metrics);
  expect(readFileSync(witnesses, 'utf8')).toContain('"left-2"');
  await expectVerified(federation);
  // Started once more, a site sees in its own copy that all is over: it calls nobody.
  const late = await run('site', 'start', '--home', ...SITES.map(federation.home));
  expect(late.stderr).toBe('');
  expect(late.code).toBe(0);
  expect(late.stdout.match(/study-ended \(completed: all 4 rounds of the schedule; this site's own copy/g)).toHaveLength(SITES.length);
  expect(late.stdout).not.toContain('connect');
});

it('killing the coordinator inside rounds, twice, loses and double-counts nothing', async () => {
  const federation = prepare({ rounds: 6 });
  let lead = coordinator(federation);
  const port = portOf(await lead.line(isEvent('listening')));
  await enrolAll(federation);
  const sites = SITES.map((site) => startSite(federation, site));
  for (const round of [2, 4]) {
    await lead.line(isEvent('round-started', (event) => event['round'] === round));
    lead.child.kill('SIGKILL');
    await lead.finished;
    // A round that is open has not ended.
    const resumedAfterRound = ledgerOf(federation).filter((line) => /"type":"(?:commit|abort)"/.test(line)).length;
    lead = coordinator(federation, port);
    expect(JSON.parse(await lead.line(isEvent('started')))).toMatchObject({ resumedAfterRound });
  }
  expect((await lead.finished).code).toBe(0);
  for (const site of sites) expect((await site.finished).code).toBe(0);
  await expectVerified(federation);
  const bodies = ledgerOf(federation).map((line) => (JSON.parse(line) as { body: { type: string; round: number } }).body);
  expect(bodies.filter(({ type }) => type === 'reserve').map(({ round }) => round)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(bodies.filter(({ type }) => type === 'commit').map(({ round }) => round)).toEqual([1, 2, 3, 4, 5, 6]);
});

it('killing a site inside a round and starting it again lets the round commit with one release', async () => {
  const federation = prepare({ rounds: 4 });
  const lead = coordinator(federation);
  await lead.line(isEvent('listening'));
  await enrolAll(federation);
  const others = ['left-2', 'right-1'].map((site) => startSite(federation, site));
  const victim = startSite(federation, 'left-1');
  await victim.line((line) => line.includes('training'));
  victim.child.kill('SIGKILL');
  await victim.finished;
  const again = startSite(federation, 'left-1');
  expect((await lead.finished).code).toBe(0);
  for (const site of [...others, again]) expect((await site.finished).code).toBe(0);
  await expectVerified(federation);
});

it('the study ends cleanly before the round that would exceed its budget', async () => {
  const federation = prepare({ rounds: 4, epsilon: 2 });
  // The noise of a roomier budget, so that the schedule cannot be finished.
  writeFileSync(federation.study, readFileSync(federation.study, 'utf8').replace('epsilon: 2 }', 'epsilon: 2, noiseMultiplier: 1.9 }'));
  const { code, stdout } = await run('simulate', '--study', federation.study, '--data', federation.data, '--out', federation.out, '--json');
  expect(code).toBe(0);
  const summary = JSON.parse(stdout) as { reason: string; epsilon: number; rounds: number };
  expect(summary.reason).toBe('budget-exhausted');
  expect(summary.epsilon).toBeLessThanOrEqual(2);
  expect(summary.rounds).toBeGreaterThan(0);
  expect(summary.rounds).toBeLessThan(4);
  await expectVerified(federation);
});

it('without privacy every output says so', async () => {
  const federation = prepare({ rounds: 2 });
  const { code, stdout, stderr } = await run('simulate', '--study', federation.study, '--data', federation.data, '--out', federation.out, '--no-privacy', '--json');
  expect(code).toBe(0);
  // With --json the progress is on the other stream, and the object alone on this one.
  expect(stderr.match(/NO PRIVACY/g)?.length).toBeGreaterThanOrEqual(2);
  expect(stderr).toMatch(/^round 2\/2 /m);
  const summary = JSON.parse(stdout) as { protection: string; epsilon: number | null };
  expect(summary).toMatchObject({ protection: 'none', epsilon: null });
  for (const file of ['report.html', 'checkpoints/round-000002.safetensors']) expect(readFileSync(join(federation.out, file), 'utf8'), file).toContain('NO PRIVACY');
  expect((await run('audit', join(federation.out, 'ledger.jsonl'))).stdout).toContain('NO PRIVACY');
});

it('a simulation stopped in the middle goes on with the same command, to a whole report', async () => {
  const federation = prepare({ rounds: 8 });
  const words = ['simulate', '--study', federation.study, '--data', federation.data, '--out', federation.out];
  const stopped = start(...words);
  await stopped.line((line) => line.startsWith('round 3/8'));
  stopped.child.kill('SIGINT');
  const { code, stderr } = await stopped.finished;
  expect(code).toBe(130);
  expect(stderr).toContain(`the same command with --out ${federation.out}`);
  expect(existsSync(join(federation.out, 'ledger.jsonl.lock'))).toBe(false);
  const other = await run(...words, '--epsilon', '5');
  expect(other.stderr).toContain('with other options');
  expect(other.code).toBe(2);

  const again = await run(...words, '--json');
  expect(again.code).toBe(0);
  const summary = JSON.parse(again.stdout) as { rounds: number; reason: string };
  expect(summary).toMatchObject({ rounds: 8, reason: 'completed' });
  // Once more there is nothing to do: the same result, at once.
  const third = await run(...words, '--json');
  expect(third.stderr).toContain('it had ended before');
  expect(third.code).toBe(0);
  expect(JSON.parse(third.stdout)).toMatchObject({ rounds: 8, accuracy: (JSON.parse(again.stdout) as { accuracy: object }).accuracy });
  expect((await run('audit', federation.out)).code).toBe(0);
});

it('a simulation of which a site is killed names the site and the signal, and what to do', async () => {
  const federation = prepare({ rounds: 400 });
  const words = ['simulate', '--study', federation.study, '--data', federation.data, '--out', federation.out];
  const running = start(...words);
  await running.line((line) => line.startsWith('round 2/400'));
  const children = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n').map((line) => line.trim().split(/\s+/));
  const victim = children.find(([, parent, ...args]) => parent === String(running.child.pid) && args.some((arg) => arg.endsWith('/left-2')));
  expect(victim).toBeDefined();
  process.kill(Number(victim?.[0]), 'SIGKILL');
  const { code, stderr } = await running.finished;
  expect(stderr).toMatch(/the process of sites? [^;]*left-2[^;]* was ended from outside, by SIGKILL, as a machine out of memory does; the same command with --out .* goes on/);
  expect(code).toBe(11);
  await expectVerified(federation);
});

it('a study whose sites refuse every round ends as failed, with 11, a report and a ledger that says so', async () => {
  const federation = prepare({ rounds: 4 });
  const lead = coordinator(federation);
  await lead.line(isEvent('listening'));
  for (const site of SITES) {
    const invite = (await run('coordinator', 'invite', '--out', federation.out, '--site', site)).stdout.trim();
    const enrolled = await run('site', 'enroll', invite, '--data', federation.data, '--home', federation.home(site), '--patients-disjoint', '--vault', federation.home(site), '--dataset', 'spend', '--min-cohort', '3');
    expect(enrolled.code).toBe(0);
  }
  const sites = SITES.map((site) => startSite(federation, site));
  const { code, stderr } = await lead.finished;
  const detail = /none of the 4 rounds committed: the last, round 4: .*; right-1 refused: limits-exceeded/;
  expect(stderr).toMatch(detail);
  expect(code).toBe(11);
  for (const site of sites) {
    const { code: ended, stdout } = await site.finished;
    expect(ended).toBe(0);
    expect(stdout).toMatch(/failed: none of the 4 rounds committed/);
  }
  expect(readFileSync(join(federation.out, 'report.html'), 'utf8')).toMatch(detail);
  const audit = await run('audit', federation.out);
  expect(audit.code).toBe(0);
  expect(audit.stdout).toMatch(/yes: failed: none of the 4 rounds committed/);
  const again = await run('coordinator', 'start', '--study', federation.study, '--out', federation.out, '--port', '0');
  expect(again.code).toBe(11);
});

it('a simulation whose reader leaves ends, and its processes with it', async () => {
  const federation = prepare({ rounds: 400 });
  const running = start('simulate', '--study', federation.study, '--data', federation.data, '--out', federation.out);
  await running.line((line) => line.startsWith('round 2/400'));
  running.child.stdout?.destroy();
  expect((await running.finished).code).toBe(130);
  expect(existsSync(join(federation.out, 'ledger.jsonl.lock'))).toBe(false);
});

it('a budget that allows no round ends with 7, and nothing is called a result', async () => {
  const federation = prepare({ rounds: 4 });
  const { code, stderr, stdout } = await run('simulate', '--study', federation.study, '--data', federation.data, '--out', federation.out, '--noise-multiplier', '0.4', '--epsilon', '1');
  expect(stderr).toContain('nothing was trained');
  expect(code).toBe(7);
  expect(stdout).not.toContain("the study's rule");
  expect(existsSync(federation.out)).toBe(false);
});

it('what sites have cosigned outlives every start: served at once, kept by a start that no site comes back to, and a ledger they contradict is refused', async () => {
  const federation = prepare({ rounds: 400 });
  const kept = (): string => readFileSync(join(federation.out, 'witnesses.jsonl'), 'utf8');
  let lead = coordinator(federation);
  await lead.line(isEvent('listening'));
  await enrolAll(federation);
  const early = ledgerOf(federation);
  const sites = start('site', 'start', '--home', ...SITES.map(federation.home));
  // Killed in the middle, all of them had cosigned something.
  await lead.line(isEvent('round-started', (event) => event['round'] === 12));
  lead.child.kill('SIGKILL');
  await lead.finished;
  sites.child.kill('SIGTERM');
  await sites.finished;
  const words = kept();
  expect(words.trim().split('\n')).toHaveLength(SITES.length);
  lead = coordinator(federation);
  const { url } = JSON.parse(await lead.line(isEvent('listening'))) as { url: string };
  expect(await (await fetch(`${url}/witnesses.jsonl`)).text()).toBe(words);
  lead.child.kill('SIGTERM');
  expect((await lead.finished).code).toBe(130);
  expect(kept()).toBe(words);
  // A copy of before the rounds in the ledger's place: what the sites signed shows it, and is not lost.
  writeFileSync(join(federation.out, 'ledger.jsonl'), `${early.join('\n')}\n`);
  const { code, stderr } = await coordinator(federation).finished;
  expect(stderr).toMatch(/witnesses\.jsonl, line 1: ".*" cosigned a ledger of \d+ lines, which is not this one/);
  expect(code).toBe(8);
  expect(kept()).toBe(words);
});

it('an adaptive study, simulated: sites take its PLAN, rounds fall as public records say, and the ledger, the report and an attack know how', async () => {
  const { study, data, out } = prepare({ rounds: 8, schedule: 'adaptive: { window: 1, least: 0.25 }' });
  const { code, stdout, stderr } = await run('simulate', '--study', study, '--data', data, '--out', out);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout).toMatch(/rounds given out: (left|right) \d, (left|right) \d/);
  const ledger = readFileSync(join(out, 'ledger.jsonl'), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { body: Record<string, unknown> }).body);
  expect(ledger[0]).toMatchObject({ type: 'plan', schedule: 'adaptive', rounds: 8, modalities: { left: { rounds: 7 }, right: { rounds: 7 } } });
  expect(ledger.filter(({ type }) => type === 'commit')).toHaveLength(8);
  const audit = await run('audit', out);
  expect(audit.stdout).toContain('VERIFIED');
  expect(audit.stdout.replaceAll(/\s+/g, ' ')).toContain('which modality trains was chosen as the study went, from released models and public records alone');
  expect(readFileSync(join(out, 'report.html'), 'utf8')).toMatch(/1 to 7 x 3/);
  const attack = await run('audit', '--membership', out, '--data', data, '--references', '2', '--json');
  expect(attack.code).toBe(0);
});
