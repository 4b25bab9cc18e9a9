import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { combineUpdates, freshOptimiser, serverStep } from '../../coordinator/aggregate.ts';
import { averageWith, isAveraged, type ModelAverage } from '../../coordinator/average.ts';
import { checkUpdate, updateNormBound } from '../../coordinator/check-update.ts';
import { projectHeadUpdate, rememberHeadUpdate, type HeadMoments } from '../../coordinator/head-projection.ts';
import { flatOf, initialModel, networksOf, type ModelState } from '../../coordinator/model-state.ts';
import { beginRound, moveMember, verdictOf, type MemberState } from '../../coordinator/round.ts';
import { openCheckpoints } from '../../coordinator/store/checkpoint.ts';
import { formatSafetensors, parseSafetensors } from '../../coordinator/store/safetensors.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';

describe('aggregation', () => {
  it('weights updates by their public weights', () => {
    const mean = combineUpdates([{ update: Float32Array.of(1, -2), weight: 30 }, { update: Float32Array.of(5, 6), weight: 10 }]);
    expect([...mean]).toEqual([2, 0]);
    for (const weight of [0, -1, NaN]) expect(() => combineUpdates([{ update: Float32Array.of(1), weight: 30 }, { update: Float32Array.of(5), weight }])).toThrow(/positive weights/);
    expect(() => combineUpdates([{ update: Float32Array.of(1), weight: 30 }, { update: Float32Array.of(5, 6), weight: 10 }])).toThrow(/one shape/);
    expect(() => combineUpdates([])).toThrow(/at least one/);
  });

  it('FedAvg with momentum and FedAdam step as their formulas say, twice', () => {
    const delta = Float64Array.of(0.5);
    const spec = { type: 'fedavg', learningRate: 0.8, momentum: 0.6 } as const;
    const one = serverStep({ weights: Float32Array.of(2), delta, state: freshOptimiser(1), spec });
    const two = serverStep({ weights: one.weights, delta, state: one.state, spec });
    expect(two.weights[0]).toBeCloseTo(2 + 0.8 * 0.5 + 0.8 * (0.6 * 0.5 + 0.5), 6);
    const adam = { type: 'fedadam', learningRate: 0.1, beta1: 0.7, beta2: 0.9, epsilon: 0.01 } as const;
    const step = serverStep({ weights: Float32Array.of(2), delta, state: freshOptimiser(1), spec: adam });
    expect(step.weights[0]).toBeCloseTo(2 + (0.1 * 0.3 * 0.5) / (Math.sqrt(0.1 * 0.25) + 0.01), 6);
    const second = serverStep({ weights: step.weights, delta: Float64Array.of(-0.2), state: step.state, spec: adam });
    const [m, v] = [0.7 * 0.3 * 0.5 + 0.3 * -0.2, 0.9 * 0.1 * 0.25 + 0.1 * 0.04];
    expect(second.weights[0]! - step.weights[0]!).toBeCloseTo((0.1 * m) / (Math.sqrt(v) + 0.01), 6);
  });
});

