import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import type { StudyEvent } from '../../coordinator/events.ts';
import { createDisplay } from '../../deploy/display.ts';
import { terminalOf, type Terminal } from '../../deploy/terminal.ts';

it.each([
  ['a terminal', true, { TERM: 'xterm-256color' }, { live: true, color: true }],
  ['an empty NO_COLOR says nothing', true, { TERM: 'xterm', NO_COLOR: '' }, { live: true, color: true }],
  ['NO_COLOR', true, { TERM: 'xterm', NO_COLOR: '1' }, { live: false, color: false }],
  ['a dumb terminal', true, { TERM: 'dumb' }, { live: false, color: false }],
  ['a pipe', false, { TERM: 'xterm' }, { live: false, color: false }],
] as const)('%s', (_title, isTTY, environment, expected) => {
  expect(terminalOf({ isTTY }, environment)).toEqual(expected);
});

const SPENT = { epsilon: 1.2, pld: 1.2, rdp: 1.5, delta: 1e-5 };
const time = '2026-03-04T05:06:07.000Z';
const EVENTS: readonly StudyEvent[] = [
  { type: 'started', time, study: 's', studyHash: 'ab', folder: '/f', software: 'x', backend: 'cpu', rounds: 4, resumedAfterRound: 2, protection: 'none', accountant: 'pld', budget: { epsilon: null, delta: 0 }, classes: ['a', 'b'], pool: 'log', modalities: [], sites: [] },
  { type: 'listening', time, url: 'http://127.0.0.1:1', coordinatorKey: 'ab' },
  { type: 'round-started', time, round: 3, modality: 'm', cohort: ['a'], epsilonAfter: 1 },
  { type: 'round-ended', time, round: 3, modality: 'm', outcome: 'aborted', reason: 'late', sites: [], seconds: 1, epsilonSpent: SPENT },
  { type: 'failure', time, code: 'malformed', message: 'no' },
  { type: 'ended', time, reason: 'failed', detail: 'x', roundsCommitted: 2, epsilonSpent: SPENT, seconds: 3, peakMemoryMiB: 9 },
];

function written(terminal: Terminal, events = EVENTS): string {
  let text = '';
  const stream = new Writable({ write: (part: Buffer, _encoding, done) => { text += part.toString(); done(); } });
  const display = createDisplay({ stream: stream as unknown as NodeJS.WriteStream, ...terminal });
  for (const event of events) display.show(event);
  display.close();
  return text;
}

it('where no escape code is wanted the display writes none, and else it does', () => {
  const codes = /[\u001b\u009b]/;
  const plain = written(terminalOf({ isTTY: true }, { TERM: 'dumb' }));
  expect(plain).toContain('round 3 (m) aborted: late');
  expect(plain).not.toMatch(codes);
  expect(written({ live: true, color: true })).toMatch(codes);
});

it('a study without privacy has no epsilon of a budget, and says so', () => {
  const plain = written(terminalOf({ isTTY: false }, {}));
  expect(plain).toContain('no privacy, so no epsilon · 2 rounds');
  expect(plain).not.toMatch(/epsilon spent|infinity/);
});

it('the display counts as people do, and names the command that lets a missing site in', () => {
  const [started] = EVENTS;
  const site = { site: 'a', modality: 'm', patients: 9 };
  const modality = { modality: 'm', encoder: 'mlp', parameters: 3, rounds: 1, localSteps: 2, samplingRate: 0.1, noiseMultiplier: null, clipNorm: null };
  const plain = written(terminalOf({ isTTY: false }, {}), [
    { ...started, rounds: 1, sites: [site], modalities: [modality] } as StudyEvent,
    { type: 'listening', time, url: 'http://127.0.0.1:1', coordinatorKey: 'ab', notEnrolled: ['a'] },
    { type: 'round-ended', time, round: 1, modality: 'm', outcome: 'committed', sites: ['a'], seconds: 1, epsilonSpent: SPENT },
    { type: 'ended', time, reason: 'completed', detail: 'x', roundsCommitted: 1, epsilonSpent: SPENT, seconds: 3, peakMemoryMiB: 9 },
  ]);
  expect(plain).toContain('1 site, 1 modality, 1 round ·');
  expect(plain).toContain('waiting for 1 site\nnot enrolled yet: a; its invite: npx antiphon coordinator invite --out /f --site a\n');
  expect(plain).toContain('m: 1 site, 1.00 s');
  expect(plain).toContain('· 1 round ·');
  expect(plain).not.toMatch(/\b1 (?:sites|rounds|modalities)\b/);
});
