import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rdpEpsilon } from '../../shared/privacy/accountant.ts';
import type { SiteHistory } from '../../shared/privacy/composition.ts';
import type { GaussianEvent, PrivacyEvent } from '../../shared/privacy/event.ts';
import { fftError, realFft } from '../../shared/privacy/fft.ts';
import { normalTail, tailDifference } from '../../shared/privacy/normal.ts';
import { connectTheDots } from '../../shared/privacy/pld-dots.ts';
import { epsilonOfDelta, gaussianDelta, oneStepDelta } from '../../shared/privacy/pld-exact.ts';
import { cumulantsOfStep, stepLoss, tiltAt } from '../../shared/privacy/pld-step.ts';
import { pldDelta, pldEpsilon } from '../../shared/privacy/pld.ts';
import { pldOracle } from '../support/pld-oracle.ts';
import { cliquesWhere, pldWhere } from '../support/cliques.ts';

const event = (samplingRate: number, noiseMultiplier: number, steps: number): GaussianEvent => ({ type: 'poisson-gaussian', samplingRate, noiseMultiplier, steps });
const rdp = (events: readonly PrivacyEvent[], delta: number): number => rdpEpsilon({ events, delta }).epsilon;

describe('the real Fourier transform', () => {
  it('is its definition, within its stated error, at every power of two', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 9 }), fc.array(fc.double({ min: -2, max: 3, noNaN: true }), { minLength: 512, maxLength: 512 }), (exponent, numbers) => {
        const x = Float64Array.from(numbers.slice(0, 2 ** exponent));
        const { re, im } = realFft(x);
        const allowed = (fftError(x.length) + 1e-15) * x.reduce((sum, value) => sum + Math.abs(value), 0) + 1e-300;
        expect(re).toHaveLength(x.length / 2 + 1);
        re.forEach((real, k) => {
          const angle = (j: number): number => (2 * Math.PI * ((j * k) % x.length)) / x.length;
          expect(Math.abs(real - x.reduce((sum, value, j) => sum + value * Math.cos(angle(j)), 0))).toBeLessThanOrEqual(allowed * 4);
          expect(Math.abs(im[k]! + x.reduce((sum, value, j) => sum + value * Math.sin(angle(j)), 0))).toBeLessThanOrEqual(allowed * 4);
        });
      }),
      { numRuns: 30 },
    );
  });

  it('of a smooth hump has next to nothing at high frequencies', () => {
    const { re, im } = realFft(Float64Array.from({ length: 1024 }, (_, j) => Math.exp(-(((j - 400) / 20) ** 2) / 2)));
    expect(Math.hypot(re[0]!, im[0]!)).toBeCloseTo(20 * Math.sqrt(2 * Math.PI), 10);
    expect(Math.hypot(re[300]!, im[300]!)).toBeLessThan(1e-13);
  });

  it('refuses lengths that are no power of two', () => {
    expect(() => realFft(new Float64Array(24))).toThrow(/a power of two from 8 on, found 24/);
  });
});

describe('the normal tail', () => {
  it.each([
    [-2.5, 0.993790334674224],
    [0.3, 0.382088577811047],
    [1.96, 0.0249978951482204],
    [6, 9.86587645037698e-10],
    [20, 2.75362411860623e-89],
  ])('at %d is %d', (x, expected) => {
    expect(Math.abs(normalTail(x) / expected - 1)).toBeLessThan(1e-13);
  });

  it('differs from itself elsewhere without cancellation', () => {
    // P(X > -a/2) - P(X > a/2) is a times the density at 0, up to a^3.
    const a = 1e-7;
    expect(Math.abs(tailDifference(-a / 2, a) / (a / Math.sqrt(2 * Math.PI)) - 1)).toBeLessThan(1e-13);
    expect(Math.abs(tailDifference(2, 3) / (normalTail(2) - Math.exp(2 * 3 + 4.5) * normalTail(5)) - 1)).toBeLessThan(1e-12);
    expect(tailDifference(-30, 4)).toBeCloseTo(1, 12);
  });
});

