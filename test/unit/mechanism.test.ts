import { expect, it } from 'vitest';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { planMechanism, releaseNoisySum, type MechanismPlan } from '../../shared/privacy/mechanism.ts';
import { poissonSample } from '../../shared/privacy/poisson.ts';

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
