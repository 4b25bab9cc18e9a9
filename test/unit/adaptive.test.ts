import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkPlan } from '../../client/guard.ts';
import { roundsThatFit } from '../../coordinator/budget.ts';
import { networksOf } from '../../coordinator/model-state.ts';
import { openCheckpoints, type CheckpointStore } from '../../coordinator/store/checkpoint.ts';
import { answerPlan } from '../../deploy/plan-answer.ts';
import { planOfStudy } from '../../deploy/plan.ts';
import { formatPlan, modalityRows } from '../../deploy/plan-text.ts';
import { toHex } from '../../shared/bytes.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import type { EvaluationSet } from '../../shared/data/evaluation-set.ts';
import { canonicalJson } from '../../shared/ledger/canonical.ts';
import type { EntryBody, LedgerMechanism, PlanEntry } from '../../shared/ledger/entry.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { verifyLedger } from '../../shared/ledger/verify.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { rdpEpsilon, roundedUp } from '../../shared/privacy/accountant.ts';
import { pldEpsilon } from '../../shared/privacy/pld.ts';
import { roundBounds } from '../../shared/study/adaptive.ts';
import { studyFromUnknown } from '../../shared/study/parse.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import type { Study } from '../../shared/study/schema.ts';
import { LedgerBuilder, MECHANISM, STUDY } from '../support/ledger-builder.ts';
import { ledgerStudy, planOf } from '../support/ledger-study.ts';
import { bodiesOf, newWorld, startStudy, type Answer, type SceneChange, type World } from '../support/study-scene.ts';

function without<T extends object>(whole: T, key: string): T {
  return Object.fromEntries(Object.entries(whole).filter(([name]) => name !== key)) as T;
}

const KEY = generateIdentity(primitives).publicKey;
const fixed = ledgerStudy();
const evaluation = { public: true, sample: 's', selection: { where: { part: 'selection' } }, test: { where: { part: 'test' } } };
const schedule = { rounds: 10, localSteps: 3, adaptive: { window: 2, least: 0.5 } };
const make = (change: object = {}): Study => studyFromUnknown({ ...fixed, evaluation, schedule, ...change });
const study = make();
/** Records of tables are sampled more often, and trained in shorter rounds. */
const uneven = (privacy: object): Study => make({ modalities: { ...fixed.modalities, table: { ...fixed.modalities['table'], samplingRate: 0.3, localSteps: 2 } }, privacy: { ...fixed.privacy, ...privacy } });

describe('a study file', () => {
  it('that is not adaptive has no trace of it in its canonical form, nor in its PLAN', () => {
    expect(canonicalJson(fixed)).toContain('"schedule":{"localSteps":3,"order":["image","table"],"rounds":10}');
    expect(Object.keys(planOf(fixed, KEY))).not.toContain('schedule');
    expect(canonicalJson(planOf(study, KEY))).toContain('"rounds":10,"schedule":"adaptive","sites":[');
    expect(planOf(study, KEY)).toMatchObject({ schedule: 'adaptive', rounds: 10, order: ['image', 'table'], modalities: { image: { rounds: 8 }, table: { rounds: 8 } } });
  });

  it('cannot be adaptive without public records', () => {
    expect(() => studyFromUnknown({ ...fixed, schedule })).toThrow(/schedule\.adaptive: needs "evaluation"/);
  });

  it.each<[string, object, RegExp]>([
    ['one modality in turn', { schedule: { ...schedule, order: ['table'] } }, /there is nothing to choose: the schedule trains one modality/],
    ['a share above one', { schedule: { ...schedule, adaptive: { least: 1.5 } } }, /schedule\.adaptive\.least/],
    ['a window of none', { schedule: { ...schedule, adaptive: { window: 0 } } }, /schedule\.adaptive\.window/],
    ['a key that is none', { schedule: { ...schedule, adaptive: { windows: 3 } } }, /did you mean "window"/],
  ])('cannot be adaptive with %s', (_what, change, why) => {
    expect(() => make(change)).toThrow(why);
  });

  it('with several sampling rates has to bind RDP: PLD does not hold for a choice between them', () => {
    expect(() => uneven({})).toThrow(/PLD holds for that only at one sampling rate, found image 0\.2, table 0\.3; give all modalities one, or set privacy\.accountant: rdp/);
    expect(uneven({ accountant: 'rdp' }).schedule.adaptive).toEqual({ window: 2, least: 0.5 });
    expect(() => make({ privacy: { protection: 'none', samplingRate: 0.2 }, modalities: uneven({ accountant: 'rdp' }).modalities })).not.toThrow();
  });

  it('is resolved for the dearest way in which its rounds can fall: every corner fits its budget, and one just so', () => {
    for (const binding of ['rdp', 'pld'] as const) {
      const privacy = without(fixed.privacy, 'noiseMultiplier');
      const of = binding === 'rdp' ? studyFromUnknown({ ...uneven({ accountant: 'rdp' }), privacy: { ...privacy, accountant: 'rdp' } }) : make({ privacy, modalities: { ...fixed.modalities, table: { ...fixed.modalities['table'], localSteps: 5 } } });
      const { modalities, accountant } = resolveStudy(of);
      const epsilonOf = (image: number): number => {
        // One image site and the one of tables: image sites are disjoint.
        const events = (['image', 'table'] as const).map((name) => {
          const { mechanism } = modalities.get(name)!;
          if (mechanism.protection === 'none') throw new Error('a noisy mechanism');
          return { type: 'poisson-gaussian' as const, samplingRate: mechanism.samplingRate, noiseMultiplier: mechanism.noiseMultiplier, steps: mechanism.steps * (name === 'image' ? image : 10 - image) };
        });
        return roundedUp(binding === 'pld' ? pldEpsilon({ events, delta: 1e-5 }) : rdpEpsilon({ events, delta: 1e-5, orders: [accountant.rdpOrder] }).epsilon);
      };
      const all = Array.from({ length: 7 }, (_, i) => epsilonOf(2 + i));
      expect(Math.max(...all)).toBeLessThanOrEqual(3);
      expect(Math.max(...all)).toBeGreaterThan(2.999);
      expect(Math.max(...all)).toBe(Math.max(all[0]!, all[6]!));
      expect(Math.min(...all)).toBeLessThan(2.95);
    }
  });
});

