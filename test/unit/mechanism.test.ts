import { expect, it } from 'vitest';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { planMechanism, releaseNoisySum, type MechanismPlan } from '../../shared/privacy/mechanism.ts';
import { poissonSample, shuffleInPlace, uniformIndex } from '../../shared/privacy/poisson.ts';
import { fixedWords } from '../support/scripted-random.ts';

const input = { parameters: 5000, clipNorm: 0.7, noiseMultiplier: 1.3, samplingRate: 0.2, patients: 300, steps: 4, longestReduction: 600, microBatch: 64 };

/** Chi-square of the sample variance against (noiseMultiplier clipNorm)^2: |z| is a standard normal. */
function varianceScore(release: (sum: Float64Array) => Float64Array, runs: number): number {
  let squares = 0;
  const n = runs * input.parameters;
  for (let run = 0; run < runs; run += 1) for (const value of release(new Float64Array(input.parameters))) squares += value * value;
  const expected = (input.noiseMultiplier * input.clipNorm) ** 2;
  return (squares / n / expected - 1) / Math.sqrt(2 / n);
}

it('the release of an empty batch has the variance (noiseMultiplier clipNorm)^2, over a million draws, within five standard errors', () => {
  const plan = planMechanism(input);
  const score = varianceScore((sum) => releaseNoisySum(plan, sum, createKeyStream()), 240);
  console.log(`deviation of the variance: ${score.toFixed(2)} standard errors over ${240 * input.parameters} draws`);
  expect(Math.abs(score)).toBeLessThan(5);
});

it('the same check catches noise switched off, half the noise, and one per cent less', () => {
  const plan = planMechanism(input);
  const weaker = (factor: number): MechanismPlan => ({ ...plan, noiseStddevGrid: Math.ceil(plan.noiseStddevGrid * factor) });
  expect(varianceScore((sum) => sum, 240)).toBeLessThan(-100);
  expect(varianceScore((sum) => releaseNoisySum(weaker(0.5), sum, createKeyStream()), 40)).toBeLessThan(-50);
  expect(varianceScore((sum) => releaseNoisySum(weaker(0.99), sum, createKeyStream()), 240)).toBeLessThan(-8);
});

it('what the noise is added to is the sum on the grid: releases differ from it by whole grid steps', () => {
  const plan = planMechanism(input);
  const sum = Float64Array.from({ length: input.parameters }, (_, i) => 0.013 * Math.sin(i));
  for (const value of releaseNoisySum(plan, sum, createKeyStream())) expect(Number.isInteger(value / plan.gridStep)).toBe(true);
});

it('with a source of zeros, whose noise is zero, the release is the nearest point of the grid', () => {
  const plan = planMechanism(input);
  const sum = Float64Array.from({ length: input.parameters }, (_, i) => (i % 7 === 0 ? 0.4 : 0.01) * Math.sin(i) * 2 ** -(i % 13));
  const released = releaseNoisySum(plan, sum, { fill: (target) => target.fill(0) });
  const steps = released.map((value, i) => (value - sum[i]!) / plan.gridStep);
  expect(Math.max(...steps.map(Math.abs))).toBeLessThanOrEqual(0.5);
  expect(Math.max(...steps)).toBeGreaterThan(0.49);
  expect(Math.min(...steps)).toBeLessThan(-0.49);
});

it('rounding two neighbouring sums to the grid keeps them within the clip norm', () => {
  const plan = planMechanism(input);
  const round = (values: Float64Array): Float64Array => values.map((value) => Math.round(value / plan.gridStep) * plan.gridStep);
  // Adversarial: every coordinate just beside a rounding boundary, moved over it by the patient's part.
  const d = input.parameters;
  const part = plan.clipThreshold / Math.sqrt(d);
  const base = Float64Array.from({ length: d }, (_, i) => (i + 0.5) * plan.gridStep - part / 2);
  const more = base.map((value) => value + part);
  const a = round(base);
  const distance = Math.hypot(...round(more).map((value, i) => value - a[i]!));
  expect(distance).toBeLessThanOrEqual(plan.clipNorm);
  expect(distance).toBeGreaterThan(plan.clipThreshold * 0.99);
});

