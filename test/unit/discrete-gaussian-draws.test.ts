import { describe, expect, it } from 'vitest';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { createDiscreteGaussian } from '../../shared/privacy/discrete-gaussian.ts';

/** A standard normal is beyond this with probability 6e-10. */
const RARE = 6.2;

function draws(sigma: number, count: number): Float64Array {
  const target = new Float64Array(count);
  createDiscreteGaussian(sigma, createKeyStream()).fill(target);
  return target;
}

/** Chi-square of counts, as the standard normal it nearly is (Wilson and Hilferty). */
function chiScore(found: readonly number[], expected: readonly number[]): number {
  const freedom = found.length - 1;
  const chi = found.reduce((sum, count, i) => sum + (count - expected[i]!) ** 2 / expected[i]!, 0);
  return (Math.cbrt(chi / freedom) - 1 + 2 / (9 * freedom)) / Math.sqrt(2 / (9 * freedom));
}

it.each([1, 2, 5])('ten million draws at sigma %i have its mass function', (sigma) => {
  const count = 10_000_000;
  const reach = 6 * sigma;
  const counts = new Array<number>(2 * reach + 1).fill(0);
  for (const value of draws(sigma, count)) if (Math.abs(value) <= reach) counts[value + reach]! += 1;
  const masses = counts.map((_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma * sigma)));
  const total = masses.reduce((a, b) => a + b);
  if (sigma === 1) {
    expect(masses[reach]! / total).toBeCloseTo(0.39894228, 7);
    for (const one of [-1, 1]) expect(masses[reach + one]! / total).toBeCloseTo(0.24197072, 7);
    expect(Math.abs(counts[reach]! / count - 0.39894228)).toBeLessThan(RARE * Math.sqrt(0.24 / count));
    for (const one of [-1, 1]) expect(Math.abs(counts[reach + one]! / count - 0.24197072)).toBeLessThan(RARE * Math.sqrt(0.184 / count));
  }
  const often = counts.map((_, i) => i).filter((i) => (count * masses[i]!) / total > 50);
  const score = chiScore(often.map((i) => counts[i]!), often.map((i) => (count * masses[i]!) / total));
  console.log(`sigma ${sigma}: chi-square of ${often.length} values ${score.toFixed(2)} standard errors off`);
  expect(Math.abs(score)).toBeLessThan(RARE);
  // The check can fail: at a standard deviation a third of a per cent off, it does.
  const other = counts.map((_, i) => Math.exp(-((i - reach) ** 2) / (2 * (1.0033 * sigma) ** 2)));
  const otherTotal = other.reduce((a, b) => a + b);
  expect(chiScore(often.map((i) => counts[i]!), often.map((i) => (count * other[i]!) / otherTotal))).toBeGreaterThan(RARE);
});

describe.each([117_000, 12_345_678, 2 ** 30 + 7, 2 ** 40])('draws at sigma %i', (sigma) => {
  const count = 500_000;
  const values = draws(sigma, count);
  const expectNear = (name: string, total: number, { mean, variance }: { readonly mean: number; readonly variance: number }): void => {
    expect(Math.abs(total - count * mean) / Math.sqrt(count * variance), name).toBeLessThan(RARE);
  };

  it('have the moments of the Gaussian, and neighbours that know nothing of one another', () => {
    let [first, second, third, fourth, beside, squaresBeside, twoApart] = [0, 0, 0, 0, 0, 0, 0];
    for (let i = 0; i < count; i += 1) {
      const x = values[i]! / sigma;
      const y = values[(i + 1) % count]! / sigma;
      const square = x * x;
      first += x;
      second += square;
      third += square * x;
      fourth += square * square;
      beside += x * y;
      squaresBeside += (square - 1) * (y * y - 1);
      twoApart += (x * values[(i + 2) % count]!) / sigma;
    }
    expectNear('mean', first, { mean: 0, variance: 1 });
    expectNear('variance', second, { mean: 1, variance: 2 });
    expectNear('third moment', third, { mean: 0, variance: 15 });
    expectNear('fourth moment', fourth, { mean: 3, variance: 96 });
    expectNear('neighbours', beside, { mean: 0, variance: 1 });
    expectNear('squares of neighbours', squaresBeside, { mean: 0, variance: 4 });
    expectNear('values two apart', twoApart, { mean: 0, variance: 1 });
  });

  it('have its tails, as many to the left as to the right', () => {
    // P(X >= t sigma), by the complementary error function.
    for (const [t, mass] of [[0.5, 0.30853753873], [1, 0.15865525393], [2, 0.02275013195], [3, 0.00134989803]] as const) {
      for (const side of [-1, 1]) {
        let beyond = 0;
        for (let i = 0; i < count; i += 1) if (side * values[i]! >= t * sigma) beyond += 1;
        expectNear(`beyond ${side * t} sigma`, beyond, { mean: mass, variance: mass });
      }
    }
    // The columns end 4.05 to 4.25 sigma out. 20.7 are beyond 4.1 sigma in the mean: fewer than 2 or more than 60 with probability 2e-8.
    let far = 0;
    for (let i = 0; i < count; i += 1) if (Math.abs(values[i]!) > 4.1 * sigma) far += 1;
    expect([far >= 2, far <= 60]).toEqual([true, true]);
  });

  it('have uniform bits, whatever the sign, the size and the neighbour', () => {
    for (const unit of [1, 8, 2 ** Math.floor(Math.log2(sigma) - 13)]) {
      const threeBits = (value: number): number => Math.floor(value / unit) - 8 * Math.floor(value / unit / 8);
      const counts = new Array<number>(512).fill(0);
      for (let i = 0; i < count; i += 1) {
        const value = values[i]!;
        // Half of all |v| are larger than 0.674 sigma.
        const far = Math.abs(value) >= 0.6744897502 * sigma ? 2 : 0;
        counts[threeBits(value) * 64 + threeBits(values[(i + 1) % count]!) * 8 + (value < 0 ? 4 : 0) + far + (i % 2)]! += 1;
      }
      expect(Math.abs(chiScore(counts, new Array<number>(512).fill(count / 512))), `bits above ${unit}`).toBeLessThan(RARE);
    }
  });
});