function begun(change: Partial<PlanEntry> = {}): LedgerBuilder {
  const builder = new LedgerBuilder();
  const plan = builder.plan('3', { schedule: 'adaptive', ...change });
  builder.add({ ...plan, modalities: { ...plan.modalities, image: { ...plan.modalities['image']!, rounds: 2 } } });
  return builder.add(builder.enrolment('a', 'image'), builder.enrolment('b', 'image'), builder.enrolment('c', 'table'));
}
const codeOf = (builder: LedgerBuilder, body: EntryBody): string => {
  const { next } = builder.write(body);
  return isLedgerProblem(next) ? `${next.code}: ${next.message}` : 'accepted';
};
function round(builder: LedgerBuilder, modality: string, commits = true): void {
  const sites = modality === 'image' ? ['a', 'b'] : ['c'];
  builder.add(builder.reserve(modality, sites));
  if (commits) for (const site of sites) builder.push(builder.receipt(site));
  builder.add(commits ? builder.outcome('commit', sites) : builder.outcome('abort', []));
}

describe('the ledger of an adaptive PLAN', () => {
  it('verifies in any order of its modalities, and counts the rounds of each', () => {
    const builder = begun();
    for (const [modality, commits] of [['table', true], ['table', true], ['image', false], ['table', false], ['table', false], ['image', true]] as const) round(builder, modality, commits);
    expect(Object.fromEntries(builder.state.turns)).toEqual({ table: { reserved: 4, committed: 2, idle: 2 }, image: { reserved: 2, committed: 1, idle: 0 } });
    builder.add({ type: 'end', reason: 'completed', detail: 'done', epsilonSpent: builder.state.spent });
    const { problem, state, rounds } = verifyLedger({ lines: builder.lines, primitives });
    expect(problem).toBeUndefined();
    expect(rounds.map(({ modality }) => modality)).toEqual(['table', 'table', 'image', 'table', 'table', 'image']);
    expect(state.spent).toEqual(builder.state.spent);
  });

  it('gives no modality more rounds than the PLAN says, aborted ones among them, and none to one outside its order', () => {
    const builder = begun();
    round(builder, 'image', false);
    round(builder, 'image');
    expect(codeOf(builder, builder.reserve('image', ['a', 'b']))).toMatch(/^wrong-modality: the plan gives image at most 2 rounds/);
    expect(codeOf(builder, builder.reserve('table', ['c']))).toBe('accepted');
    expect(codeOf(builder, { ...builder.reserve('table', ['c']), modality: 'sound' })).toMatch(/^wrong-modality: the plan gives no round to sound/);
    expect(codeOf(builder, { ...builder.reserve('table', ['c']), modality: 'constructor' })).toMatch(/^wrong-modality/);
    const tables = begun({ order: ['table'] });
    expect(codeOf(tables, tables.reserve('image', ['a', 'b']))).toMatch(/^wrong-modality: the plan gives no round to image/);
  });

  it('holds every RESERVE against the budget as always: an adaptive PLAN is no way around it', () => {
    const builder = begun({ budget: { delta: '0.00001', epsilon: '1.6' } });
    expect(codeOf(builder, builder.reserve('image', ['a', 'b']))).toBe('accepted');
    round(builder, 'table');
    while (codeOf(builder, builder.reserve('table', ['c'])) === 'accepted') round(builder, 'table');
    expect(codeOf(builder, builder.reserve('table', ['c']))).toMatch(/^budget-exceeded/);
    const honest = builder.reserve('table', ['c']);
    expect(codeOf(builder, { ...honest, epsilonAfter: { ...honest.epsilonAfter, pld: '1.6' } })).toMatch(/^wrong-epsilon/);
  });

  it('of a fixed PLAN goes in turn, as before', () => {
    const builder = begun();
    const other = new LedgerBuilder();
    other.add(other.plan()).add(other.enrolment('a', 'image'), other.enrolment('b', 'image'), other.enrolment('c', 'table'));
    expect(codeOf(other, other.reserve('table', ['c']))).toMatch(/^wrong-modality: the schedule gives round 1 to image/);
    expect(codeOf(builder, builder.reserve('table', ['c']))).toBe('accepted');
  });

  it('may hold PLD against its budget only where all its mechanisms are alike in rate and noise', () => {
    const planWith = (binding: 'pld' | 'rdp', change: Partial<Extract<LedgerMechanism, { protection: 'local-noise' }>>, order = ['image', 'table']): string => {
      const builder = new LedgerBuilder();
      const plan = builder.plan('3', { schedule: 'adaptive', order });
      const mechanism = { ...MECHANISM, ...change } as LedgerMechanism;
      return codeOf(builder, { ...plan, accountant: { ...plan.accountant, binding }, modalities: { ...plan.modalities, table: { ...plan.modalities['table']!, mechanism } } }).replace(/: .*/, '');
    };
    expect(planWith('pld', { steps: 9, clipNorm: '4' })).toBe('accepted');
    expect(planWith('pld', { samplingRate: '0.3' })).toBe('bad-plan');
    expect(planWith('pld', { noiseMultiplier: '1.8' })).toBe('bad-plan');
    expect(planWith('pld', { samplingRate: '0.3' }, ['image'])).toBe('accepted');
    expect(planWith('rdp', { samplingRate: '0.3', noiseMultiplier: '1.8' })).toBe('accepted');
    const builder = new LedgerBuilder();
    expect(codeOf(builder, { ...builder.plan(), schedule: 'fixed' } as unknown as EntryBody)).toMatch(/^not-an-entry/);
  });
});