it('a sum longer than its patients allow, or not finite, is a broken invariant and is never released', () => {
  const plan = planMechanism(input);
  const huge = new Float64Array(input.parameters).fill(plan.maxSampled * plan.clipNorm);
  expect(() => releaseNoisySum(plan, huge, createKeyStream())).toThrow(/invariant/);
  expect(() => releaseNoisySum(plan, new Float64Array(input.parameters).fill(NaN), createKeyStream())).toThrow(/invariant/);
});

it('a sum is released up to the length that its patients allow, not above, and only of as many coordinates as were planned', () => {
  const plan = planMechanism(input);
  const most = (plan.maxSampled * plan.clipNorm) / Math.sqrt(input.parameters);
  const zeros = { fill: (target: Uint8Array) => target.fill(0) };
  expect(() => releaseNoisySum(plan, new Float64Array(input.parameters).fill(most * (1 - 1e-9)), zeros)).not.toThrow();
  expect(() => releaseNoisySum(plan, new Float64Array(input.parameters).fill(most * (1 + 1e-9)), zeros)).toThrow(/invariant/);
  for (const parameters of [input.parameters - 1, input.parameters + 1]) expect(() => releaseNoisySum(plan, new Float64Array(parameters), zeros)).toThrow(/invariant/);
});

it('Poisson sampling takes an index below the rate and not at it: the rate is rounded down, and a rate of 1 takes everybody', () => {
  // 53 random bits, the upper 21 of them from the first word of 32.
  const draws = (...values: readonly number[]) => fixedWords(values.flatMap((value) => [Math.floor(value / 2 ** 32) * 2 ** 11, value % 2 ** 32]));
  const threshold = Math.floor(0.3 * 2 ** 53);
  expect(poissonSample(4, 0.3, draws(threshold - 1, threshold, threshold + 1, 0))).toEqual([0, 3]);
  expect(poissonSample(2, 1, draws(2 ** 53 - 1, 0))).toEqual([0, 1]);
  // 1.7 in 2^53: the rate that is used must not be the higher one of 2.
  expect(poissonSample(3, 1.7 / 2 ** 53, draws(0, 1, 2))).toEqual([0]);
  for (const rate of [0, -0.1, 1.0001, NaN]) expect(() => poissonSample(2, rate, draws(0, 0))).toThrow(/sampling rate/);
});

it('a uniform index is drawn again where the last incomplete run of indices begins', () => {
  const once = (...words: readonly number[]) => {
    let next = 0;
    return { fill: (target: Uint8Array) => new Uint32Array(target.buffer, target.byteOffset, 1).fill(words[next++]!) };
  };
  // 2^32 = 3 x 1431655765 + 1: the last word would give index 0 once more.
  expect(uniformIndex(3, once(2 ** 32 - 1, 7))).toBe(1);
  expect(uniformIndex(3, once(2 ** 32 - 2, 7))).toBe(2);
  expect(uniformIndex(2 ** 32, once(2 ** 32 - 1))).toBe(2 ** 32 - 1);
  for (const count of [0, 2.5, 2 ** 32 + 1, NaN]) expect(() => uniformIndex(count, once(1))).toThrow(/a count/);
});

it('a shuffle gives every order of three as often as any other', () => {
  const random = createKeyStream();
  const counts = new Map<string, number>();
  for (let i = 0; i < 6000; i += 1) {
    const order = shuffleInPlace(['a', 'b', 'c'], random).join('');
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  expect(counts.size).toBe(6);
  for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(6 * Math.sqrt(1000 * (5 / 6)));
});

it('Poisson sampling includes every index with its rate, independently', () => {
  const random = createKeyStream();
  const rounds = 4000;
  const counts = new Float64Array(50);
  let pairs = 0;
  let sizes = 0;
  for (let i = 0; i < rounds; i += 1) {
    const sampled = poissonSample(50, 0.3, random);
    for (const index of sampled) counts[index]! += 1;
    if (sampled.includes(3) && sampled.includes(4)) pairs += 1;
    sizes += (sampled.length - 15) ** 2;
  }
  const error = Math.sqrt((0.3 * 0.7) / rounds);
  for (const count of counts) expect(Math.abs(count / rounds - 0.3)).toBeLessThan(5 * error);
  expect(Math.abs(pairs / rounds - 0.09)).toBeLessThan(5 * Math.sqrt((0.09 * 0.91) / rounds));
  expect(Math.abs(sizes / rounds / 10.5 - 1)).toBeLessThan(0.15);
});
