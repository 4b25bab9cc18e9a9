import { expect, it } from 'vitest';
import type { StudyEvent } from '../../coordinator/events.ts';
import { renderReport } from '../../coordinator/report/report.ts';
import { epsilonFigure } from '../../shared/epsilon-text.ts';

const TIME = '2026-03-04T05:06:07.000Z';
const SPENT = { epsilon: 0.00123456, delta: 1e-5, pld: 0.00123456, rdp: 0.0045 };

const ended = (reason: 'completed' | 'failed' | 'interrupted', roundsCommitted: number): StudyEvent => ({ type: 'ended', time: TIME, reason, detail: 'x', roundsCommitted, epsilonSpent: SPENT, seconds: 3, peakMemoryMiB: 90 });
const pageOf = (...events: readonly StudyEvent[]): string => renderReport({ events, studyYaml: '', plotLibrary: { script: '', style: '' } });

it('an epsilon is never told as 0 that is none: a small one keeps three digits, others their decimals', () => {
  expect(epsilonFigure(0, 3)).toBe('0.000');
  expect(epsilonFigure(1e-5, 3)).toBe('0.00001');
  expect(epsilonFigure(4.5678e-9, 2)).toBe('4.57e-9');
  expect(epsilonFigure(0.0099, 2)).toBe('0.0099');
  expect(epsilonFigure(0.0101, 3)).toBe('0.010');
  expect(epsilonFigure(3.14159, 4)).toBe('3.1416');
});

it('a report without a number of the test part says why there is none, in the section and in its card', () => {
  const none = pageOf(ended('failed', 0));
  expect(none).toContain('No round committed, so there is no trained model');
  expect(none).toContain('<small>no round committed</small>');
  const early = pageOf(ended('interrupted', 3));
  expect(early).toContain('is looked at once, when all its rounds are over');
  expect(early).toContain('<small>not ended yet</small>');
  const without = pageOf(ended('completed', 3));
  expect(without).toContain('The study declares no evaluation records');
  expect(without).toContain('<small>no evaluation records</small>');
  for (const page of [none, early]) expect(page).not.toContain('declares no evaluation records');
});

it('a small epsilon is not 0 in a report', () => {
  expect(pageOf(ended('completed', 3))).toContain('<b>0.00123</b>');
});
