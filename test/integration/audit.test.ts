import { appendFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { writeLongLedger } from '../support/long-ledger.ts';
import { run, start, temporaryFolder } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

interface AuditJson {
  readonly verdict: string;
  readonly problem: string | null;
  readonly problems: readonly { readonly message: string }[];
  readonly spent: { readonly pld: string; readonly rdp: string; readonly delta: string };
  readonly budget: { readonly epsilon: string };
  readonly cliques: readonly { readonly sites: readonly string[]; readonly pld: number }[];
  readonly sites: readonly { readonly site: string; readonly delivered: number }[];
  readonly witnesses: readonly { readonly site: string; readonly size: number }[];
  readonly copies: readonly { readonly lines: number }[];
  readonly spendLogs: readonly unknown[];
  readonly lines: number;
  readonly closed: boolean;
}

/** One finished study; every test damages a copy of its own. */
let original = '';

const kept = mkdtempSync(join(tmpdir(), 'antiphon-audit-'));
beforeAll(async () => {
  const { study, data } = writeTinyStudy(kept, { rounds: 4 });
  original = join(kept, 'run');
  expect((await run('simulate', '--study', study, '--data', data, '--out', original)).code).toBe(0);
});
afterAll(() => {
  rmSync(kept, { recursive: true, force: true });
});

function copyOf(...parts: readonly string[]): string {
  const copy = join(temporaryFolder(), 'run');
  cpSync(original, copy, { recursive: true });
  return join(copy, ...parts);
}

async function audit(...words: readonly string[]): Promise<{ readonly code: number | null; readonly report: AuditJson }> {
  const { code, stdout } = await run('audit', ...words, '--json');
  return { code, report: JSON.parse(stdout) as AuditJson };
}

function edit(path: string, change: (lines: string[]) => string[]): void {
  writeFileSync(path, change(readFileSync(path, 'utf8').trimEnd().split('\n')).map((line) => `${line}\n`).join(''));
}

describe('a finished run', () => {
  it('verifies with everything that is kept beside it: witnesses, copies, spend logs', async () => {
    const { code, report } = await audit(original);
    expect(code).toBe(0);
    expect(report).toMatchObject({ verdict: 'verified', problem: null, closed: true });
    expect(report.witnesses.map(({ site }) => site).sort()).toEqual(['left-1', 'left-2', 'right-1']);
    // Every site has cosigned the very last head.
    expect(report.witnesses.map(({ size }) => size)).toEqual([report.lines - 1, report.lines - 1, report.lines - 1]);
    expect(report.copies).toHaveLength(3);
    expect(report.spendLogs).toHaveLength(3);
    expect(report.cliques.map(({ sites }) => sites.join('+')).sort()).toEqual(['left-1+right-1', 'left-2+right-1']);
    expect(report.sites.map(({ delivered }) => delivered)).toEqual([2, 2, 2]);
    expect(Number(report.spent.pld)).toBeLessThanOrEqual(8);
    expect(Number(report.spent.rdp)).toBeGreaterThan(Number(report.spent.pld));
  });

  it('as a table names what is protected, assumed, and released without noise; as a page it needs no network', async () => {
    const page = join(temporaryFolder(), 'audit.html');
    const { code, stdout } = await run('audit', original, '--html', page);
    expect(code).toBe(0);
    for (const words of ['VERIFIED', 'protects    one patient', 'assumes', 'Released without noise:', 'cosigned the head']) expect(stdout).toContain(words);
    const html = readFileSync(page, 'utf8');
    expect(html).toContain('VERIFIED');
    expect(html).not.toMatch(/(src|href)="http/);
  });

  it('its ledger alone verifies too, and says what it cannot show', async () => {
    const { code, stdout } = await run('audit', join(original, 'ledger.jsonl'));
    expect(code).toBe(0);
    expect(stdout).toContain('No witness and no copy of a site was given');
  });

  it('is read from the address of a coordinator as from its folder', async () => {
    const server = createServer((request, response) => {
      const path = join(original, request.url ?? '');
      response.writeHead(existsSync(path) ? 200 : 404);
      response.end(existsSync(path) ? readFileSync(path) : '');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(await audit(url)).toMatchObject({ code: 0, report: { verdict: 'verified' } });
    expect((await run('audit', `${url}/nowhere`)).code).toBe(23);
  });
});

describe('what is found', () => {
  it.each([
    ['a changed byte', 21, (lines: string[]) => lines.map((line, i) => (i === 0 ? line.replace('"patients":150', '"patients":151') : line))],
    ['a changed signature of a site', 21, (lines: string[]) => lines.map((line) => (line.includes('"type":"receipt"') ? line.replace(/"signature":"../, '"signature":"00') : line))],
    ['a removed line', 21, (lines: string[]) => lines.filter((_line, i) => i !== 5)],
    ['a cut append', 21, (lines: string[]) => lines.slice(0, -1)],
    ['lines lost behind a head', 22, (lines: string[]) => lines.slice(0, lines.findLastIndex((line) => line.includes('"type":"commit"')) + 2)],
  ])('%s ends with %i', async (_what, code, change) => {
    const folder = copyOf();
    edit(join(folder, 'ledger.jsonl'), change);
    const found = await audit(folder);
    expect(found.code).toBe(code);
    expect(found.report.problem).not.toBeNull();
  });

  it('a copy of a site with another line, a spend log with a release more or less, a cosigned head of another ledger', async () => {
    const forked = copyOf();
    edit(join(forked, 'sites', 'left-2', 'ledger.jsonl'), (lines) => lines.map((line, i) => (i === 2 ? line.replace('metrics', 'figures') : line)));
    expect(await audit(forked)).toMatchObject({ code: 22, report: { verdict: 'forked' } });

    const more = copyOf();
    const log = join(more, 'sites', 'left-1', 'spend.jsonl');
    const [release = ''] = readFileSync(log, 'utf8').split('\n').filter((line) => line.includes('"release"'));
    appendFileSync(log, `${release.replace(/"reserve":"[0-9a-f]{8}/, '"reserve":"00000000')}\n`);
    expect((await audit(more)).report.problem).toContain('under a RESERVE that this ledger does not have');

    const twice = copyOf();
    appendFileSync(join(twice, 'sites', 'left-1', 'spend.jsonl'), `${release.replace(/"update":"[0-9a-f]{8}/, '"update":"00000000')}\n`);
    expect(await audit(twice)).toMatchObject({ code: 21, report: { problem: expect.stringContaining('two releases for round 1') as string } });

    const fewer = copyOf();
    edit(join(fewer, 'sites', 'right-1', 'spend.jsonl'), (lines) => lines.filter((line) => !line.includes('"release"')));
    expect((await audit(fewer)).report.problem).toContain('its own log has no release');

    const cosigned = copyOf();
    edit(join(cosigned, 'witnesses.jsonl'), (lines) => lines.map((line) => line.replace('antiphon/', 'antiphom/')));
    expect((await audit(cosigned)).code).toBe(21);
  });

  it('and what is no fault is none: a copy whose last line was cut while it was written, logs of data sets called ledger, heads, witnesses and evidence, a log that is given twice', async () => {
    const folder = copyOf();
    const site = (name: string, file: string): string => join(folder, 'sites', name, file);
    const copied = readFileSync(site('left-2', 'ledger.jsonl'), 'utf8');
    writeFileSync(site('left-2', 'ledger.jsonl'), copied.slice(0, -40));
    const vault = temporaryFolder();
    for (const [i, dataset] of ['ledger', 'north-ledger', 'heads', 'witnesses', 'evidence'].entries()) {
      cpSync(site(['left-1', 'left-2', 'right-1'][i % 3] ?? '', 'spend.jsonl'), join(vault, `${dataset}.jsonl`));
    }
    cpSync(site('left-1', 'ledger.jsonl'), join(vault, 'kept.jsonl'));
    const { code, report } = await audit(folder, '--site-logs', vault);
    expect(report.problem).toBeNull();
    expect(code).toBe(0);
    expect(report.copies.map(({ lines }) => lines - report.lines).sort()).toEqual([-1, 0, 0, 0]);
    expect(report.spendLogs).toHaveLength(8);
    // A whole line less is the end of a shorter copy; a whole line more, or another one, is a fork as before.
    writeFileSync(site('left-2', 'ledger.jsonl'), `${copied}${copied.slice(-40)}`);
    expect((await audit(folder)).code).toBe(22);
  });

  it('a receipt that the coordinator made up deep in a long ledger, whose signatures are verified on several threads', async () => {
    const path = join(temporaryFolder(), 'ledger.jsonl');
    writeLongLedger(path, 12_000, 900);
    const { code, stdout } = await run('audit', path, '--json');
    expect(code).toBe(21);
    // 6 lines before the rounds, 8 lines a round: RESERVE, head, four receipts, COMMIT, head.
    expect((JSON.parse(stdout) as AuditJson).problem).toBe(`line ${6 + 899 * 8 + 4}: the receipt of "site-2" is not signed by its key (bad-site-signature)`);
    writeLongLedger(path, 12_000);
    expect((await run('audit', path, '--json')).code).toBe(0);
  });

  it('a run’s own sites that are named once more are read once', async () => {
    const { code, report } = await audit(original, '--site-logs', join(original, 'sites', 'left-1'), join(original, 'sites', '..', 'sites', 'right-1'));
    expect(code).toBe(0);
    expect(report.copies).toHaveLength(3);
    expect(report.spendLogs).toHaveLength(3);
  });

  it('a folder without a ledger is told as such', async () => {
    const { code, stderr } = await run('audit', join(original, 'checkpoints'));
    expect(code).toBe(23);
    expect(stderr).toContain('holds no ledger.jsonl: expected a run\'s folder');
    expect(stderr).not.toContain('ENOENT');
  });

  it('what cannot be read ends with 23: nothing, a folder without a ledger, an empty file', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'empty.jsonl'), '');
    for (const target of [join(folder, 'nothing'), folder, join(folder, 'empty.jsonl')]) expect((await run('audit', target)).code, target).toBe(23);
    writeFileSync(join(folder, 'binary.jsonl'), Uint8Array.of(0xff, 0xfe, 0x00, 0x0a));
    expect((await run('audit', join(folder, 'binary.jsonl'))).code).toBe(21);
  });
});

describe('what training gives away', () => {
  it('is measured with canaries over the study’s own training, and no claim is refuted', async () => {
    const { code, stdout } = await run('audit', '--empirical', '--study', join(original, 'study.yaml'), '--data', join(kept, 'data'), '--canaries', '120', '--confidence', '0.999999', '--json');
    const report = JSON.parse(stdout) as { refuted: boolean; modalities: { modality: string; claim: number; lowerBound: number; canaries: number }[] };
    expect(code).toBe(0);
    expect(report.refuted).toBe(false);
    expect(stdout).toContain('is a release that no ledger counts');
    expect(report.modalities.map(({ modality }) => modality)).toEqual(['left', 'right']);
    for (const { claim, lowerBound, canaries } of report.modalities) {
      expect(canaries).toBe(120);
      expect(lowerBound).toBeLessThanOrEqual(claim);
      expect(claim).toBeLessThan(8);
    }
  });

  it('is measured by attacks on a finished run, per modality and fused', async () => {
    const page = join(temporaryFolder(), 'membership.html');
    const { code, stdout } = await run('audit', '--membership', original, '--data', join(kept, 'data'), '--references', '2', '--json', '--html', page);
    expect(code).toBe(0);
    expect(readFileSync(page, 'utf8')).toContain('found at 1 % false');
    const report = JSON.parse(stdout) as { round: number; rows: { on: string; attack: string; auc: number; members: number }[] };
    expect(report.round).toBe(4);
    expect(stdout).toContain('is a release that no ledger counts');
    expect(report.rows.map(({ on, attack }) => `${on} ${attack}`)).toEqual(['left', 'right', 'fused'].flatMap((on) => ['loss', 'rmia', 'lira'].map((attack) => `${on} ${attack}`)));
    for (const { auc, members } of report.rows) {
      expect(members).toBe(240);
      expect(auc).toBeGreaterThan(0.2);
      expect(auc).toBeLessThan(0.8);
    }
  });

  it.each([
    [['audit'], 'expected one of: a ledger'],
    [['audit', 'x.jsonl', '--empirical'], 'found a ledger and --empirical'],
    [['audit', 'x.jsonl', '--canaries', '50'], '--canaries belongs to --empirical'],
    [['audit', '--empirical', '--canaries', '3'], 'a whole number from 20 to 20000'],
    [['audit', '--membership', '.', '--references', '3', '--data', '.'], 'an even number of --references'],
  ])('%j ends with 2', async (words, message) => {
    const { code, stderr } = await run(...words);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });
});

it('a site that has seen a later ledger stops when the coordinator comes back with an older one', async () => {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder, { rounds: 6 });
  const out = join(folder, 'run');
  const lead = (port: string) => start('coordinator', 'start', '--study', study, '--out', out, '--data', data, '--port', port, '--events');
  const first = lead('0');
  const { url } = JSON.parse(await first.line((line) => line.includes('"listening"'))) as { url: string };
  const homes = ['left-1', 'left-2', 'right-1'].map((site) => join(folder, site));
  for (const home of homes) {
    const invite = (await run('coordinator', 'invite', '--out', out, '--site', home.split('/').at(-1) ?? '')).stdout.trim();
    expect((await run('site', 'enroll', invite, '--data', data, '--home', home, '--patients-disjoint', '--vault', home, '--dataset', 'spend')).code).toBe(0);
  }
  const enrolled = readFileSync(join(out, 'ledger.jsonl'));
  const sites = homes.map((home) => start('site', 'start', '--home', home));
  await first.line((line) => line.includes('"round-ended"') && line.includes('"round":2'));
  first.child.kill('SIGKILL');
  await first.finished;
  // The ledger as it was before the first round: two rounds' spending forgotten, every line of it signed.
  writeFileSync(join(out, 'ledger.jsonl'), enrolled);
  // It does not start over what its own sites have cosigned ...
  const honest = await lead(new URL(url).port).finished;
  expect(honest.code).toBe(8);
  expect(honest.stderr).toMatch(/witnesses\.jsonl, line 1: .* which is not this one/);
  // ... and one that has forgotten that, too, is found out by the sites.
  rmSync(join(out, 'witnesses.jsonl'));
  const second = lead(new URL(url).port);
  onTestFinished(async () => {
    second.child.kill('SIGKILL');
    await second.finished;
  });
  for (const site of sites) {
    const { code, stderr } = await site.finished;
    expect(code).toBe(8);
    expect(stderr).toMatch(/lines were removed|rewritten or forked/);
  }
});