describe('a site', () => {
  const problemOf = (plan: PlanEntry, of: Study): string => checkPlan(plan, { study: of, studyHash: STUDY, coordinatorKey: toHex(KEY) })?.message ?? 'accepted';
  const plan = planOf(study, KEY);

  it('takes the PLAN of its adaptive study, and no other one', () => {
    expect(problemOf(plan, study)).toBe('accepted');
    expect(problemOf(without(plan, 'schedule'), study)).toMatch(/the schedule/);
    expect(problemOf({ ...plan, modalities: { ...plan.modalities, image: { ...plan.modalities['image']!, rounds: 9 } } }, study)).toMatch(/rounds or disjointness of image/);
    expect(problemOf({ ...planOf(fixed, KEY), schedule: 'adaptive' }, fixed)).toMatch(/the schedule/);
    expect(problemOf({ ...plan, order: ['table', 'image'] }, study)).toMatch(/the schedule/);
  });

  it('asks for noise enough for the dearest case, not for the even one', () => {
    const privacy = without(fixed.privacy, 'noiseMultiplier');
    const modalities = { ...fixed.modalities, table: { ...fixed.modalities['table'], localSteps: 6 } };
    const of = make({ privacy, modalities });
    const even = planOf(studyFromUnknown({ ...fixed, privacy, modalities }), KEY);
    const own = planOf(of, KEY);
    expect(problemOf(own, of)).toBe('accepted');
    const weaker = Object.fromEntries(Object.entries(own.modalities).map(([name, one]) => [name, { ...one, mechanism: even.modalities[name]!.mechanism }]));
    expect(problemOf({ ...own, modalities: weaker }, of)).toMatch(/its noise gives epsilon 3\.\d+ for all planned rounds, the budget is 3/);
  });
});

