import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StudyEvent } from '../../coordinator/events.ts';
import { renderReport } from '../../coordinator/report/report.ts';
import { auditCommand } from '../../deploy/audit/command.ts';
import { renderAuditPage } from '../../deploy/audit/html.ts';
import { auditError, auditLedger, type AuditReport } from '../../deploy/audit/run.ts';
import type { LineSource } from '../../deploy/audit/source.ts';
import { LedgerBuilder } from '../support/ledger-builder.ts';
import { temporaryFolder } from '../support/processes.ts';

/** Each breaks out of one place of a page: an element, an attribute in either quotes, a script, a comment. */
const HOSTILE = ['<img src=x onerror=alert(1)>', '"onmouseover="alert(2)', "'onmouseover='alert(3)", '</script><script>alert(4)</script>', '<!--<script>', 'a & b &lt;c&gt;'];
const TIME = '2026-03-04T05:06:07.000Z';
const SPENT = { epsilon: 1.2, pld: 1.2, rdp: 1.5, delta: 1e-5 };

/** The text that a browser would show for the escaped one. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;').replaceAll("'", '&#39;');
}

/** Where text is read as HTML; behind it stand the scripts, where only "<" could end one. */
function markup(page: string): string {
  return page.slice(0, page.indexOf('</main>'));
}

const scriptEnds = (page: string): number => page.split(/<\/script|<!--/).length;

describe.each(HOSTILE)('the text %s', (text) => {
  it('is only text in a report, whoever said it: a failure, a reason, a study file', () => {
    const events: readonly StudyEvent[] = [
      {
        type: 'started', time: TIME, study: text, studyHash: text, folder: text, software: text, backend: text, rounds: 4, resumedAfterRound: 0, protection: 'local-noise', accountant: 'pld', budget: { epsilon: 3, delta: 1e-5 }, classes: ['no', text], pool: 'linear',
        modalities: [{ modality: text, encoder: text, parameters: 9, rounds: 2, localSteps: 3, samplingRate: 0.2, noiseMultiplier: 1.7, clipNorm: 0.9 }],
        sites: [{ site: text, modality: text, patients: 90 }],
      },
      { type: 'failure', time: TIME, site: text, code: text, message: text },
      { type: 'failure', time: TIME, code: 'malformed', message: text },
      { type: 'round-ended', time: TIME, round: 2, modality: text, outcome: 'aborted', reason: text, sites: [], seconds: 1.5, epsilonSpent: SPENT },
      { type: 'ended', time: TIME, reason: 'failed', detail: text, roundsCommitted: 2, epsilonSpent: SPENT, seconds: 3, peakMemoryMiB: 90 },
    ];
    const page = renderReport({ events, studyYaml: text, plotLibrary: { script: '', style: '' } });
    const empty = renderReport({ events: [], studyYaml: '', plotLibrary: { script: '', style: '' } });
    expect(markup(page).includes(text)).toBe(false);
    expect(markup(page).split(escaped(text)).length - 1).toBeGreaterThanOrEqual(12);
    expect(scriptEnds(page)).toBe(scriptEnds(empty));
  });

  it('is only text in the page of an audit, whoever wrote the ledger', async () => {
    const ledger = new LedgerBuilder();
    ledger.add(ledger.plan('3', { studyName: text, sites: [{ name: text, modality: 'image', patients: 90 }], order: ['image'] }), { type: 'disclosure', what: text, why: text });
    ledger.add(ledger.enrolment(text, 'image'));
    ledger.add(ledger.reserve('image', [text]));
    ledger.push(ledger.receipt(text));
    ledger.add(ledger.outcome('commit', [text]));
    ledger.add({ type: 'end', reason: 'completed', detail: text, epsilonSpent: ledger.state.spent });
    const report = await audited(ledger.lines, [], text);
    expect(report.problems).toEqual([]);
    const page = await renderAuditPage({ ...report, problems: [{ verdict: 'tampered', message: text }] });
    const plain = await renderAuditPage(await audited(LedgerBuilder.example().lines));
    expect(markup(page).includes(text)).toBe(false);
    expect(markup(page).split(escaped(text)).length - 1).toBeGreaterThanOrEqual(7);
    expect(scriptEnds(page)).toBe(scriptEnds(plain));
  });
});

function source(lines: readonly string[], name = 'ledger.jsonl'): LineSource {
  return {
    name,
    lines: async function* () {
      for (const line of lines) yield await Promise.resolve(line);
      return { complete: true };
    },
  };
}

function audited(lines: readonly string[], copies: readonly (readonly string[])[] = [], name?: string): Promise<AuditReport> {
  return auditLedger({ ledger: source(lines, name), witnesses: [], copies: copies.map((copy) => source(copy, 'copy.jsonl')), spendLogs: [] });
}

describe('the exit code of an audit', () => {
  const codeOf = async (lines: readonly string[], copies?: readonly (readonly string[])[]): Promise<number> => auditError(await audited(lines, copies))?.exitCode ?? 0;

  it('tells an intact ledger from one that was changed, forked, overspent or is none', async () => {
    const { lines } = LedgerBuilder.example();
    expect(await codeOf(lines)).toBe(0);
    expect(await codeOf(lines.map((line, i) => (i === 3 ? line.replace('"site":"a"', '"site":"b"') : line)))).toBe(21);
    expect(await codeOf(lines.slice(0, -1))).toBe(21);
    expect(await codeOf(lines, [LedgerBuilder.example().lines])).toBe(22);
    expect(await codeOf([])).toBe(23);
    const poor = new LedgerBuilder();
    poor.add(poor.plan('0.2'), poor.enrolment('a', 'image'));
    expect(await codeOf([...poor.lines, poor.write(poor.reserve('image', ['a'])).text])).toBe(20);
  });

  it('is what the command leaves to the process', async () => {
    const { lines } = LedgerBuilder.example();
    const before = process.exitCode;
    const run = async (text: readonly string[]): Promise<unknown> => {
      const path = join(temporaryFolder(), 'ledger.jsonl');
      writeFileSync(path, text.map((line) => `${line}\n`).join(''));
      const written: string[] = [];
      const parts = { syntheticStudy: 'not read here', color: false, signal: AbortSignal.abort(), write: (part: string) => written.push(part), note: () => expect.unreachable('nothing is said beside the report') };
      await auditCommand(parts).parseAsync(['--json', path], { from: 'user' });
      const { exitCode } = process;
      process.exitCode = before;
      expect(JSON.parse(written.join(''))).toMatchObject({ verdict: exitCode === 0 ? 'verified' : 'tampered' });
      return exitCode;
    };
    expect(await run(lines)).toBe(0);
    expect(await run([...lines.slice(0, 3), ...lines.slice(4)])).toBe(21);
  });
});
