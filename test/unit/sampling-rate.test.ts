import { beforeAll, expect, it } from 'vitest';
import { trainRound } from '../../client/train.ts';
import type { Dataset } from '../../shared/data/dataset.ts';
import { createNetwork } from '../../shared/model/network.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';

const network = createNetwork({ shape: [6], encoder: { type: 'mlp', hidden: [4], activation: 'tanh', normalise: 'none' }, features: 3, classes: 2 });
const CLIP = 0.7;
const PEOPLE = 120;
const RATE = 0.8;

/** Patients who all have the same enormous record: each one sampled adds one clipped gradient in the same direction, so that the update's length counts them. */
const crowd: Dataset = {
  size: 6,
  features: Float32Array.from({ length: 6 }, (_, i) => 1e6 * (Math.sin(1.7 * i) - 0.3)),
  labels: Int32Array.of(1),
  patients: { ids: Array.from({ length: PEOPLE }, (_, i) => `p${i}`), records: Array.from({ length: PEOPLE }, () => Int32Array.of(0)) },
  lines: Int32Array.of(2),
};

beforeAll(async () => {
  await openBackend('cpu');
});

it('a round samples each patient at the rate that is charged: five per cent more or less would show', async () => {
  // Noise is the grid's own step: hardly any.
  const mechanism = { protection: 'local-noise', samplingRate: RATE, noiseMultiplier: 1e-12, clipNorm: CLIP, steps: 1 } as const;
  const runs = 150;
  let sampled = 0;
  for (let run = 0; run < runs; run += 1) {
    const update = await trainRound({ network, dataset: crowd, weights: network.initialise(3, 'm'), mechanism, patients: PEOPLE, learningRate: RATE * PEOPLE, momentum: 0.4, random: createKeyStream() });
    const found = Math.hypot(...update) / CLIP;
    expect(Math.abs(found / Math.round(found) - 1)).toBeLessThan(0.003);
    sampled += Math.round(found);
  }
  const draws = runs * PEOPLE;
  const standardError = Math.sqrt((RATE * (1 - RATE)) / draws);
  console.log(`sampled ${(sampled / draws).toFixed(4)} at rate ${RATE}, standard error ${standardError.toFixed(4)}`);
  // Six standard errors: by chance twice in a billion runs; a rate of 0.84 or 0.76 is thirteen away.
  expect(Math.abs(sampled / draws - RATE)).toBeLessThan(6 * standardError);
  expect(0.05 * RATE).toBeGreaterThan(13 * standardError);
});