describe('the plan of an adaptive study', () => {
  it('says what a modality may have, counts the dearest case, and whose epsilon holds', () => {
    const privacy = without(fixed.privacy, 'noiseMultiplier');
    const of = studyFromUnknown({ ...uneven({ accountant: 'rdp' }), privacy: { ...privacy, accountant: 'rdp' } });
    const plan = planOfStudy(of, 1e-5);
    expect(modalityRows(plan).map(([name, , , rounds]) => [name, rounds])).toEqual([['image', '2 to 8 x 3'], ['table', '2 to 8 x 2']]);
    const answer = answerPlan({ plan, epsilon: 3, noiseMultiplier: undefined });
    const noises = [...resolveStudy(of).modalities.values()].map(({ mechanism }) => (mechanism.protection === 'none' ? NaN : mechanism.noiseMultiplier));
    expect(noises).toEqual([answer.noiseMultiplier, answer.noiseMultiplier]);
    expect(answer.roundsThatFit?.rdp).toBe(10);
    expect(answer.epsilon.rdp).toBeLessThanOrEqual(3);
    const text = formatPlan(answer, { color: false, out: undefined }).replaceAll('\n', ' ');
    expect(text).toContain('of all that can come of it the dearest counts');
    expect(text).toContain('PLD does not hold for such a choice between different sampling rates');
    expect(text).not.toContain('trained');
    const alike = formatPlan(answerPlan({ plan: planOfStudy(make(), 1e-5), epsilon: 3, noiseMultiplier: 1.7 }), { color: false, out: undefined }).replaceAll('\n', ' ');
    expect(alike).toContain('PLD, the tighter, holds here because all modalities have one sampling rate and one noise multiplier');
  });

  it('warns of a budget that the dearest case would not leave whole', () => {
    const builder = begun();
    const { plan, sites } = builder.state;
    const mechanism = { ...MECHANISM, steps: 9 };
    const dear = { plan: { ...plan!, modalities: { image: plan!.modalities['image']!, table: { ...plan!.modalities['table']!, mechanism } } }, sites };
    const fits = (table: number): number => roundsThatFit(dear, new Map([['image', { least: 10 - table, most: 10 - table }], ['table', { least: table, most: table }]]));
    const open = roundsThatFit(dear, new Map([['image', { least: 2, most: 8 }], ['table', { least: 2, most: 8 }]]));
    expect(open).toBeLessThan(10);
    expect(open).toBe(Math.min(open, fits(8)));
    expect(open).toBeGreaterThan(0);
  });
});

/** So small a difference between classes that updates of any direction matter to it. */
function selectionPart(): EvaluationSet {
  const count = 40;
  const features = (size: number, phase: number): Float32Array => Float32Array.from({ length: count * size }, (_, i) => Math.sin(1.3 * i + phase) + (Math.floor(i / size) % 2 === 0 ? 0.6 : -0.6));
  const present = Uint8Array.from({ length: count }, (_, i) => (i % 5 === 0 ? 0 : 1));
  return {
    samples: Array.from({ length: count }, (_, i) => `s${i}`),
    labels: Int32Array.from({ length: count }, (_, i) => i % 2),
    modalities: { image: { features: features(3, 0.2), present }, table: { features: features(2, 1.1), present: new Uint8Array(count).fill(1) } },
  };
}

