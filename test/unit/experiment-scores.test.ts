import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { createScorer } from '../../coordinator/evaluate.ts';
import { openFinishedRun } from '../../deploy/audit/finished-run.ts';
import { cellFiles, identityOf, readScores, writeResult, type CellResult } from '../../deploy/experiment/cell-store.ts';
import { expandStudy, type Cell } from '../../deploy/experiment/grid.ts';
import { resumeCell, runCell, scoreAgain, type CellJob, type CellRunner } from '../../deploy/experiment/run-cell.ts';
import { parseExperiment } from '../../deploy/experiment/schema.ts';
import { scoreRun, type RunScores } from '../../deploy/experiment/scores.ts';
import { buildEvaluationSet } from '../../shared/data/evaluation-set.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { finishedCell } from '../support/experiment-cells.ts';
import { temporaryFolder } from '../support/processes.ts';
import { writeRun } from '../support/run-scene.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

beforeAll(() => openBackend('wasm'));

const runner: CellRunner = { backend: 'wasm', signal: new AbortController().signal, show: () => undefined };

/** A cell whose run is there, and its result, with scores that nobody can read. */
async function unscored(change: { readonly extra?: string; readonly ranSeed?: number } = {}): Promise<{ readonly job: CellJob; readonly cell: Cell; readonly result: CellResult; readonly run: string; readonly data: string }> {
  const home = temporaryFolder();
  const { study: path, data } = writeTinyStudy(home, { extra: change.extra ?? '' });
  const experiment = parseExperiment(['experiment: 1', 'name: grid', 'studies: [{ study: tiny.yaml, data: data }]', 'epsilon: [8]', 'seeds: [5, 6]'].join('\n'), 'grid.yaml');
  const { cells } = expandStudy(experiment, { entry: experiment.studies[0]!, source: { path, text: readFileSync(path, 'utf8'), data: { type: 'folder', folder: data } } });
  const cell = cells[0]!;
  const ran = cells.find(({ seed }) => seed === (change.ranSeed ?? 5))!;
  const folder = join(home, 'cell');
  const run = join(folder, 'run-1');
  await writeRun(run, ran.study);
  const identity = identityOf(cell, 'records');
  const result = { ...finishedCell(cell, { right: 7 }).result, identity };
  await writeResult(folder, { result, scores: finishedCell(cell, { right: 7 }).scores });
  writeFileSync(cellFiles(folder).scores, '{"antiphonScores":2}');
  return { job: { cell, identity, folder, references: undefined }, cell, result, run, data };
}

describe('a trained cell without scores', () => {
  it('is scored again from its run, and keeps what was scored; nothing is trained', async () => {
    const { job, result, run, data } = await unscored();
    const { scores } = await runCell(job, runner);
    expect(scores).toEqual(await scoreRun({ folder: run, studyHash: job.identity.study, data, backend: 'wasm' }));
    expect(scores.test.labels).toHaveLength(40);
    expect(await readScores(job.folder)).toEqual(withoutTemperatures(scores));
    expect(await resumeCell(job)).toEqual({ result, scores: withoutTemperatures(scores), membership: undefined });
    // There is nothing left to do: not even its run is needed.
    rmSync(run, { recursive: true });
    expect(await runCell(job, runner)).toEqual({ result, scores: withoutTemperatures(scores), membership: undefined });
  });

  it('is not given up where only the records are missing: its result stays, and so does its run', async () => {
    const { job, result, run, data } = await unscored();
    renameSync(data, `${data}-elsewhere`);
    await expect(runCell(job, runner)).rejects.toMatchObject({ code: 'data-invalid' });
    expect((await resumeCell(job)).result).toEqual(result);
    renameSync(`${data}-elsewhere`, data);
    expect((await runCell(job, runner)).result).toEqual(result);
    // A run that is not whole is another matter.
    writeFileSync(cellFiles(job.folder).scores, '{}');
    rmSync(join(run, 'checkpoints'), { recursive: true });
    expect(await scoreAgain(job, runner, result)).toBeUndefined();
  });

  it('is not scored by a run of another study, of which it says nothing', async () => {
    const { job, result, run, data } = await unscored({ ranSeed: 6 });
    await expect(scoreRun({ folder: run, studyHash: job.identity.study, data, backend: 'wasm' })).rejects.toMatchObject({ code: 'study-invalid', message: expect.stringContaining('expected a run of study') as string });
    expect(await scoreAgain(job, runner, result)).toBeUndefined();
    expect(await readScores(job.folder)).toBeUndefined();
  });
});

/** They follow from the scores, and are not kept. */
function withoutTemperatures({ selection, test, degraded }: RunScores): RunScores {
  const plain = ({ classes, labels, modalities }: RunScores['test']): RunScores['test'] => ({ classes, labels, modalities });
  return { selection: plain(selection), test: plain(test), degraded };
}

it.each(['none', 'temperature', 'selection'])('scores carry the whole calibration for every reading, though the study calibrates by %s', async (calibration) => {
  const { job, run, data } = await unscored({ extra: `fusion: { calibration: ${calibration} }` });
  const scores = await scoreRun({ folder: run, studyHash: job.identity.study, data, backend: 'wasm' });
  const { study, networks, model } = await openFinishedRun(run);
  expect(study.fusion.calibration).toBe(calibration);
  const [selection, test] = await Promise.all((['selection', 'test'] as const).map((part) => buildEvaluationSet({ study, part, files: openDataFolder(data), primitives })));
  const scorer = await createScorer({ model, networks, selection: selection!, fusion: { ...study.fusion, calibration: 'selection' } });
  expect(scores).toEqual({ selection: await scorer.score(selection!), test: await scorer.score(test!), degraded: await scorer.scoreDegraded(test!) });
  for (const { temperature } of Object.values(scores.test.modalities)) expect(Math.abs(temperature! - 1)).toBeGreaterThan(1e-3);
});