describe('the average of the last models', () => {
  const text = (averageLast: string, rounds: number): string => `
antiphon: 1
name: averaged
classes: ["no", "yes"]
modalities:
  left: { shape: [3], encoder: { type: mlp, hidden: [4] }, records: { index: a.csv, values: a.npy, patient: p, label: l } }
  right: { shape: [2], encoder: { type: mlp, hidden: [] }, records: { index: a.csv, values: b.npy, patient: p, label: l } }
head: { features: 5 }
sites: [{ name: a, modality: left, patients: 9 }, { name: b, modality: right, patients: 9 }]
schedule: { rounds: ${rounds}, localSteps: 1 }
optimiser: { local: { learningRate: 0.1 }${averageLast} }
privacy: { protection: none, samplingRate: 0.5 }
`;
  const study = (averageLast: string, rounds: number): Study => parseStudy(text(averageLast, rounds), 'averaged.yaml');
  const averagedRounds = (of: Study): number[] => Array.from({ length: of.schedule.rounds }, (_, i) => i + 1).filter((round) => isAveraged(of, round));
  const modelOf = (head: number, encoder: number): ModelState => ({ encoders: new Map([['left', Float32Array.of(encoder, -encoder)]]), head: Float32Array.of(head) });

  it('takes the last share of the planned rounds, at least the last, and none unless the study says so', () => {
    expect(averagedRounds(study(', averageLast: 0.3', 10))).toEqual([8, 9, 10]);
    expect(averagedRounds(study(', averageLast: 0.25', 10))).toEqual([8, 9, 10]);
    for (const least of ['0.01', '1.0e-17']) expect(averagedRounds(study(`, averageLast: ${least}`, 10))).toEqual([10]);
    expect(averagedRounds(study(', averageLast: 1', 4))).toEqual([1, 2, 3, 4]);
    expect(averagedRounds(study('', 10))).toEqual([]);
  });

  it('is the mean of every weight, and does not touch the models it is made of', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.double({ min: -5, max: 5, noNaN: true }), fc.double({ min: -5, max: 5, noNaN: true })), { minLength: 1, maxLength: 30 }), (pairs) => {
        let average: ModelAverage | undefined;
        const models = pairs.map(([head, encoder]) => modelOf(head, encoder));
        for (const model of models) average = averageWith(average, model);
        const mean = (of: (pair: [number, number]) => number): number => pairs.reduce((sum, pair) => sum + of(pair), 0) / pairs.length;
        expect(average?.rounds).toBe(pairs.length);
        expect(average?.model.head[0]).toBeCloseTo(mean(([head]) => head), 4);
        expect(average?.model.encoders.get('left')?.[1]).toBeCloseTo(-mean(([, encoder]) => encoder), 4);
        expect(models).toEqual(pairs.map(([head, encoder]) => modelOf(head, encoder)));
      }),
    );
  });

  it('comes back from a checkpoint as it was, beside the model that trains on', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'antiphon-average-'));
    try {
      const given = study(', averageLast: 0.5', 4);
      const networks = networksOf(given);
      const checkpoints = await openCheckpoints(folder, networks);
      const [first, second] = [initialModel(given, networks), initialModel({ ...given, seed: 9 }, networks)];
      const average = averageWith(averageWith(undefined, first), second);
      const checkpoint = { round: 3, model: second, average, optimisers: new Map(), headMoments: new Map(), progress: undefined };
      await checkpoints.save(checkpoint, { studyHash: 'ab', protection: 'local-noise' });
      const loaded = await checkpoints.load(3, 'ab');
      expect(loaded).toEqual(checkpoint);
      expect(averageWith(loaded.average, first)).toEqual(averageWith(average, first));
      expect(flatOf(average.model, 'left')).not.toEqual(flatOf(second, 'left'));
      await checkpoints.save({ ...checkpoint, round: 4, average: undefined }, { studyHash: 'ab', protection: 'none' });
      expect((await checkpoints.load(4, 'ab')).average).toBeUndefined();
      const markOf = async (name: string) => parseSafetensors(await readFile(join(folder, name)), name).metadata;
      expect(await markOf('round-000003.safetensors')).toEqual({ format: 'antiphon-checkpoint-1', round: '3', study: 'ab', protection: 'local-noise' });
      expect(await markOf('round-000004.safetensors')).toMatchObject({ protection: 'none', warning: expect.stringContaining('NO PRIVACY') as string });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('head protection from released updates', () => {
  const shape = { features: 3, classes: 2 };
  const along = (axis: number): Float64Array => Float64Array.from({ length: 6 }, (_, i) => (Math.floor(i / 2) === axis ? 0.7 : 0));

  it('shrinks directions that another modality has used, and leaves the others and its own alone', () => {
    const moments = rememberHeadUpdate(new Map(), { modality: 'image', kernel: along(0), shape });
    const both = along(0).map((value, i) => value + along(1)[i]!);
    const sound = projectHeadUpdate(moments, { modality: 'sound', kernel: both, shape });
    expect(Math.abs(sound[0]!)).toBeLessThan(0.1);
    expect(sound[2]).toBeCloseTo(0.7, 10);
    const image = projectHeadUpdate(moments, { modality: 'image', kernel: both, shape });
    image.forEach((value, i) => expect(value).toBeCloseTo(both[i]!, 10));
  });

  it('is (a I + A)^-1 a, A the sum over all other modalities, for directions that are no axes', () => {
    const kernels = { image: Float64Array.of(0.5, -0.2, 0.3, 0.4, -0.1, 0.6), text: Float64Array.of(-0.3, 0.8, 0.2, 0.1, 0.7, -0.4) };
    const moments = Object.entries(kernels).reduce<HeadMoments>((before, [modality, kernel]) => rememberHeadUpdate(before, { modality, kernel, shape }), new Map());
    const kernel = Float64Array.of(1, 2, -3, 0.5, 4, -1);
    const projected = projectHeadUpdate(moments, { modality: 'sound', kernel, shape });
    // (a I + A) times it is a times the update.
    for (let i = 0; i < 3; i += 1) {
      for (let c = 0; c < 2; c += 1) {
        let product = 0.1 * projected[2 * i + c]!;
        for (const own of Object.values(kernels)) {
          const norm = own.reduce((sum, x) => sum + x * x, 0);
          for (let j = 0; j < 3; j += 1) product += ((own[2 * i]! * own[2 * j]! + own[2 * i + 1]! * own[2 * j + 1]!) / norm) * projected[2 * j + c]!;
        }
        expect(product).toBeCloseTo(0.1 * kernel[2 * i + c]!, 12);
      }
    }
  });

  it('by the closed form: a tenth over a tenth and what is remembered, of updates of any size, each time nine tenths of it; nothing of an update of zeros', () => {
    const once = rememberHeadUpdate(new Map(), { modality: 'image', kernel: along(0), shape });
    const twice = rememberHeadUpdate(once, { modality: 'image', kernel: along(0).map((value) => 50 * value), shape });
    const share = (moments: HeadMoments): number => projectHeadUpdate(moments, { modality: 'sound', kernel: along(0), shape })[0]! / 0.7;
    expect(share(once)).toBeCloseTo(0.1 / 1.1, 12);
    expect(share(twice)).toBeCloseTo(0.1 / (0.1 + 0.9 + 1), 12);
    expect(share(rememberHeadUpdate(twice, { modality: 'image', kernel: new Float64Array(6), shape }))).toBeCloseTo(0.1 / (0.1 + 0.9 * 1.9), 12);
  });
});

describe('what a site sends', () => {
  const mechanism = { protection: 'local-noise', samplingRate: 0.2, noiseMultiplier: 1.5, clipNorm: 0.8, steps: 3 } as const;
  const normBound = updateNormBound({ mechanism, parameters: 4, patients: 50, learningRate: 0.1, momentum: 0.5 });

  it('is combined only when it has the length, is finite and is no longer than clipping and noise allow', () => {
    const expected = { parameters: 4, normBound };
    expect(checkUpdate(Float32Array.of(0.1, 0.2, -0.1, 0), expected)).toBeUndefined();
    expect(checkUpdate(Float32Array.of(1, 2), expected)?.code).toBe('wrong-length');
    expect(checkUpdate(Float32Array.of(NaN, 0, 0, 0), expected)?.code).toBe('not-finite');
    expect(checkUpdate(Float32Array.of(Infinity, 0, 0, 0), expected)?.code).toBe('not-finite');
    expect(checkUpdate(Float32Array.of(1e4, 0, 0, 0), expected)?.code).toBe('norm-too-large');
    expect(checkUpdate(new Float32Array(5), expected)?.code).toBe('wrong-length');
    // As long as the bound is allowed, in the norm and not in its square.
    expect(checkUpdate(Float32Array.of(3, 4, 0, 0), { parameters: 4, normBound: 5 })).toBeUndefined();
    expect(checkUpdate(Float32Array.of(3, 4, 0.01, 0), { parameters: 4, normBound: 5 })?.code).toBe('norm-too-large');
    expect(checkUpdate(Float32Array.of(0.3, 0.4, 0, 0), { parameters: 4, normBound: 0.4 })?.code).toBe('norm-too-large');
    expect(checkUpdate(Float32Array.of(1e18, 0, 0, 0), { parameters: 4, normBound: undefined })).toBeUndefined();
  });

  it('may be as long as honest steps can be and no longer: so many patients at once, noise, momentum', () => {
    // q n + 10 sqrt(q n) + 10, of 10 000 patients at a hundredth: 210 of them.
    const large = { mechanism: { ...mechanism, samplingRate: 0.01 }, parameters: 400, patients: 10_000, learningRate: 0.1, momentum: 0.5 };
    const step = (210 * 0.8 + 1.5 * 0.8 * (20 + 12)) / 100;
    expect(updateNormBound(large)).toBeCloseTo((1.01 * 3 * 0.1 * step) / 0.5, 9);
    // Never more than there are.
    expect(normBound).toBeCloseTo((1.01 * 3 * 0.1 * ((50 * 0.8 + 1.2 * (2 + 12)) / 10)) / 0.5, 9);
    expect(updateNormBound({ ...large, patients: 30 })).toBeCloseTo((1.01 * 3 * 0.1 * ((16 * 0.8 + 1.2 * 32) / 0.3)) / 0.5, 9);
    expect(updateNormBound({ ...large, mechanism: { protection: 'none', samplingRate: 0.01, steps: 3 } })).toBeUndefined();
  });
});

describe('a round', () => {
  const delivered = { type: 'delivered', receipt: {} as never, update: new Float32Array(1) } as const satisfies MemberState;
  const rejected = { type: 'rejected', code: 'not-finite' } as const;

  it('waits for everyone, commits at the quorum when the deadline passes, and aborts below it', () => {
    let state = beginRound(4, ['a', 'b', 'c'], 0.6);
    expect(state.needed).toBe(2);
    state = moveMember(state, 'a', delivered);
    expect(verdictOf(state, false).type).toBe('collecting');
    expect(verdictOf(state, true)).toEqual({ type: 'abort', reason: '1 of 3 sites delivered, 2 were needed; 2 had not answered by the deadline' });
    state = moveMember(state, 'b', delivered);
    expect(verdictOf(state, false).type).toBe('collecting');
    expect(verdictOf(state, true).type).toBe('aggregate');
    expect(verdictOf(moveMember(state, 'c', rejected), false).type).toBe('aggregate');
  });

  it('aborts at once when the quorum is out of reach, and settled sites and strangers change nothing', () => {
    let state = moveMember(beginRound(4, ['a', 'b'], 1), 'a', rejected);
    expect(verdictOf(state, false).type).toBe('abort');
    // Just within reach it goes on.
    expect(verdictOf(moveMember(beginRound(4, ['a', 'b', 'c'], 0.6), 'a', rejected), false).type).toBe('collecting');
    state = moveMember(moveMember(state, 'a', delivered), 'z', delivered);
    expect(state.members.get('a')).toEqual(rejected);
    expect(state.members.size).toBe(2);
    // However small the quorum: one.
    expect(verdictOf(moveMember(beginRound(4, ['a'], 1e-12), 'a', rejected), false)).toMatchObject({ type: 'abort', reason: '0 of 1 sites delivered, 1 were needed' });
  });
});

it('safetensors come back as they were, and damaged ones are named', () => {
  const file = { tensors: new Map([['a/kernel', { shape: [2, 3], values: Float32Array.of(1, -2.5, 3e-20, 4, 5, 6) }], ['head', { shape: [1], values: Float32Array.of(0.1) }]]), metadata: { round: '7' } };
  const bytes = formatSafetensors(file);
  expect(parseSafetensors(bytes, 'x')).toEqual(file);
  expect(() => parseSafetensors(bytes.subarray(0, bytes.length - 3), 'x.safetensors')).toThrow(/x\.safetensors is not a checkpoint that can be read: tensor head/);
  expect(() => parseSafetensors(Uint8Array.of(1, 2), 'x')).toThrow(/expected a header/);
});
