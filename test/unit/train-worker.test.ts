import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it, vi } from 'vitest';
import type { TrainerAnswer, TrainerRequest } from '../../client/train-job.ts';
import { canonicalJson } from '../../shared/ledger/canonical.ts';
import { networkOf } from '../../shared/model/network.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { temporaryFolder } from '../support/processes.ts';

/** The worker's end of the channel to the site's process, in this process. */
const port = vi.hoisted(() => {
  const listeners: ((request: unknown) => void)[] = [];
  const waiting: ((answer: unknown) => void)[] = [];
  return {
    parentPort: { on: (_event: string, listener: (request: unknown) => void) => listeners.push(listener), postMessage: (answer: unknown) => waiting.shift()?.(answer) },
    ask: (request: unknown) =>
      new Promise<unknown>((resolve) => {
        waiting.push(resolve);
        for (const listener of listeners) listener(request);
      }),
  };
});
vi.mock('node:worker_threads', () => ({ parentPort: port.parentPort }));
const ask = (request: TrainerRequest): Promise<TrainerAnswer> => port.ask(request) as Promise<TrainerAnswer>;

beforeAll(async () => {
  await import('../../client/train-worker.ts');
});

const PATIENTS = 12;
const study = (cap: number, samplingRate = 0.5) =>
  parseStudy(
    `
antiphon: 1
name: capped
classes: ["no", "yes"]
modalities:
  table: { shape: [2], encoder: { type: mlp, hidden: [3], activation: tanh }, records: { index: all.csv, values: all.csv, columns: [x, y], patient: patient, label: label } }
head: { features: 4 }
sites: [{ name: north, modality: table, patients: ${cap}, where: { split: train } }]
schedule: { rounds: 3, localSteps: 2 }
optimiser: { local: { learningRate: 0.2 } }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: ${samplingRate}, delta: 0.001, noiseMultiplier: 1.4 }
`,
    'capped.yaml',
  );

/** Twelve training patients, two of them with two records, and one patient more of another split. */
function dataFolder(): string {
  const data = temporaryFolder();
  const rows = Array.from({ length: PATIENTS + 3 }, (_, i) => `p${i < PATIENTS ? i : i === PATIENTS + 2 ? 'test' : i - PATIENTS},${i % 2},${i === PATIENTS + 2 ? 'test' : 'train'},${(0.1 * i).toFixed(2)},${Math.sin(i).toFixed(3)}`);
  writeFileSync(join(data, 'all.csv'), ['patient,label,split,x,y', ...rows].join('\n'));
  return data;
}

it('a site with as many patients as the study allows is opened and trains; with one more it is not, and has nothing to train on', async () => {
  const data = dataFolder();
  const fits = study(PATIENTS);
  const open = { type: 'open', site: 'north', data, home: temporaryFolder(), backend: 'cpu' } as const;
  const network = networkOf(fits, 'table');
  const weights = network.initialise(3, 'table');
  const train = { type: 'train', site: 'north', weights, mechanism: { protection: 'local-noise', samplingRate: 0.5, noiseMultiplier: 1.4, clipNorm: 1, steps: 2 }, learningRate: 0.2 } as const;
  expect(await ask({ ...open, id: 3, study: canonicalJson(study(PATIENTS - 1)) })).toMatchObject({ type: 'failed', id: 3, code: 'data-invalid', message: expect.stringMatching(/at most 11 patients, its data hold 12/) as string });
  expect(await ask({ ...train, id: 4 })).toMatchObject({ type: 'failed', id: 4, code: 'internal' });
  expect(await ask({ ...open, id: 5, study: canonicalJson(fits) })).toMatchObject({ type: 'opened', id: 5, unreadable: 0 });
  const trained = await ask({ ...train, id: 6 });
  if (trained.type !== 'trained') throw new Error(JSON.stringify(trained));
  expect(trained.update).toHaveLength(network.size);
  expect(trained.update.every((value) => Number.isFinite(value) && value !== 0)).toBe(true);
});
