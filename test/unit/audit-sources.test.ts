import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SpendEntry } from '../../client/limits.ts';
import { openVault } from '../../client/vault.ts';
import { auditLedger } from '../../deploy/audit/run.ts';
import { findSources } from '../../deploy/audit/source.ts';
import { isCutShort } from '../../shared/json.ts';
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
