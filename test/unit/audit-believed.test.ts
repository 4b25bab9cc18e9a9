import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StudyEvent } from '../../coordinator/events.ts';
import { NO_PRIVACY } from '../../coordinator/report/no-privacy.ts';
import { renderReport } from '../../coordinator/report/report.ts';
import { renderAuditPage } from '../../deploy/audit/html.ts';
import { auditLedger, type AuditReport } from '../../deploy/audit/run.ts';
import { findSources } from '../../deploy/audit/source.ts';
import { auditJson, formatAudit } from '../../deploy/audit/text.ts';
import type { LedgerMechanism } from '../../shared/ledger/entry.ts';
import { LedgerBuilder } from '../support/ledger-builder.ts';
import { temporaryFolder } from '../support/processes.ts';

const { lines } = LedgerBuilder.example();
const heads = lines.flatMap((line, i) => (line.includes('"type":"head"') ? [i] : []));

async function audited(changed: readonly string[], end = '\n'): Promise<AuditReport> {
  const path = join(temporaryFolder(), 'ledger.jsonl');
  writeFileSync(path, changed.join('\n') + end);
  return auditLedger(await findSources(path, []));
}

async function said(report: AuditReport): Promise<readonly string[]> {
  return [formatAudit(report, { color: false }), JSON.stringify(auditJson(report)), await renderAuditPage(report)];
}

describe('of a ledger that does not hold', () => {
  it('no value is shown that the first head contradicts', async () => {
    const report = await audited(lines.map((line, i) => (i === 0 ? line.replace('"epsilon":"3"', '"epsilon":"123456.789"') : line)));
    expect(report.problems[0]?.message).toContain(`line ${(heads[0] ?? 0) + 1}: the head signs other lines`);
    for (const text of await said(report)) {
      expect(text).not.toContain('123456.789');
      expect(text).toContain('Nothing in it is believed');
      for (const part of ['No round yet', 'Released without noise', 'metrics']) expect(text).not.toContain(part);
    }
    expect(auditJson(report)).toMatchObject({ verdict: 'tampered', believedLines: 0, budget: null, spent: null, epsilon: null, rounds: [], cliques: [], disclosures: [] });
  });

  it('only what stands under the last head before the fault is shown', async () => {
    // The COMMIT of the first round: its RESERVE has a head of its own, its receipts stand behind that head.
    const commit = lines.findIndex((line) => line.includes('"type":"commit"'));
    const under = heads.findLast((head) => head < commit) ?? 0;
    const report = await audited(lines.map((line, i) => (i === commit ? line.replace('"modelOut":"01', '"modelOut":"02') : line)));
    expect(report.problems[0]?.message).toContain('the head signs other lines');
    expect(report.audit.state.length).toBe(under + 1);
    expect(report.rounds.first.map(({ outcome, delivered }) => [outcome, delivered])).toEqual([['open', []]]);
    expect(report.sites.map(({ delivered }) => delivered)).toEqual([0, 0, 0]);
    for (const text of await said(report)) expect(text).toContain(`Nothing behind line ${under + 1} is believed`);
    expect(await audited(lines.slice(0, under + 1)).then(({ audit }) => audit.spent)).toEqual(report.audit.spent);
  });

  it('a round is forgotten whose head has a bad signature, though its signature is verified after its lines', async () => {
    const [, before = 0] = heads.slice(-3);
    const report = await audited(lines.map((line, i) => (i === before ? line.replace(/([A-Za-z0-9+/])([A-Za-z0-9+/]{3}=*\\n"?)/, (_all, one: string, rest: string) => `${one === 'A' ? 'B' : 'A'}${rest}`) : line)));
    expect(report.problems[0]?.message).toMatch(new RegExp(`^line ${before + 1}: `));
    expect(report.rounds.count).toBe(2);
    expect(report.rounds.first.map(({ outcome }) => outcome)).toEqual(['committed', 'open']);
  });

  it('a last line without its newline is not believed, and a clique without a site is not shown', async () => {
    const cut = await audited(lines, '');
    expect(cut.problems[0]?.message).toContain('no newline');
    expect(cut.audit.state.length).toBe((heads.at(-2) ?? 0) + 1);
    const begun = await audited(lines.slice(0, (heads[0] ?? 0) + 1));
    expect(begun.verdict).toBe('verified');
    const [text = '', , page = ''] = await said(begun);
    expect(text).not.toContain('Worst-off patients');
    expect(page).not.toContain('<h2>Cliques</h2>');
    expect(page).not.toContain('id="epsilon"');
  });
});

it('a study without privacy is said to have none in the same words in text, --json and page, and no chart of epsilon is drawn', async () => {
  const none: LedgerMechanism = { protection: 'none', samplingRate: '0.2', steps: 3 };
  const ledger = new LedgerBuilder();
  const modalities = { image: { mechanism: none, rounds: 5, sitesDisjoint: true }, table: { mechanism: none, rounds: 5, sitesDisjoint: true } };
  ledger.add(ledger.plan('Infinity', { modalities, budget: { epsilon: 'Infinity', delta: '0' } }));
  ledger.add(ledger.enrolment('a', 'image'), ledger.enrolment('c', 'table'));
  ledger.add({ ...ledger.reserve('image', ['a']), mechanism: none, epsilonAfter: { pld: 'Infinity', rdp: 'Infinity', delta: '0' } });
  const report = await audited(ledger.lines);
  expect(report.problems).toEqual([]);
  for (const text of await said(report)) {
    expect(text).toContain(NO_PRIVACY);
    expect(text).not.toMatch(/of a budget of|epsilon infinity of/);
    expect(text).not.toContain('id="epsilon"');
  }
});

it('what a table calls by a letter or an abbreviation is explained below it', async () => {
  const [text = '', , page = ''] = await said(await audited(lines));
  expect(text).toContain('q: sampling rate · noise: noise multiplier · PLD, RDP: epsilon by either accountant');
  for (const word of ['PLD', 'RDP', 'clique', 'noise']) expect(page).toContain(`<dt>${word}</dt>`);
});

it('the report of a study without privacy has no card for an epsilon that is not there', () => {
  const [spent, time] = [{ epsilon: null, pld: null, rdp: null, delta: 0 }, '2026-03-04T05:06:07.000Z'];
  const events: readonly StudyEvent[] = [
    { type: 'started', time, study: 's', studyHash: 'ab', folder: '/f', software: 'x', backend: 'cpu', rounds: 4, resumedAfterRound: 0, protection: 'none', accountant: 'pld', budget: { epsilon: null, delta: 0 }, classes: ['a', 'b'], pool: 'log', modalities: [], sites: [{ site: 'north', modality: 'm', patients: 9 }] },
    { type: 'site', time, site: 'north', modality: 'm', state: 'disconnected' },
    { type: 'round-ended', time, round: 2, modality: 'm', outcome: 'committed', sites: ['north'], seconds: 1, epsilonSpent: spent },
    { type: 'ended', time, reason: 'completed', detail: 'all', roundsCommitted: 2, epsilonSpent: spent, seconds: 3, peakMemoryMiB: 9 },
  ];
  const page = renderReport({ events, studyYaml: '', plotLibrary: { script: '', style: '' } });
  expect(page).toContain(NO_PRIVACY);
  expect(page).toContain('2026-03-04 05:06:07 UTC');
  expect(page).not.toMatch(/id="epsilon"|disconnected/);
  expect(renderReport({ events: events.map((event) => (event.type === 'started' ? { ...event, protection: 'local-noise' } : event)), studyYaml: '', plotLibrary: { script: '', style: '' } })).toContain('id="epsilon"');
});
