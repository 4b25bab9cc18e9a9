import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calibrateNoiseMultiplier } from '../../shared/privacy/calibrate.ts';
import type { GaussianEvent } from '../../shared/privacy/event.ts';
import { oneStepDelta, type Direction } from '../../shared/privacy/pld-exact.ts';
import { pldDelta, pldEpsilon } from '../../shared/privacy/pld.ts';
import { epsilonOfRdp, ORDERS_ANTIPHON_1, rdpOfEvent } from '../../shared/privacy/rdp.ts';
import { pldOracle } from '../support/pld-oracle.ts';

/** What discretisation may add to an epsilon, relative, or to an order of two epsilons. */
const GRID = 2e-5;

/** Uniform in the logarithm. */
const between = (low: number, high: number): fc.Arbitrary<number> => fc.double({ min: Math.log(low), max: Math.log(high), noNaN: true }).map((x) => Math.exp(x));
const event = (limits: { readonly steps: number }): fc.Arbitrary<GaussianEvent> =>
  fc.record({
    type: fc.constant('poisson-gaussian' as const),
    samplingRate: fc.oneof({ weight: 6, arbitrary: between(1e-4, 0.99) }, { weight: 1, arbitrary: fc.constant(1) }),
    noiseMultiplier: between(0.4, 30),
    steps: between(2, limits.steps).map(Math.round),
  });
const history = fc.array(event({ steps: 3000 }), { minLength: 1, maxLength: 3 });
const delta = between(1e-11, 0.02);

function rdpEpsilon(events: readonly GaussianEvent[], atDelta: number): { readonly epsilon: number; readonly order: number } {
  const sum = new Float64Array(ORDERS_ANTIPHON_1.length);
  for (const one of events) rdpOfEvent(one, ORDERS_ANTIPHON_1).forEach((rdp, i) => (sum[i]! += rdp));
  return epsilonOfRdp(ORDERS_ANTIPHON_1, sum, atDelta);
}

