import { join } from 'node:path';
import type { StudyEvent } from '../../coordinator/events.ts';
import { enterRunFolder } from '../../coordinator/store/run-folder.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { parseJson } from '../../shared/json.ts';
import type { BackendChoice } from '../../shared/platform/backend-choice.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { simulate, startChild } from '../simulate.ts';
import { writeSyntheticData } from '../synthetic.ts';
import { cellFiles, claimAttempt, membershipFromUnknown, readMembership, readResult, removeOtherAttempts, writeResult, type CellIdentity, type CellMembership, type CellResult } from './cell-store.ts';
import type { Cell, StudySource } from './grid.ts';
import { scoreRun, type RunScores } from './scores.ts';

export interface FinishedCell {
  readonly result: CellResult;
  readonly scores: RunScores;
  readonly membership: CellMembership | undefined;
}

export interface CellJob {
  readonly cell: Cell;
  readonly identity: CellIdentity;
  readonly folder: string;
  /** Reference models of the attack; undefined: no attack. */
  readonly references: number | undefined;
}

export interface CellRunner {
  readonly backend: BackendChoice;
  readonly signal: AbortSignal;
  readonly show: (event: StudyEvent) => void;
}

/** What is there of a cell already. */
export async function resumeCell({ identity, folder, references }: CellJob): Promise<{ readonly trained: Omit<FinishedCell, 'membership'> | undefined; readonly membership: CellMembership | undefined; readonly done: boolean }> {
  const trained = await readResult(folder, identity);
  const membership = trained === undefined || references === undefined ? undefined : await readMembership(folder, references);
  return { trained, membership, done: trained !== undefined && (references === undefined || membership !== undefined) };
}

/** Trains what is not trained, by `simulate`, and attacks what is not attacked, by `audit --membership`. */
export async function runCell(job: CellJob, runner: CellRunner): Promise<FinishedCell> {
  const { folder, references } = job;
  const found = await resumeCell(job);
  const trained = found.trained ?? (await train(job, runner));
  await removeOtherAttempts(folder, trained.result.run);
  if (references === undefined || found.membership !== undefined) return { ...trained, membership: found.membership };
  const run = join(folder, trained.result.run);
  const line = await lastLine(['audit', '--membership', run, '--data', dataOf(job.cell.source, run), '--references', String(references), '--backend', runner.backend, '--json'], runner.signal);
  const membership = membershipFromUnknown(parseJson(line));
  if (membership === undefined) throw new AntiphonError('internal', `the membership audit of ${run} said: ${line.slice(0, 200)}`);
  await writeFileAtomic(cellFiles(folder).membership, `${line}\n`);
  return { ...trained, membership };
}

async function train({ cell, identity, folder }: CellJob, { backend, signal, show }: CellRunner): Promise<Omit<FinishedCell, 'membership'>> {
  const name = await claimAttempt(folder);
  const run = join(folder, name);
  const data = dataOf(cell.source, run);
  await enterRunFolder(run);
  if (cell.source.data.type === 'made-up') await writeSyntheticData(data, { seed: cell.study.seed });
  const { events } = await simulate({ study: cell.study, folder: run, data, backend, signal, show });
  const ended = events.filter((event) => event.type === 'ended').at(-1);
  const test = events.filter((event) => event.type === 'evaluated' && event.split === 'test').at(-1);
  if (ended === undefined || (ended.reason !== 'completed' && ended.reason !== 'budget-exhausted')) {
    throw new AntiphonError(ended?.reason === 'interrupted' ? 'interrupted' : 'study-failed', `the study ended early: ${ended?.detail ?? 'without a word'}`);
  }
  if (ended.roundsCommitted === 0 || test?.type !== 'evaluated') throw new AntiphonError('budget-exhausted', `the study committed no round, so there is nothing to evaluate: ${ended.detail}`);
  const { epsilon, delta, pld, rdp } = ended.epsilonSpent;
  const { perModality, fused } = test.evaluation;
  const result: CellResult = {
    antiphonCell: 1,
    name: cell.name,
    identity,
    run: name,
    reason: ended.reason,
    rounds: ended.roundsCommitted,
    spent: { epsilon, pld, rdp, delta },
    seconds: ended.seconds,
    accuracy: Object.fromEntries([...Object.entries(perModality), ...Object.entries(fused)].map(([on, { accuracy }]) => [on, accuracy])),
  };
  const scores = await scoreRun({ folder: run, data, backend });
  await writeResult(folder, { result, scores });
  return { result, scores };
}

function dataOf({ data }: StudySource, run: string): string {
  return data.type === 'made-up' ? join(run, 'data') : data.folder;
}

async function lastLine(args: readonly string[], signal: AbortSignal): Promise<string> {
  const child = startChild(args, signal);
  let last = '';
  child.onLine((line) => {
    last = line;
  });
  try {
    await child.ended;
    return last;
  } finally {
    await child.stop();
  }
}
