import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SpendEntry } from '../../client/limits.ts';
import { openVault } from '../../client/vault.ts';
import { auditLedger } from '../../deploy/audit/run.ts';
import { findSources } from '../../deploy/audit/source.ts';
import { isCutShort } from '../../shared/json.ts';
import { cosign, witnessKey } from '../../shared/ledger/cosignature.ts';
import { formatNote, parseNote, withSignature } from '../../shared/ledger/signed-note.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { expected } from '../support/heads.ts';
import { LedgerBuilder, MECHANISM, STUDY } from '../support/ledger-builder.ts';
import { temporaryFolder } from '../support/processes.ts';

const ledger = LedgerBuilder.example();

/** The audit of an honest ledger (or of these lines), with these files of a site or a witness beside it. */
async function audit(files: Readonly<Record<string, readonly string[]>>, { text = ledger.lines.map((line) => `${line}\n`).join('') } = {}): Promise<{ readonly verdict: string; readonly messages: string }> {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'ledger.jsonl'), text);
  const kept = join(folder, 'kept');
  mkdirSync(kept);
  for (const [name, lines] of Object.entries(files)) writeFileSync(join(kept, name), lines.map((line) => `${line}\n`).join(''));
  const { verdict, problems } = await auditLedger(await findSources(join(folder, 'ledger.jsonl'), [kept]));
  return { verdict, messages: problems.map(({ message }) => message).join('; ') };
}

const bodies = ledger.lines.map((line) => JSON.parse(line) as { index: number; body: { type: string; note: string; reserve: string; update: string } });
const head = bodies.filter(({ body }) => body.type === 'head').at(-2)!;
const where = { study: STUDY, round: 1, time: '2026-01-02T03:04:05.678Z' };
const spend = (change: Partial<SpendEntry>): string => JSON.stringify({ type: 'spend', ...where, site: 'a', reserve: '88'.repeat(32), modality: 'image', mechanism: MECHANISM, delta: '0.00001', ...change });

describe('what lies beside an honest ledger', () => {
  it('a head of it proves nothing against it, whatever the line that holds it says of its size', async () => {
    expect(await audit({ 'evidence.jsonl': [JSON.stringify({ note: head.body.note, refusedBy: 'board', size: head.index })] })).toEqual({ verdict: 'verified', messages: '' });
    for (const size of [1, head.index - 1, head.index + 1, 10_000]) {
      const { verdict, messages } = await audit({ 'evidence.jsonl': [JSON.stringify({ note: head.body.note, refusedBy: 'board', size })] });
      expect(verdict).toBe('tampered');
      expect(messages).toMatch(/evidence\.jsonl holds a line that is no cosigned head$/);
    }
  });

  it('lines that a crash cut short are none, in evidence and in spend logs, wherever they were cut', async () => {
    const evidence = JSON.stringify({ note: head.body.note, refusedBy: 'board', size: head.index });
    for (const length of [1, 20, evidence.length - 1]) expect((await audit({ 'evidence.jsonl': [evidence, evidence.slice(0, length)] })).verdict).toBe('verified');
    const entry = spend({ study: '77'.repeat(32) });
    const inner = entry.indexOf('}') + 1;
    for (const length of [1, inner, entry.length - 1]) {
      expect((await audit({ 'ward.jsonl': [entry.slice(0, length), entry] })).verdict, String(length)).toBe('verified');
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'ward.jsonl'), `${entry.slice(0, length)}\n${entry}\n`);
      expect(await openVault(folder, 'ward').entries()).toHaveLength(1);
    }
    for (const [text, isCut] of [['', true], ['{"a":"}', true], ['{"a":"\\"}', true], ['{"a":[1,2', true], ['{"a":{"b":1}}', false], ['{"a":"{["}', false], ['hello', false], ['{"a":1}}', false]] as const) expect(isCutShort(text), text).toBe(isCut);
  });

  it('a log of another study, whose site has the same name, has nothing to do with it', async () => {
    expect(await audit({ 'ward.jsonl': [spend({ study: '77'.repeat(32) })] })).toEqual({ verdict: 'verified', messages: '' });
  });
});