describe('epsilon by PLD (properties)', () => {
  it('does not fall with more steps, with a higher sampling rate, with less noise or with a smaller delta', () => {
    fc.assert(
      fc.property(history, delta, fc.double({ min: 1.001, max: 3, noNaN: true }), (events, at, factor) => {
        const [first, ...others] = events as [GaussianEvent, ...GaussianEvent[]];
        const epsilon = pldEpsilon({ events, delta: at });
        const least = epsilon * (1 - GRID);
        expect(pldEpsilon({ events: [{ ...first, steps: Math.ceil(first.steps * factor) }, ...others], delta: at })).toBeGreaterThanOrEqual(least);
        expect(pldEpsilon({ events: [{ ...first, samplingRate: Math.min(1, first.samplingRate * factor) }, ...others], delta: at })).toBeGreaterThanOrEqual(least);
        expect(pldEpsilon({ events: [{ ...first, noiseMultiplier: first.noiseMultiplier / factor }, ...others], delta: at })).toBeGreaterThanOrEqual(least);
        expect(pldEpsilon({ events, delta: at / factor })).toBeGreaterThanOrEqual(least);
      }),
      { numRuns: 40 },
    );
  });

  it('does not depend on the order of the events, nor on how their steps are split', () => {
    fc.assert(
      fc.property(history, delta, fc.double({ min: 0, max: 1, noNaN: true }), (events, at, share) => {
        const pieces = events.flatMap((one) => {
          const part = Math.floor(one.steps * share);
          return [{ ...one, steps: part }, { ...one, steps: one.steps - part }];
        });
        const epsilon = pldEpsilon({ events, delta: at });
        expect(pldEpsilon({ events: events.toReversed(), delta: at })).toBeCloseTo(epsilon, 9);
        expect(pldEpsilon({ events: pieces.toReversed(), delta: at })).toBeCloseTo(epsilon, 9);
      }),
      { numRuns: 60 },
    );
  });

  it('is never above epsilon by RDP', () => {
    fc.assert(
      fc.property(history, delta, (events, at) => {
        expect(pldEpsilon({ events, delta: at })).toBeLessThanOrEqual(rdpEpsilon(events, at).epsilon * (1 + 1e-9));
      }),
      { numRuns: 100 },
    );
  });

  it('and delta are each other’s inverse', () => {
    fc.assert(
      fc.property(history, delta, (events, at) => {
        const epsilon = pldEpsilon({ events, delta: at });
        const back = pldDelta({ events, epsilon });
        if (epsilon === 0) expect(back).toBeLessThanOrEqual(at * (1 + 1e-3));
        else expect(Math.abs(back / at - 1)).toBeLessThan(5e-3);
        // From below: the delta of a smaller epsilon is larger.
        expect(pldDelta({ events, epsilon: 0.9 * epsilon })).toBeGreaterThanOrEqual(back * (1 - 1e-3));
      }),
      { numRuns: 60 },
    );
  });

  it('is an upper bound that is 2e-5 or less above an accountant without grid, dots or bounds', () => {
    const excess: number[] = [];
    fc.assert(
      fc.property(fc.array(event({ steps: 3000 }), { minLength: 1, maxLength: 2 }), delta, (events, at) => {
        const epsilon = pldEpsilon({ events, delta: at });
        fc.pre(epsilon > 0 && epsilon < 200);
        const tilt = Math.max(0.02, Math.min(100, rdpEpsilon(events, at).order - 1));
        const oracles = (['remove', 'add'] as const).map((direction) => pldOracle(events, direction, tilt));
        fc.pre(oracles.every((oracle) => oracle !== undefined));
        const truth = Math.max(...oracles.flatMap((oracle) => oracle.epsilon(at, epsilon)).filter((value) => !Number.isNaN(value)));
        excess.push(epsilon / truth - 1);
        expect(epsilon / truth - 1).toBeGreaterThan(-1e-8);
        expect(epsilon / truth - 1).toBeLessThan(GRID);
      }),
      { numRuns: 40 },
    );
    console.log(`epsilon above the truth in ${excess.length} histories, worst: ${Math.max(...excess).toExponential(2)}, least: ${Math.min(...excess).toExponential(2)}`);
  });

  it('of two steps is that of the convolution of two exact ones', () => {
    /** delta of two steps at epsilon: the second step's at epsilon minus the first one's loss, averaged over the first one's noise. Smooth where the first loss is the narrower. */
    const twoSteps = (one: GaussianEvent, other: GaussianEvent, direction: Direction, epsilon: number): number => {
      const { samplingRate: q, noiseMultiplier: sigma } = one;
      const spacing = 1 / 256;
      let sum = 0;
      for (let t = -13; t < 13 + 1 / sigma; t += spacing) {
        const x = t / sigma - 0.5 / sigma ** 2;
        const loss = Math.log1p(q * Math.expm1(x)) * (direction === 'remove' ? 1 : -1);
        const density = Math.exp(-0.5 * t * t) * (direction === 'remove' ? 1 - q + q * Math.exp(x) : 1);
        sum += ((density * spacing) / Math.sqrt(2 * Math.PI)) * oneStepDelta({ ...other, direction }, epsilon - loss);
      }
      return sum;
    };
    fc.assert(
      fc.property(event({ steps: 2 }), event({ steps: 2 }), fc.double({ min: 0.02, max: 1.5, noNaN: true }), (one, other, share) => {
        const width = ({ samplingRate, noiseMultiplier }: GaussianEvent): number => samplingRate / noiseMultiplier;
        const [a, b] = [one, other].sort((x, y) => width(x) - width(y)).map((each) => ({ ...each, steps: 1 })) as [GaussianEvent, GaussianEvent];
        const epsilon = share * pldEpsilon({ events: [a, b], delta: 1e-7 });
        const truth = (at: number): number => Math.max(twoSteps(a, b, 'remove', at), twoSteps(a, b, 'add', at));
        const found = pldDelta({ events: [a, b], epsilon });
        expect(found).toBeGreaterThan(truth(epsilon) * (1 - 1e-8));
        // A thousandth above the truth, or, far in the tail, the truth of an epsilon that is smaller by what discretisation adds.
        expect(found).toBeLessThan(truth(epsilon * (1 - 5e-5)) * (1 + 1e-3));
      }),
      { numRuns: 40, examples: [[{ type: 'poisson-gaussian', samplingRate: 0.99, noiseMultiplier: 16.956644614840478, steps: 2 }, { type: 'poisson-gaussian', samplingRate: 0.00034632993664948143, noiseMultiplier: 1, steps: 2 }, 1.4999999999995688]] },
    );
  });
});

describe('calibration (properties)', () => {
  it('returns a noise multiplier that meets the target, and whose predecessor of five digits does not', () => {
    fc.assert(
      fc.property(event({ steps: 1000 }), delta, between(0.05, 20), (one, at, targetEpsilon) => {
        const epsilonOf = (noiseMultiplier: number): number => pldEpsilon({ events: [{ ...one, noiseMultiplier }], delta: at });
        let evaluations = 0;
        const found = calibrateNoiseMultiplier({ targetEpsilon, epsilonOf: (z) => ((evaluations += 1), epsilonOf(z)) });
        expect(epsilonOf(found)).toBeLessThanOrEqual(targetEpsilon);
        if (found > 0.05) expect(epsilonOf(Number((found * (1 - 1e-4)).toPrecision(5)))).toBeGreaterThan(targetEpsilon * (1 - GRID));
        expect(Number(found.toPrecision(5))).toBe(found);
        expect(evaluations).toBeLessThan(30);
      }),
      { numRuns: 30 },
    );
  });

  it('finds the step of any step function with few evaluations', () => {
    fc.assert(
      fc.property(between(0.06, 9000), fc.constantFrom(Infinity, 3, 1.0001), fc.constantFrom(0, 0.2, 0.9999), (edge, above, below) => {
        let evaluations = 0;
        const found = calibrateNoiseMultiplier({ targetEpsilon: 1, epsilonOf: (z) => ((evaluations += 1), z < edge ? above : below) });
        expect(found).toBeGreaterThanOrEqual(edge);
        expect(found).toBeLessThanOrEqual(edge * (1 + 1.0001e-4));
        expect(evaluations).toBeLessThan(60);
      }),
    );
  });
});
