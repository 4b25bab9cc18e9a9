import { join } from 'node:path';
import { loadPlotLibrary } from '../../coordinator/report/page.ts';
import { epsilonFigure } from '../../shared/epsilon-text.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import type { BackendChoice } from '../../shared/platform/backend-choice.ts';
import { makeFolder } from '../../shared/platform/folder.ts';
import { UNCHARGED } from '../audit/uncharged.ts';
import type { DisplayInput } from '../display.ts';
import { cellHash, identityOf } from './cell-store.ts';
import { degradedCsv, resultsCsv } from './csv.ts';
import { expandStudy, type Cell, type Reading } from './grid.ts';
import { experimentPage } from './page.ts';
import { createProgress, type ExperimentProgress } from './progress.ts';
import { readResults, studyLines } from './results.ts';
import { finishedOf, resumeCell, runCell, type CellJob, type FinishedCell } from './run-cell.ts';
import type { Experiment } from './schema.ts';
import { chosen } from './settings.ts';
import { dataDigest, findStudy, type Shipped } from './sources.ts';
import { accuracyText, formatTables } from './table.ts';

export interface ExperimentRun {
  readonly experiment: Experiment;
  /** The experiment file's: paths of studies start from it. */
  readonly folder: string;
  readonly shipped: Shipped;
  readonly dataRoot: string | undefined;
  readonly out: string;
  readonly jobs: number;
  readonly only: readonly string[];
  readonly dryRun: boolean;
  readonly backend: BackendChoice;
  readonly display: DisplayInput;
  readonly signal: AbortSignal;
}

interface Failed {
  readonly cell: Cell;
  readonly message: string;
}

/**
 * The story of an experiment. Killed at any moment and started again with the same --out, it runs what has no result yet. Throws AntiphonError('study-failed') at the end when cells have
 * failed, 'interrupted' when it was stopped; what is finished is written either way.
 */
export async function runExperiment(run: ExperimentRun): Promise<void> {
  const { experiment, out, jobs, display, signal } = run;
  const write = (text: string): void => void display.stream.write(text);
  // 1. Every combination, and every fault of it, before anything is run.
  const { readings, cellJobs, skipped } = await expand(run);
  const remarks = [...skipped.map((why) => `skipped ${why}`), ...(experiment.membership ? [`membership: ${UNCHARGED}`] : [])];
  for (const remark of remarks) write(`${remark}\n`);
  if (cellJobs.length === 0) throw new AntiphonError('data-invalid', `no study of experiment "${experiment.name}" has its records here: give the folder above them with --data DIR`);
  // 2. What has a result already.
  const finished = new Map<Cell, FinishedCell>();
  const trained = new Set<Cell>();
  for (const job of cellJobs) {
    const found = await resumeCell(job);
    const whole = finishedOf(found, job);
    if (whole !== undefined) finished.set(job.cell, whole);
    if (found.result !== undefined) trained.add(job.cell);
  }
  const wanted = cellJobs.filter(({ cell }) => chosen(cell.name, run.only));
  if (wanted.length === 0) throw new AntiphonError('usage', `--only ${run.only.join(' ')} chooses none of the ${cellJobs.length} cells; see their names with --dry-run`);
  if (run.dryRun) {
    for (const { cell, folder } of wanted) write(`${finished.has(cell) ? 'done    ' : trained.has(cell) ? 'to score' : 'to run  '}  ${folder.slice(-20)}  ${cell.name}\n`);
    write(`${wanted.length} cells, ${wanted.filter(({ cell }) => finished.has(cell)).length} done; ${readings.length} readings of ${cellJobs.length} cells in ${out}\n`);
    return;
  }
  // 3. The rest, each by the code of `antiphon simulate`.
  await makeFolder(out);
  const queue = wanted.filter(({ cell }) => !finished.has(cell));
  const done = wanted.flatMap(({ cell }) => finished.get(cell) ?? []).length;
  write(`experiment ${experiment.name}: ${wanted.length} cells, ${done} done before, ${jobs} at a time\n`);
  const known = wanted.flatMap(({ cell }) => (finished.has(cell) ? [{ cell, seconds: finished.get(cell)?.result.seconds ?? 0 }] : []));
  const progress = createProgress(display, { cells: wanted.map(({ cell }) => cell), done: known, jobs, now: Date.now });
  const failed: Failed[] = [];
  try {
    await Promise.all(Array.from({ length: jobs }, async () => work({ run, readings, queue, finished, failed, progress })));
  } finally {
    progress.close();
  }
  // 4. Tables, results.csv, report.html.
  const results = readResults(readings, ({ cell }) => finished.get(cell), experiment);
  const studies = studyLines(results);
  const all = [...remarks, ...failed.map(({ cell, message }) => `failed ${cell.name}: ${message}`), ...(finished.size < cellJobs.length ? [`${finished.size} of ${cellJobs.length} cells have results.`] : [])];
  if (results.length > 0) {
    write(`\n${formatTables(studies, display)}\n`);
    await writeFileAtomic(join(out, 'results.csv'), resultsCsv(results));
    if (experiment.degraded) await writeFileAtomic(join(out, 'degraded.csv'), degradedCsv(results));
    await writeFileAtomic(join(out, 'report.html'), experimentPage({ name: experiment.name, description: experiment.description, studies, remarks: all, plotLibrary: await loadPlotLibrary() }));
  }
  for (const remark of all) write(`${remark}\n`);
  if (results.length > 0) write(`files in ${out}: report.html, results.csv, ${experiment.degraded ? 'degraded.csv, ' : ''}cells/\n`);
  if (signal.aborted) throw new AntiphonError('interrupted', `stopped after ${finished.size} of ${cellJobs.length} cells; to go on: the same command`);
  if (failed.length > 0) throw new AntiphonError('study-failed', `${failed.length} of ${wanted.length} cells failed (see above); the same command tries them again`);
}

