import { describe, expect, it } from 'vitest';
import { verifyLedger } from '../../shared/ledger/verify.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { Study } from '../../shared/study/schema.ts';
import { ledgerStudy } from '../support/ledger-study.ts';
import { turn } from '../support/site-bench.ts';
import { bodiesOf, newWorld, startStudy, type Answer, type World } from '../support/study-scene.ts';

const study = (rounds: number, quorum = 1): Study => ledgerStudy('schedule: { rounds: 10, localSteps: 3 }', `operation: { quorum: ${quorum} }\nschedule: { rounds: ${rounds}, localSteps: 3 }`);
const problemOf = ({ lines }: World) => verifyLedger({ lines: lines.disk(), primitives }).problem;

describe('a study', () => {
  it('runs its rounds in turn, lists its disclosures, commits behind a durable checkpoint, and closes a ledger that verifies', async () => {
    const world = newWorld();
    const { end, hub, book } = await startStudy(world, study(3), () => 'deliver');
    expect(await end).toMatchObject({ reason: 'completed' });
    expect(problemOf(world)).toBeUndefined();
    const bodies = bodiesOf(world.lines.disk());
    expect(bodies.slice(0, 3).map(({ type }) => type)).toEqual(['plan', 'disclosure', 'head']);
    expect(bodies.flatMap((body) => (body.type === 'reserve' ? [[body.modality, ...body.sites]] : []))).toEqual([['image', 'a', 'b'], ['table', 'c'], ['image', 'a', 'b']]);
    expect(bodies.flatMap((body) => (body.type === 'commit' ? [body.sites] : []))).toEqual([['a', 'b'], ['c'], ['a', 'b']]);
    const round = ['reserve', 'head', 'checkpoint', 'receipt', 'receipt', 'commit', 'head'];
    expect(world.acts.slice(world.acts.indexOf('reserve'), world.acts.indexOf('reserve') + 7)).toEqual(round);
    expect(book.state().ended?.epsilonSpent).toEqual(book.state().spent);
    for (const site of ['a', 'b', 'c']) expect(hub.messages(site).at(-1)).toEqual({ type: 'study-ended', reason: 'completed: all 3 rounds of the schedule' });
  });

  it('refunds the sites that refused and no other: a site that failed stays charged', async () => {
    const spentAfter = async (answers: Readonly<Record<string, Answer>>): Promise<number> => {
      const world = newWorld();
      const { end, book, events } = await startStudy(world, study(1, 0.5), (site) => answers[site] ?? 'nothing');
      expect((await end).reason).toBe('failed');
      expect(problemOf(world)).toBeUndefined();
      const refused = Object.keys(answers).filter((site) => answers[site] === 'refuse');
      const [abort] = bodiesOf(world.lines.disk()).filter((body) => body.type === 'abort');
      expect(abort?.refusals.map(({ site }) => site)).toEqual(refused);
      expect(events.find((event) => event.type === 'round-ended')).toMatchObject({ outcome: 'aborted', sites: [] });
      expect(world.acts).not.toContain('checkpoint');
      return Number(book.state().spent.pld);
    };
    const all = await spentAfter({ a: 'fail', b: 'fail' });
    expect(all).toBeGreaterThan(0.3);
    expect(await spentAfter({ a: 'refuse', b: 'fail' })).toBe(all);
    expect(await spentAfter({ a: 'refuse', b: 'refuse' })).toBe(0);
  });

  it('of which no round committed has failed, and says of what; with one committed it is completed, and says how many are not', async () => {
    const none = newWorld();
    const refused = await startStudy(none, study(3, 0.5), () => 'refuse');
    const end = await refused.end;
    expect(end.reason).toBe('failed');
    expect(end.detail).toMatch(/^none of the 3 rounds committed: the last, round 3: .*; a refused: limits-exceeded: enough; b refused: limits-exceeded: enough$/);
    expect(refused.book.state().ended).toMatchObject(end);
    expect(problemOf(none)).toBeUndefined();
    expect(none.checkpoints.size).toBe(0);
    for (const site of ['a', 'b', 'c']) expect(refused.hub.messages(site).at(-1)).toEqual({ type: 'study-ended', reason: `failed: ${end.detail}` });
    const some = newWorld();
    const { end: other, events } = await startStudy(some, study(4), (_site, round) => (round < 3 ? 'fail' : 'deliver'));
    expect(await other).toEqual({ reason: 'completed', detail: '2 of 4 rounds committed, 2 aborted (the last, round 2: 0 of 1 sites delivered, 1 were needed)' });
    expect(problemOf(some)).toBeUndefined();
    expect(events.filter((event) => event.type === 'round-ended' && event.outcome === 'committed')).toHaveLength(2);
  });

  it('ends with its budget: the round that would exceed it is neither reserved nor offered', async () => {
    const world = newWorld();
    const poor = ledgerStudy('epsilon: 3, noiseMultiplier: 1.7', 'epsilon: 1.9, noiseMultiplier: 1.7');
    const { end, book, hub } = await startStudy(world, poor, () => 'deliver');
    expect(await end).toMatchObject({ reason: 'budget-exhausted' });
    expect(problemOf(world)).toBeUndefined();
    const rounds = book.state().lastRound;
    expect(rounds).toBeGreaterThan(1);
    expect(rounds).toBeLessThan(10);
    expect(Number(book.state().spent.pld)).toBeLessThanOrEqual(1.9);
    const offers = ['a', 'c'].flatMap((site) => hub.messages(site).filter(({ type }) => type === 'offer'));
    expect(offers).toHaveLength(rounds);
  });

  it('stopped inside a round takes up, when it is started again, what sites have sealed for that round', async () => {
    const world = newWorld();
    const first = await startStudy(world, study(2), (site) => (site === 'a' ? 'deliver' : 'nothing'));
    while (!world.staged.has('a/1')) await turn();
    first.stop.abort();
    expect(await first.end).toMatchObject({ reason: 'interrupted' });
    expect(first.book.state().open?.reserve.round).toBe(1);
    expect(first.book.state().ended).toBeUndefined();
    const sealed = world.staged.get('a/1');
    const second = await startStudy(world, study(2), () => 'deliver');
    expect(await second.end).toMatchObject({ reason: 'completed' });
    expect(problemOf(world)).toBeUndefined();
    expect(bodiesOf(world.lines.disk()).filter(({ type }) => type === 'reserve')).toHaveLength(2);
    const receipts = bodiesOf(world.lines.disk()).filter((body) => body.type === 'receipt');
    expect(receipts.find(({ site }) => site === 'a')).toEqual(sealed?.message.receipt);
    expect(second.members.get('a')?.failures()).toEqual([]);
  });

  it('does not begin without its sites, nor over another study’s ledger', async () => {
    const world = newWorld();
    const waiting = await startStudy(world, study(2), () => 'deliver', { sites: ['a', 'c'] });
    waiting.timer.fire();
    await expect(waiting.end).rejects.toThrow(/expected 3 of 3 sites within 3600 s, still missing: b/);
    await expect(waiting.end).rejects.toMatchObject({ code: 'study-failed' });
    const lines = [...world.lines.disk()];
    const other = await startStudy(world, study(2), () => 'deliver', { sites: [], studyHash: '77'.repeat(32) });
    await expect(other.end).rejects.toMatchObject({ code: 'study-invalid' });
    expect(world.lines.disk()).toEqual(lines);
  });
});

