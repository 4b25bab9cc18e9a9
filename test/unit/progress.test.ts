import { beforeAll, describe, expect, it } from 'vitest';
import { initialModel, networksOf, type ModelState } from '../../coordinator/model-state.ts';
import { firstProgress, progressAfter } from '../../coordinator/progress.ts';
import type { EvaluationSet } from '../../shared/data/evaluation-set.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { ledgerStudy } from '../support/ledger-study.ts';

beforeAll(() => openBackend('wasm'));

const study = ledgerStudy();
const networks = networksOf(study);
const { fusion } = study;
const start = initialModel(study, networks);
const scaled = ({ encoders, head }: ModelState, factor: number): ModelState => ({ encoders, head: head.map((weight) => factor * weight) });

const COUNT = 30;
const selection: EvaluationSet = {
  samples: Array.from({ length: COUNT }, (_, i) => `s${i}`),
  labels: Int32Array.from({ length: COUNT }, (_, i) => i % 2),
  modalities: {
    image: { features: Float32Array.from({ length: 3 * COUNT }, (_, k) => Math.sin(3.7 * k)), present: new Uint8Array(COUNT).fill(1) },
    table: { features: Float32Array.from({ length: 2 * COUNT }, (_, k) => Math.cos(2.3 * k)), present: Uint8Array.from({ length: COUNT }, (_, i) => (i % 4 === 0 ? 0 : 1)) },
  },
};
const common = { networks, selection, fusion, modality: 'image' };

describe('the progress that an adaptive schedule goes by', () => {
  it('is kept in the float32 of checkpoints, so that a coordinator that was started again decides the same', async () => {
    let progress = await firstProgress({ model: start, networks, selection, fusion });
    expect(progress.gains.size).toBe(0);
    for (const factor of [1.7, 0.3, 2.9, 0.01]) {
      const before = progress;
      progress = await progressAfter(before, { ...common, model: scaled(start, factor), window: 3 });
      const newest = progress.gains.get('image')!.at(-1)!;
      expect(newest).toBe(Math.fround(before.nll - progress.nll));
      expect(newest).not.toBe(0);
    }
    for (const number of [progress.nll, ...progress.gains.get('image')!]) expect(Math.fround(number)).toBe(number);
    expect(progress.gains.get('image')).toHaveLength(3);
    // A head of nothing says nothing: the likelihood of chance.
    const chance = await progressAfter(progress, { ...common, model: scaled(start, 0), window: 3 });
    expect(chance.nll).toBeCloseTo(Math.log(2), 6);
  });

  it('of a model that overflows is the worst there is, in numbers that can be subtracted', async () => {
    const before = await firstProgress({ model: start, networks, selection, fusion });
    const broken = await progressAfter(before, { ...common, model: scaled(start, Number.NaN), window: 5 });
    const still = await progressAfter(broken, { ...common, model: scaled(start, Number.NaN), window: 5 });
    const mended = await progressAfter(still, { ...common, model: start, window: 5 });
    const [down, none, up] = mended.gains.get('image')!;
    expect(down).toBeLessThan(-1000);
    expect(none).toBe(0);
    expect(up).toBeGreaterThan(1000);
    expect(mended.nll).toBe(before.nll);
  });

  it('leaves out the records that a modality lacks', async () => {
    const without = { ...selection, modalities: { ...selection.modalities, table: { ...selection.modalities['table']!, present: new Uint8Array(COUNT) } } };
    const alone = await firstProgress({ model: start, networks, selection: without, fusion });
    const changed = { ...without, modalities: { ...without.modalities, table: { features: new Float32Array(2 * COUNT).fill(9), present: new Uint8Array(COUNT) } } };
    expect(alone.nll).toBe((await firstProgress({ model: start, networks, selection: changed, fusion })).nll);
    expect(alone.nll).not.toBe((await firstProgress({ model: start, networks, selection, fusion })).nll);
  });
});