describe('a coordinator with an adaptive schedule', () => {
  beforeAll(() => openBackend('wasm'));
  const long = make({ schedule: { rounds: 12, localSteps: 3, adaptive: { window: 2, least: 0.4 } }, evaluation: { ...evaluation, everyRounds: 50 }, operation: { quorum: 0.6 }, privacy: { ...fixed.privacy, epsilon: 8 } });
  const set = selectionPart();
  const update = (site: string, number: number, size: number): Float32Array => Float32Array.from({ length: size }, (_, i) => 0.4 * Math.sin(site.charCodeAt(0) * 7.7 + 0.5 * number + 1.9 * i));
  const change: SceneChange = { update, evaluationSets: { selection: set, test: set } };
  // Sites b and c fail now and then: rounds of both modalities end without a model.
  const answer = (site: string, number: number): Answer => (number === 5 || (site === 'b' && number === 3) || (site === 'c' && number === 8) ? 'fail' : 'deliver');
  const sequence = ({ lines }: World): string[] => bodiesOf(lines.disk()).flatMap((body) => (body.type === 'reserve' ? [body.modality] : []));
  const outcomes = ({ lines }: World): string[] => bodiesOf(lines.disk()).flatMap((body) => (body.type === 'commit' || body.type === 'abort' ? [body.type] : []));

  const inFolder = async <T>(act: (store: (world: World) => CheckpointStore) => Promise<T>): Promise<T> => {
    const folder = await mkdtemp(join(tmpdir(), 'antiphon-adaptive-'));
    try {
      const files = await openCheckpoints(folder, networksOf(long));
      const store = ({ acts }: World): CheckpointStore => ({ ...files, save: async (...given) => { await files.save(...given); acts.push('checkpoint'); } });
      return await act(store);
    } finally {
      await rm(folder, { recursive: true });
    }
  };

  it('decides as if nothing had happened wherever it is killed: behind every durable act, over the files it has left', { timeout: 120_000 }, async () => {
    const whole = newWorld();
    await inFolder(async (store) => {
      expect(await (await startStudy(whole, long, answer, { ...change, checkpoints: store(whole) })).end).toMatchObject({ reason: 'completed' });
    });
    const wanted = sequence(whole);
    expect(wanted).toHaveLength(12);
    expect(outcomes(whole).filter((outcome) => outcome === 'commit').length).toBeGreaterThan(7);
    expect(outcomes(whole)).toContain('abort');
    expect(wanted).not.toEqual(Array.from({ length: 12 }, (_, i) => ['image', 'table'][i % 2]));

    const killed = newWorld();
    await inFolder(async (store) => {
      let lives = 0;
      let left = Infinity;
      const deaths = new Set<string>();
      const { acts } = killed;
      const record = acts.push.bind(acts);
      // The act is on disk; whoever waits for it never hears so.
      acts.push = (...done) => {
        const length = record(...done);
        if (!acts.includes('reserve')) return length;
        left -= 1;
        if (left > 0 && done[0] !== 'abort') return length;
        deaths.add(done[0] ?? '');
        throw new Error('killed');
      };
      let reason: string | undefined;
      while (reason === undefined) {
        lives += 1;
        expect(lives).toBeLessThan(100);
        // One durable act, two, or three: none of reserve, checkpoint and outcome is always the last one.
        left = 1 + (lives % 3);
        reason = await (await startStudy(killed, long, answer, { ...change, checkpoints: store(killed) })).end.then((end) => end.reason, () => undefined);
      }
      expect(reason).toBe('completed');
      expect(deaths).toEqual(new Set(['reserve', 'checkpoint', 'receipt', 'abort']));
    });
    expect(sequence(killed)).toEqual(wanted);
    expect(outcomes(killed)).toEqual(outcomes(whole));
    for (const { lines } of [whole, killed]) expect(verifyLedger({ lines: lines.disk(), primitives }).problem).toBeUndefined();
  });

  it('gives its rounds by the public records it is given, within the bounds of its PLAN', async () => {
    const run = async (selection: EvaluationSet): Promise<string[]> => {
      const world = newWorld();
      const { end, book } = await startStudy(world, long, () => 'deliver', { ...change, evaluationSets: { selection, test: set } });
      expect(await end).toMatchObject({ reason: 'completed' });
      for (const [name, { least, most }] of roundBounds(long)) {
        const turns = book.state().turns.get(name);
        expect(turns?.committed).toBeGreaterThanOrEqual(least);
        expect(turns?.committed).toBeLessThanOrEqual(most);
      }
      return sequence(world);
    };
    const sequences = [];
    for (const labelOf of [(i: number) => i % 2, (i: number) => (i + 1) % 2, (i: number) => (i < 20 ? 0 : 1), (i: number) => (i % 3 === 0 ? 1 : 0)]) sequences.push(await run({ ...set, labels: set.labels.map((_, i) => labelOf(i)) }));
    expect(new Set(sequences.map((one) => one.join())).size).toBeGreaterThan(1);
    // Nothing is known where no public record has any modality: then nobody improves, and the first of the order goes first.
    const blank = Object.fromEntries(Object.entries(set.modalities).map(([name, one]) => [name, { ...one, present: new Uint8Array(40) }]));
    const { least, most } = roundBounds(long).get('image')!;
    const blind = await run({ ...set, modalities: blank });
    expect(blind.filter((name) => name === 'image').length).toBe(most);
    expect(least).toBeLessThan(most);
  });
});