describe('what it tells against a ledger', () => {
  const receipt = bodies.find(({ body }) => body.type === 'receipt')!.body;
  const release = (site: string, change: object = {}): string => JSON.stringify({ type: 'release', ...where, site, reserve: receipt.reserve, update: receipt.update, ...change });

  it('a receipt without a release in the site’s own log, a release of other bytes, a release that was refunded', async () => {
    expect(await audit({ 'ward.jsonl': [release('a')] })).toMatchObject({ verdict: 'verified' });
    expect((await audit({ 'ward.jsonl': [spend({ reserve: receipt.reserve })] })).messages).toContain('its own log has no release');
    expect((await audit({ 'ward.jsonl': [release('a', { update: '00'.repeat(32) })] })).messages).toContain('logged another update for round 1');
    const { reserve } = bodies.find(({ body }) => body.type === 'abort')!.body;
    expect(await audit({ 'ward.jsonl': [release('c', { round: 2, reserve })] })).toMatchObject({ verdict: 'tampered', messages: expect.stringContaining('round 2 was refunded for "c", whose own log has a release') as string });
  });

  it('a second release of other bytes under one RESERVE, and none where two files hold the same line, or the site is another', async () => {
    const twice = await audit({ 'ward.jsonl': [release('a'), release('a', { update: '00'.repeat(32) })] });
    expect(twice).toMatchObject({ verdict: 'tampered', messages: expect.stringContaining('"a" has logged two releases for round 1 under one RESERVE') as string });
    expect(await audit({ 'ward.jsonl': [release('a')], 'copy.jsonl': [release('a')], 'other.jsonl': [release('b')] })).toEqual({ verdict: 'verified', messages: '' });
    const elsewhere = { study: '77'.repeat(32), reserve: '99'.repeat(32) };
    expect(await audit({ 'ward.jsonl': [release('a', elsewhere), release('a', { ...elsewhere, update: '00'.repeat(32) })] })).toEqual({ verdict: 'verified', messages: '' });
  });

  it('a release under a RESERVE that the ledger does not have, or that does not name the site', async () => {
    for (const entry of [release('a', { reserve: '99'.repeat(32) }), release('c')]) {
      expect(await audit({ 'ward.jsonl': [release('a'), entry] })).toMatchObject({ verdict: 'forked', messages: expect.stringContaining('under a RESERVE that this ledger does not have') as string });
    }
    expect(await audit({ 'ward.jsonl': [release('a', { study: '77'.repeat(32), reserve: '99'.repeat(32) })] })).toEqual({ verdict: 'verified', messages: '' });
  });

  it('a spend log that holds what is no entry', async () => {
    expect(await audit({ 'ward.jsonl': [release('a'), '{"type":"gift"}'] })).toMatchObject({ verdict: 'tampered', messages: expect.stringContaining('no entry of a spend log') as string });
  });

  it('of each log it says whose it is and how many releases of this study it holds', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'ledger.jsonl'), ledger.lines.map((line) => `${line}\n`).join(''));
    writeFileSync(join(folder, 'ward.jsonl'), [spend({}), release('a'), release('b'), release('a', { study: '77'.repeat(32), reserve: '99'.repeat(32) })].map((line) => `${line}\n`).join(''));
    const { spendLogs } = await auditLedger(await findSources(join(folder, 'ledger.jsonl'), [join(folder, 'ward.jsonl')]));
    expect(spendLogs.map(({ sites, releases }) => ({ sites, releases }))).toEqual([{ sites: ['a', 'b'], releases: 2 }]);
  });

  it('a copy with another line, and one that goes on: which line, and not where the copy is only shorter', async () => {
    const copy = (lines: readonly string[]) => audit({ 'ledger.jsonl': lines });
    expect(await copy(ledger.lines)).toEqual({ verdict: 'verified', messages: '' });
    expect(await copy(ledger.lines.slice(0, 4))).toEqual({ verdict: 'verified', messages: '' });
    expect(await copy(ledger.lines.map((line, i) => (i === 3 ? line.replace('image', 'images') : line)))).toMatchObject({ verdict: 'forked', messages: expect.stringMatching(/^line 4 of the copy .* is another one/) as string });
    expect((await copy(ledger.lines.map((line, i) => (i === 1 || i === 5 ? `${line} ` : line)))).messages).toMatch(/^line 2 of the copy /);
    const cut = bodies.filter(({ body }) => body.type === 'head').at(-2)!.index + 1;
    const shorter = await audit({ 'ledger.jsonl': ledger.lines }, { text: ledger.lines.slice(0, cut).map((line) => `${line}\n`).join('') });
    expect(shorter).toMatchObject({ verdict: 'forked', messages: expect.stringMatching(new RegExp(`goes on after line ${cut}: the ledger has lost lines`)) as string });
    // Two faults of two copies are both told.
    const both = await audit({ 'ledger.jsonl': ledger.lines.map((line, i) => (i === 1 ? `${line} ` : line)), 'other.jsonl': ledger.lines.map((line, i) => (i === 2 ? `${line} ` : line)) });
    expect(both.messages).toMatch(/line 2 of the copy .*line 3 of the copy|line 3 of the copy .*line 2 of the copy/);
  });

  it('a witness’s head of another ledger, of more lines than there are, under a wrong signature, of a site that is not enrolled', async () => {
    const other = LedgerBuilder.example();
    const cosigned = (builder: LedgerBuilder, of: { readonly index: number; readonly body: { readonly note: string } }, { site = 'a', signer = 'a' }: { readonly site?: string; readonly signer?: string } = {}): string => {
      const key = witnessKey({ primitives, study: STUDY, site, publicKey: builder.sites.get(signer)!.publicKey });
      const note = expected(parseNote(of.body.note));
      const signature = cosign({ primitives, identity: builder.sites.get(signer)!, key, text: note.text, time: 1_772_600_767 });
      return JSON.stringify({ note: formatNote(withSignature(note, signature)), site, size: of.index });
    };
    const witness = (line: string, lines = ledger.lines) => audit({ 'witnesses.jsonl': [line] }, { text: lines.map((one) => `${one}\n`).join('') });
    expect(await witness(cosigned(ledger, head))).toEqual({ verdict: 'verified', messages: '' });
    expect((await witness(cosigned(ledger, head, { signer: 'b' }))).messages).toMatch(/the cosignature of "a"/);
    expect(await witness(JSON.stringify({ ...(JSON.parse(cosigned(ledger, head)) as object), site: 'z' }))).toMatchObject({ verdict: 'tampered', messages: expect.stringContaining('of "z", which is not enrolled') as string });
    expect((await witness(cosigned(other, JSON.parse(other.lines[head.index]!) as typeof head))).verdict).toBe('tampered');
    const earlier = ledger.lines.slice(0, bodies.filter(({ body, index }) => body.type === 'head' && index < head.index).at(-1)!.index + 1);
    expect(await witness(cosigned(ledger, head), earlier)).toMatchObject({ verdict: 'forked', messages: expect.stringMatching(new RegExp(`has seen a signed ledger of ${head.index} lines, this one has fewer`)) as string });
    // Signed by the same coordinator over other lines: the ledger was forked. What a witness refused counts alike.
    const fork = new LedgerBuilder();
    Object.assign(fork, { coordinator: ledger.coordinator, sites: ledger.sites });
    fork.add(fork.plan(), { type: 'disclosure', what: 'other figures', why: 'public' });
    const forkedHead = JSON.parse(fork.lines[2]!) as typeof head;
    expect(bodies[2]!.body.type).toBe('head');
    expect(await witness(cosigned(ledger, forkedHead))).toMatchObject({ verdict: 'forked', messages: expect.stringContaining('another ledger of 2 lines than this one') as string });
    expect(await audit({ 'evidence.jsonl': [JSON.stringify({ note: forkedHead.body.note, refusedBy: 'board', size: 2 })] })).toMatchObject({ verdict: 'forked', messages: expect.stringContaining('"board" has seen, another ledger') as string });
  });

  it('a last line without its newline is not believed', async () => {
    const { verdict, messages } = await audit({}, { text: ledger.lines.join('\n') });
    expect(verdict).toBe('tampered');
    expect(messages).not.toBe('');
  });
});

it('the folder of a site takes its spend log in the vault along; where that is not here, the audit says which file to add', async () => {
  const root = temporaryFolder();
  const [site, vault] = [join(root, 'site'), join(root, 'vault')];
  for (const folder of [site, vault]) mkdirSync(folder);
  const ledger = join(root, 'ledger.jsonl');
  writeFileSync(ledger, '');
  writeFileSync(join(site, 'site.json'), JSON.stringify({ vault, dataset: 'hearts' }));
  const logs = async (...given: readonly string[]) => (await findSources(ledger, given)).spendLogs.map(({ name }) => name);
  // Nothing is spent yet.
  expect(await logs(site)).toEqual([]);
  const log = join(vault, 'hearts.jsonl');
  writeFileSync(log, '{"type":"spend"}\n');
  expect(await logs(site)).toEqual([log]);
  writeFileSync(join(site, 'site.json'), JSON.stringify({ vault: join(root, 'elsewhere'), dataset: 'hearts' }));
  await expect(logs(site)).rejects.toThrow(`names its spend log ${join(root, 'elsewhere', 'hearts.jsonl')}, which is not here: add a copy of it, called hearts.jsonl, with --site-logs`);
  expect(await logs(site, log)).toEqual([log]);
});