describe('dots', () => {
  it('keep the mass under P and under Q, and no hockey-stick divergence gets smaller, on any grid under any tilt', () => {
    const within = (min: number, max: number): fc.Arbitrary<number> => fc.double({ min, max, noNaN: true });
    const mechanisms = fc.record({
      samplingRate: fc.oneof(within(1e-3, 1 - 1e-9), fc.constant(1), within(1e-15, 1e-3), fc.integer({ min: 1, max: 29 }).map((bits) => 1 - 2 ** -bits)),
      noiseMultiplier: fc.oneof(within(0.3, 8), within(0.03, 0.3)),
      direction: fc.constantFrom('remove' as const, 'add' as const),
    });
    fc.assert(
      fc.property(mechanisms, within(0.003, 0.8), fc.integer({ min: -4, max: 12 }), fc.oneof(within(-1.5, 4), within(0, 40)), (mechanism, gridStep, tiltIndex, epsilon) => {
        const { log, variance } = cumulantsOfStep(mechanism, tiltIndex);
        const precision = { tilt: tiltAt(tiltIndex), log, variance, widest: 4 * gridStep, densityThatCounts: 1e-6 };
        const dots = connectTheDots({ step: stepLoss(mechanism), gridStep, tailMass: 1e-13, ...precision });
        const { indices, masses, infinity } = dots ?? { indices: [], masses: [], infinity: 0 };
        const sumOf = (weightOf: (loss: number) => number): number => indices.reduce((sum, index, i) => sum + masses[i]! * weightOf(index * gridStep), 0);
        expect(infinity).toBeLessThanOrEqual(1e-13);
        expect(Math.abs(sumOf(() => 1) - 1)).toBeLessThan(2e-13);
        // Of Q, the part below the first dot is moved up, so that its mass shrinks.
        expect(sumOf((loss) => Math.exp(-loss))).toBeLessThan(1 + 1e-9);
        const exact = oneStepDelta(mechanism, epsilon);
        const dotted = sumOf((loss) => Math.max(0, -Math.expm1(epsilon - loss))) + infinity;
        expect(dotted).toBeGreaterThanOrEqual(exact * (1 - 1e-11) - 1e-14);
      }),
      { numRuns: 300 },
    );
  });
});

describe('epsilon by PLD', () => {
  it('is infinite for a release without noise and for numbers that describe no mechanism, and so is their delta 1', () => {
    const wrong: readonly PrivacyEvent[] = [
      { type: 'unprotected', steps: 3 },
      event(1.01, 2, 5),
      event(0, 2, 5),
      event(-0.1, 2, 5),
      event(NaN, 2, 5),
      event(0.2, 0, 5),
      event(0.2, -3, 5),
      event(0.2, NaN, 5),
      event(0.2, 2, 1.5),
      event(0.2, 2, -7),
      event(0.2, 2, NaN),
      event(0.2, 2, Infinity),
    ];
    for (const one of wrong) {
      expect(pldEpsilon({ events: [event(0.03, 2, 40), one], delta: 1e-5 })).toBe(Infinity);
      expect(pldDelta({ events: [event(0.03, 2, 40), one], epsilon: 3 })).toBe(1);
    }
  });

  it('of nothing is 0, of a step that changes less than delta too, and no delta but one above 0 is met', () => {
    expect(pldEpsilon({ events: [], delta: 1e-5 })).toBe(0);
    expect(pldEpsilon({ events: [{ type: 'unprotected', steps: 0 }, event(0.3, 2, 0)], delta: 1e-5 })).toBe(0);
    expect(pldEpsilon({ events: [event(1e-7, 3, 50)], delta: 1e-5 })).toBe(0);
    for (const delta of [0, -1e-5, NaN]) expect(pldEpsilon({ events: [event(0.1, 2, 30)], delta })).toBe(Infinity);
    expect(pldEpsilon({ events: [event(0.1, 2, 30)], delta: 1 })).toBe(0);
    expect(pldDelta({ events: [event(0.1, 2, 30)], epsilon: NaN })).toBe(1);
    expect(pldDelta({ events: [event(0.1, 2, 30)], epsilon: Infinity })).toBe(0);
    expect(pldDelta({ events: [], epsilon: 0.4 })).toBe(0);
  });

  it('is exact for one step, and for any number of steps that take everybody', () => {
    const one = event(0.05, 0.8, 1);
    expect(oneStepDelta({ ...one, direction: 'remove' }, pldEpsilon({ events: [one], delta: 1e-6 }))).toBeCloseTo(1e-6, 15);
    const mu = Math.sqrt(30 / 4 ** 2 + 7 / 9 ** 2);
    expect(pldEpsilon({ events: [event(1, 4, 30), event(1, 9, 7)], delta: 1e-6 })).toBeCloseTo(epsilonOfDelta((epsilon) => gaussianDelta(mu, epsilon), 1e-6), 10);
  });

  it.each([
    // e^-loss underflows above 745.
    [0.99, 0.2, 60, 1e-6],
    [0.7, 0.35, 700, 1e-5],
  ])('is right where losses are in the hundreds: q = %d, sigma = %d, T = %d, delta = %d', (samplingRate, noiseMultiplier, steps, delta) => {
    const events = [event(samplingRate, noiseMultiplier, steps)];
    const epsilon = pldEpsilon({ events, delta });
    expect(epsilon).toBeGreaterThan(800);
    const truth = pldOracle(events, 'remove', 0.1)?.epsilon(delta, epsilon) ?? NaN;
    expect(epsilon / truth).toBeGreaterThan(1 - 1e-8);
    expect(epsilon / truth).toBeLessThan(1 + 2e-5);
  });

  it('is a number between that of a single step and that of RDP, however extreme the mechanism', () => {
    const cases: readonly (readonly [number, number, number, number])[] = [
      [1e-9, 0.01, 2, 1e-30],
      [1e-6, 0.01, 1000, 1e-10],
      [1e-6, 1, 7, 1e-200],
      [1e-4, 1, 1e5, 1e-10],
      [1e-4, 50, 1e5, 1e-10],
      [1e-3, 0.3, 1e8, 1e-5],
      [0.01, 1e-3, 100, 1e-5],
      [0.01, 1e6, 1e5, 1e-300],
      [0.01, 1e9, 1e8, 1e-5],
      [0.1, 1, 2 ** 53 - 1, 1e-5],
      [0.5, 0.005, 1e5, 1e-12],
      [0.5, 30, 1e6, 0.5],
      [1 - 1e-15, 0.03, 3, 1e-10],
      [1, 1e-3, 1e12, 0.5],
      [1, 1e6, 2, 1e-12],
    ];
    for (const [samplingRate, noiseMultiplier, steps, delta] of cases) {
      const many = event(samplingRate, noiseMultiplier, steps);
      const epsilon = pldEpsilon({ events: [many], delta });
      const name = JSON.stringify([samplingRate, noiseMultiplier, steps, delta]);
      expect(epsilon, name).toBeLessThanOrEqual(rdp([many], delta) * (1 + 1e-9));
      expect(epsilon, name).toBeGreaterThanOrEqual(pldEpsilon({ events: [{ ...many, noiseMultiplier: Math.min(1e6, noiseMultiplier), steps: 1 }], delta }) * (1 - 1e-9));
      const back = pldDelta({ events: [many], epsilon });
      expect(back >= 0 && back <= 1, name).toBe(true);
    }
  });

  it('does not depend on what was asked before', () => {
    const events = [event(0.03, 1.7, 123), event(0.2, 4, 57)];
    const first = pldEpsilon({ events, delta: 3e-6 });
    for (let i = 1; i < 40; i += 1) pldEpsilon({ events: [event(0.03, 1.7, 100 + i), event(0.2, 4 + i / 7, 57)], delta: 10 ** (-i / 6) });
    // A delta that differs in its last digit misses the cache of answers, not those of spectra.
    expect(pldEpsilon({ events, delta: 3e-6 * (1 + 1e-15) })).toBeCloseTo(first, 12);
  });
});