it('a value of the wrong kind is told in our words: what was expected, and what was found', () => {
  const faults = (from: string, to: string): string => {
    try {
      ledgerStudy(from, to);
      return 'none';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };
  expect(faults('rounds: 10, ', '')).toContain('schedule.rounds: expected a number, found nothing: the key is missing');
  expect(faults('rounds: 10', 'rounds: ten')).toContain('schedule.rounds: expected a number, found the text "ten"');
  expect(faults('antiphon: 1', 'antiphon: 2')).toContain('antiphon: expected 1, found 2');
  expect(faults('classes: ["no", "yes"]', 'classes: 3')).toContain('classes: expected a list, found 3');
  expect(faults('rounds: 10', 'rounds: 0')).toContain('schedule.rounds: expected a number above 0, found 0');
  expect(faults('classes: ["no", "yes"]', 'classes: ["no"]')).toContain('classes: expected at least 2 entries, found 1');
  // YAML reads 64 zeros as a number: of a digest, nobody would see why it is no text.
  expect(faults('name: ', `description: ${'0'.repeat(64)}\nname: `)).toContain('description: expected text, found 0; put it in quotes');
  for (const [from, to] of [['rounds: 10', 'rounds: ten'], ['antiphon: 1', 'antiphon: 2']] as const) expect(faults(from, to)).not.toMatch(/Invalid|received/);
});
