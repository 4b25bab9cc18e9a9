import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calibrateNoiseMultiplier } from '../../shared/privacy/calibrate.ts';

/** The five-digit numbers beside one, from 0.05 to 10^4. */
const next = (multiplier: number, direction: 1 | -1): number => {
  const unit = 10 ** (Math.floor(Math.log10(multiplier * (1 + 1e-9))) - 4);
  // Below a power of ten the digits are finer.
  const step = direction === -1 && Math.abs(multiplier / (unit * 10_000) - 1) < 1e-9 ? unit / 10 : unit;
  return Number((multiplier + direction * step).toPrecision(5));
};

describe('the calibrated noise', () => {
  it('is the smallest five-digit number that meets the target: never one that misses it, and the next below misses (property)', () => {
    const curves: readonly ((z: number) => number)[] = [(z) => 3 / z, (z) => 2 / z ** 2, (z) => 1 / z + 0.3 / z ** 3, (z) => 4 * Math.exp(-z), (z) => 1 / Math.sqrt(z)];
    fc.assert(
      fc.property(fc.constantFrom(...curves), fc.double({ min: 0.06, max: 40, noNaN: true }), (curve, at) => {
        const targetEpsilon = curve(at);
        const found = calibrateNoiseMultiplier({ targetEpsilon, epsilonOf: curve });
        expect(curve(found)).toBeLessThanOrEqual(targetEpsilon);
        expect(curve(next(found, -1))).toBeGreaterThan(targetEpsilon);
      }),
    );
  });

  it.each([0.051234, 0.73211, 0.99999, 1, 1.0001, 1.2345, 9.9999, 10, 87.654, 9999.9, 10_000])('of a target that %d meets to the last bit is that number', (z) => {
    const epsilonOf = (noise: number): number => 3 / noise;
    expect(calibrateNoiseMultiplier({ targetEpsilon: epsilonOf(z), epsilonOf })).toBe(z);
    if (z < 10_000) expect(calibrateNoiseMultiplier({ targetEpsilon: epsilonOf(z) * (1 - 1e-9), epsilonOf })).toBe(next(z, 1));
  });

  it('is never below 0.05, and where even 10 000 is too little there is none', () => {
    expect(calibrateNoiseMultiplier({ targetEpsilon: 1, epsilonOf: () => 1 })).toBe(0.05);
    expect(calibrateNoiseMultiplier({ targetEpsilon: 1, epsilonOf: () => 0 })).toBe(0.05);
    // A first guess of 0.050001, which is met: the one below it is still asked for.
    expect(calibrateNoiseMultiplier({ targetEpsilon: 1, epsilonOf: () => 0.050001 })).toBe(0.05);
    expect(() => calibrateNoiseMultiplier({ targetEpsilon: 1, epsilonOf: () => 1.001 })).toThrow(/no noise reaches epsilon 1: even a noise multiplier of 10000 gives 1\.001/);
  });

  it('takes an epsilon that is no number for one that misses', () => {
    expect(() => calibrateNoiseMultiplier({ targetEpsilon: 1, epsilonOf: () => NaN })).toThrow(/no noise reaches epsilon 1/);
    expect(calibrateNoiseMultiplier({ targetEpsilon: 1, epsilonOf: (z) => (z < 2.5 ? NaN : 0.9) })).toBe(2.5);
    expect(calibrateNoiseMultiplier({ targetEpsilon: 1, epsilonOf: (z) => (z < 2.5 ? Infinity : 0.9) })).toBe(2.5);
  });

  it.each([NaN, -Infinity, 0, -1])('of a target of %d is none', (targetEpsilon) => {
    expect(() => calibrateNoiseMultiplier({ targetEpsilon, epsilonOf: (z) => 3 / z })).toThrow();
  });
});