async function expand({ experiment, folder, shipped, dataRoot, out }: ExperimentRun): Promise<{ readonly readings: readonly Reading[]; readonly cellJobs: readonly CellJob[]; readonly skipped: readonly string[] }> {
  const readings: Reading[] = [];
  const cellJobs: CellJob[] = [];
  const skipped: string[] = [];
  const digests = new Map<string, Promise<string>>();
  for (const entry of experiment.studies) {
    const found = await findStudy(entry, { folder, shipped, dataRoot });
    if ('skipped' in found) {
      skipped.push(found.skipped);
      continue;
    }
    const grid = expandStudy(experiment, { entry, source: found.source });
    const data = await dataDigest(found.source, digests);
    readings.push(...grid.readings);
    for (const cell of grid.cells) {
      const identity = identityOf(cell, data);
      cellJobs.push({ cell, identity, folder: join(out, 'cells', cellHash(identity)), references: experiment.membership ? experiment.references : undefined });
    }
  }
  return { readings, cellJobs, skipped };
}

/** One of `jobs` workers: takes cells until none is left. A failed cell is told, and the next is taken. */
async function work(shift: { readonly run: ExperimentRun; readonly readings: readonly Reading[]; readonly queue: CellJob[]; readonly finished: Map<Cell, FinishedCell>; readonly failed: Failed[]; readonly progress: ExperimentProgress }): Promise<void> {
  const { run: { backend, signal }, readings, queue, finished, failed, progress } = shift;
  const stopped = (): boolean => signal.aborted;
  for (let job = queue.shift(); job !== undefined && !stopped(); job = queue.shift()) {
    const { cell } = job;
    const since = Date.now();
    const secondsOf = (): number => (Date.now() - since) / 1000;
    progress.started(cell);
    try {
      const outcome = await runCell(job, { backend, signal, show: (event) => { progress.event(cell, event); } });
      finished.set(cell, outcome);
      const { epsilon } = outcome.result.spent;
      const results = readResults(readings.filter((reading) => reading.cell === cell), () => outcome, { degraded: false });
      progress.finished(cell, { seconds: secondsOf(), failed: false, text: `${accuracyText(results)}, epsilon ${epsilon === null ? 'infinity' : epsilonFigure(epsilon, 3)}` });
    } catch (error) {
      if (stopped()) return;
      const message = error instanceof AntiphonError ? error.message : `unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
      failed.push({ cell, message });
      progress.finished(cell, { seconds: secondsOf(), failed: true, text: `FAILED: ${message}` });
    }
  }
}