describe('cliques of sites that may share a patient', () => {
  const site = (name: string, modality: string, ...events: readonly PrivacyEvent[]): SiteHistory => ({ site: name, modality, events });
  // The example of privacy.md, section 2: imaging A, B disjoint; genomics C; EHR D, E overlap.
  const sites = [
    site('A', 'imaging', event(0.064, 1.5, 200)),
    site('B', 'imaging', event(0.032, 1.3, 200)),
    site('C', 'genomics', event(0.1, 2, 150)),
    site('D', 'ehr', event(0.05, 1.6, 120)),
    site('E', 'ehr', event(0.08, 2.2, 120)),
  ];

  it('count once each: 5.085 where imaging is disjoint, 5.464 where nothing is', () => {
    const worst = pldWhere(sites, new Set(['imaging']), 1e-5);
    expect(worst).toBeCloseTo(5.085, 3);
    expect(worst).toBe(pldEpsilon({ events: sites.filter((one) => one.site !== 'B').flatMap(({ events }) => events), delta: 1e-5 }));
    expect(pldWhere(sites, new Set(), 1e-5)).toBeCloseTo(5.464, 3);
    expect(cliquesWhere(sites, new Set(['imaging', 'ehr']))).toHaveLength(4);
  });

  it('leave out sites whose history is part of another’s, however it is cut into pieces', () => {
    const many = Array.from({ length: 30 }, (_, i) => site(`s${i % 20}`, 'm', event(0.1, 2, 3 + (i % 7)), event(0.2, 3, 4)));
    const cliques = cliquesWhere(many, new Set(['m']));
    expect(cliques).toHaveLength(1);
    expect(cliques[0]!.events.map(({ steps }) => steps).sort((a, b) => a - b)).toEqual([8, 17]);
  });

  it('of hundreds of different sites cost one upper bound instead of millions of compositions', () => {
    const many = Array.from({ length: 300 }, (_, i) => site(`s${i}`, `m${i % 4}`, event(0.01 + (i % 25) / 500, 2, 10), event(0.1, 3, i)));
    const disjointModalities = new Set(['m0', 'm1', 'm2', 'm3']);
    const cliques = cliquesWhere(many, disjointModalities);
    expect(cliques.length).toBeLessThanOrEqual(256);
    const epsilon = pldWhere(many, disjointModalities, 1e-5);
    const onePatient = many.slice(296).flatMap(({ events }) => events);
    expect(epsilon).toBeGreaterThanOrEqual(pldEpsilon({ events: onePatient, delta: 1e-5 }));
    expect(Number.isFinite(epsilon)).toBe(true);
  });

  it('are infinite as soon as one site of the patient releases without noise', () => {
    expect(pldWhere([...sites, site('F', 'ehr', { type: 'unprotected', steps: 1 })], new Set(['ehr']), 1e-5)).toBe(Infinity);
    expect(pldWhere([], new Set(), 1e-5)).toBe(0);
  });
});
