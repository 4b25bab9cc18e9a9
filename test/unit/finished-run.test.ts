import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { modelHash } from '../../coordinator/committed-model.ts';
import { flatOf } from '../../coordinator/model-state.ts';
import { runFiles } from '../../coordinator/store/run-folder.ts';
import { openFinishedRun } from '../../deploy/audit/finished-run.ts';
import { attackRun } from '../../deploy/audit/membership.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { temporaryFolder } from '../support/processes.ts';
import { waves, writeRun } from '../support/run-scene.ts';
import { bodiesOf, newWorld, startStudy, type Answer } from '../support/study-scene.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

beforeAll(() => openBackend('wasm'));

function tiny(change: Parameters<typeof writeTinyStudy>[1] = {}): { readonly folder: string; readonly study: Study; readonly data: string } {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder, change);
  return { folder, study: parseStudy(readFileSync(study, 'utf8'), study), data };
}

const modelOuts = (ledger: readonly string[]): string[] => bodiesOf(ledger).flatMap((body) => (body.type === 'commit' ? [body.modelOut] : []));
const linesOf = (run: string): string[] => readFileSync(runFiles(run).ledger, 'utf8').trim().split('\n');

describe('a finished run', () => {
  it('is its last committed model, which its ledger names, and the rounds that have made it', async () => {
    const { folder, study } = tiny();
    // Round 4, of the other modality, ends without a model.
    const { end } = await writeRun(folder, study, { answer: (_site, round): Answer => (round === 2 || round === 4 ? 'fail' : 'deliver') });
    expect(end.reason).toBe('completed');
    const run = await openFinishedRun(folder);
    expect(run.round).toBe(3);
    expect(run.rounds).toEqual([{ round: 1, modality: 'left' }, { round: 3, modality: 'left' }]);
    expect(run.ledger.lastCommit).toEqual({ round: 3, modality: 'left', modelOut: modelOuts(linesOf(folder)).at(-1) });
    expect(modelHash(primitives, run.model, 'left')).toBe(run.ledger.lastCommit?.modelOut);
    expect(flatOf(run.model, 'left').some((value) => value !== 0)).toBe(true);
  });

  it('is attacked with reference models of the rounds that it has committed, and of no others', async () => {
    const { folder, study, data } = tiny();
    await writeRun(folder, study, { answer: (_site, round): Answer => (round === 2 || round === 4 ? 'fail' : 'deliver') });
    // Training asks it before every round.
    let asked = 0;
    const signal = Object.defineProperty(new AbortController().signal, 'aborted', { get: () => { asked += 1; return false; } });
    const report = await attackRun({ folder, data, references: 2, signal });
    expect(report).toMatchObject({ study: 'tiny', round: 3, references: 2 });
    expect(report.rows.map(({ on }) => on)).toEqual(['left', 'left', 'left', 'right', 'right', 'right', 'fused', 'fused', 'fused']);
    expect(asked).toBe(2 * 2);
  });

  it('of another run of the same study is not taken: the ledger names another model', async () => {
    const { folder, study } = tiny();
    const [own, other] = [join(folder, 'own'), join(folder, 'other')];
    await writeRun(own, study);
    await writeRun(other, study, { phase: 1.1 });
    const checkpoint = (run: string): string => join(runFiles(run).checkpoints, 'round-000004.safetensors');
    copyFileSync(checkpoint(other), checkpoint(own));
    const wanted = modelOuts(linesOf(own)).at(-1)!.slice(0, 16);
    const found = modelOuts(linesOf(other)).at(-1)!.slice(0, 16);
    await expect(openFinishedRun(own)).rejects.toMatchObject({ code: 'ledger-tampered', message: expect.stringMatching(new RegExp(`expected the checkpoint of round 4 .*right, SHA-256 ${wanted}.*found another one \\(${found}.*restore`)) as string });
  });

  it('whose study file is another one is not taken', async () => {
    const { folder, study } = tiny();
    await writeRun(folder, study);
    writeFileSync(runFiles(folder).study, readFileSync(runFiles(folder).study, 'utf8').replace('name: tiny', 'name: tinier'));
    await expect(openFinishedRun(folder)).rejects.toMatchObject({ code: 'ledger-tampered', message: expect.stringContaining('as its study.yaml is') as string });
  });
});

describe('a coordinator that starts again', () => {
  it('goes on from the model that its ledger names, and from no other', async () => {
    const { study } = tiny({ rounds: 6 });
    const world = newWorld();
    // A stop in round 3, which stays open.
    const first = await startStudy(world, study, (_site, round) => (round < 3 ? 'deliver' : 'nothing'), { update: waves(0.3) });
    while (!world.acts.includes('reserve') || world.checkpoints.size < 2 || first.book.state().open === undefined) await new Promise((resolve) => void setImmediate(resolve));
    first.stop.abort();
    expect((await first.end).reason).toBe('interrupted');
    const genuine = world.checkpoints.get(2)!;
    const head = genuine.model.head.slice();
    head[1]! += 1;
    world.checkpoints.set(2, { ...genuine, model: { ...genuine.model, head } });
    const before = world.lines.disk().length;
    const second = await startStudy(world, study, () => 'deliver', { update: waves(0.3) });
    await expect(second.end).rejects.toMatchObject({ code: 'ledger-tampered', message: expect.stringContaining('expected the checkpoint of round 2') as string });
    expect(world.lines.disk()).toHaveLength(before);
    world.checkpoints.set(2, genuine);
    expect(await (await startStudy(world, study, () => 'deliver', { update: waves(0.3) })).end).toMatchObject({ reason: 'completed' });
  });
});
