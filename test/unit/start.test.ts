import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startCoordinator } from '../../coordinator/start.ts';
import { ledgerStudy } from '../support/ledger-study.ts';
import { temporaryFolder } from '../support/processes.ts';

const SITES = 'sites: [{ name: a, modality: image, patients: 90 }, { name: b, modality: image, patients: 80 }, { name: c, modality: table, patients: 70 }]';
const sites = (first: string, second: string): string =>
  `sites: [{ name: a, modality: image, patients: 90, share: ${first} }, { name: b, modality: image, patients: 80, share: ${second} }, { name: c, modality: table, patients: 70, share: { from: 0, to: 0.8 } }]\n` +
  'evaluation: { public: true, sample: p, selection: { share: { from: 0.8, to: 0.9 } }, test: { share: { from: 0.9, to: 1 } } }';

it.each([
  ['trains on patients that are evaluated on', sites('{ from: 0, to: 0.4 }', '{ from: 0.4, to: 0.85 }'), /site "b" trains on patients of evaluation\.selection/],
  ['claims disjoint sites whose selectors overlap', sites('{ from: 0, to: 0.5 }', '{ from: 0.4, to: 0.8 }'), /modality "image" claims sitesDisjoint/],
])('a coordinator does not start with a study that %s, and leaves no trace', async (_title, text, message) => {
  const folder = join(temporaryFolder(), 'run');
  const started = startCoordinator({
    study: ledgerStudy(SITES, text),
    studyYaml: text,
    folder,
    host: '127.0.0.1',
    port: 0,
    publicUrl: undefined,
    data: undefined,
    backend: 'cpu',
    signal: new AbortController().signal,
    show: () => undefined,
  });
  await expect(started).rejects.toThrow(message);
  await expect(started).rejects.toMatchObject({ code: 'study-invalid' });
  expect(existsSync(folder)).toBe(false);
});
