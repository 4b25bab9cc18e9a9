import { join } from 'node:path';
import type { StudyEvent } from '../../coordinator/events.ts';
import { enterRunFolder } from '../../coordinator/store/run-folder.ts';
import { AntiphonError, type ErrorCode } from '../../shared/errors.ts';
import { parseJson } from '../../shared/json.ts';
import type { BackendChoice } from '../../shared/platform/backend-choice.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { simulate, startChild } from '../simulate.ts';
import { writeSyntheticData } from '../synthetic.ts';
import { cellFiles, claimAttempt, membershipFromUnknown, readMembership, readResult, readScores, removeOtherAttempts, writeResult, type CellIdentity, type CellMembership, type CellResult } from './cell-store.ts';
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
export interface ResumedCell {
  readonly result: CellResult | undefined;
  readonly scores: RunScores | undefined;
  readonly membership: CellMembership | undefined;
}

export async function resumeCell({ identity, folder, references }: CellJob): Promise<ResumedCell> {
  const result = await readResult(folder, identity);
  if (result === undefined) return { result, scores: undefined, membership: undefined };
  return { result, scores: await readScores(folder), membership: references === undefined ? undefined : await readMembership(folder, references) };
}

/** Undefined where something of it is missing. */
export function finishedOf({ result, scores, membership }: ResumedCell, { references }: CellJob): FinishedCell | undefined {
  return result === undefined || scores === undefined || (references !== undefined && membership === undefined) ? undefined : { result, scores, membership };
}

/** Trains what is not trained, by `simulate`, scores what is not scored, and attacks what is not attacked, by `audit --membership`. */
export async function runCell(job: CellJob, runner: CellRunner): Promise<FinishedCell> {
  const { folder, references } = job;
  const trained = await trainedCell(job, runner, await resumeCell(job));
  await removeOtherAttempts(folder, trained.result.run);
  if (references === undefined) return { ...trained, membership: undefined };
  // Asked only now: training has removed the attack on an earlier model.
  const known = await readMembership(folder, references);
  if (known !== undefined) return { ...trained, membership: known };
  const run = join(folder, trained.result.run);
  const line = await lastLine(['audit', '--membership', run, '--data', dataOf(job.cell.source, run), '--references', String(references), '--backend', runner.backend, '--json'], runner.signal);
  const membership = membershipFromUnknown(parseJson(line));
  if (membership === undefined) throw new AntiphonError('internal', `the membership audit of ${run} said: ${line.slice(0, 200)}`);
  await writeFileAtomic(cellFiles(folder).membership, `${line}\n`);
  return { ...trained, membership };
}

async function trainedCell(job: CellJob, runner: CellRunner, { result, scores }: ResumedCell): Promise<Omit<FinishedCell, 'membership'>> {
  if (result !== undefined && scores !== undefined) return { result, scores };
  const again = result === undefined ? undefined : await scoreAgain(job, runner, result);
  return again ?? train(job, runner);
}

/**
 * A trained model, asked again; undefined where its run is no longer there, no longer whole or another study's, so that it has to be trained anew. A fault of something else (records, backend) is
 * thrown: training would meet it too, and would have given the model up.
 */
export async function scoreAgain({ cell, identity, folder }: CellJob, { backend }: CellRunner, result: CellResult): Promise<Omit<FinishedCell, 'membership'> | undefined> {
  const run = join(folder, result.run);
  const scores = await scoreRun({ folder: run, studyHash: identity.study, data: dataOf(cell.source, run), backend }).catch((error: unknown) => {
    if (error instanceof AntiphonError && isOfRun(error.code, cell.source)) return undefined;
    throw error;
  });
  if (scores === undefined) return undefined;
  await writeResult(folder, { result, scores });
  return { result, scores };
}

/** Made-up records lie in the run's own folder. */
function isOfRun(code: ErrorCode, { data }: StudySource): boolean {
  return code !== 'backend-unavailable' && code !== 'backend-wrong' && (code !== 'data-invalid' || data.type === 'made-up');
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
  const scores = await scoreRun({ folder: run, studyHash: identity.study, data, backend });
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
