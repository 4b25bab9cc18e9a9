import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ScoredSamples } from '../../shared/fusion/evaluation.ts';
import { evaluateSamples } from '../../shared/fusion/evaluate.ts';
import { fusionWeights, hybridUncertainty, logSoftmax } from '../../shared/fusion/hybrid.ts';
import { computeMetrics } from '../../shared/fusion/metrics.ts';
import { fuse } from '../../shared/fusion/rules.ts';
import { seededUniform } from '../../shared/model/initialise.ts';
import type { FusionSpec } from '../../shared/study/schema.ts';

const spec: FusionSpec = { alpha: 0.4, tau: 0.3, pool: 'log', contamination: 0.03, calibration: 'none', reference: 'consensus' };
const logit = fc.double({ min: -8, max: 8, noNaN: true });
const sample = (modalities: number) => fc.array(fc.array(logit, { minLength: 3, maxLength: 3 }), { minLength: modalities, maxLength: modalities });

function scored(rows: readonly (readonly (readonly number[])[])[], present: readonly (readonly number[])[]): ScoredSamples {
  const names = rows[0]!.map((_, m) => `m${m}`);
  return {
    classes: 3,
    labels: Int32Array.from(rows, (_, i) => i % 3),
    modalities: Object.fromEntries(names.map((name, m) => [name, { logits: Float32Array.from(rows.flatMap((row) => row[m]!)), present: Uint8Array.from(present.map((row) => row[m]!)) }])),
  };
}

describe('hybrid uncertainty', () => {
  it('is the stated formula, by hand: one sure and one undecided modality', () => {
    const sure = logSoftmax([Math.log(0.8), Math.log(0.15), Math.log(0.05)]);
    const flat = logSoftmax([0, 0, 0]);
    const entropy = -(0.8 * Math.log(0.8) + 0.15 * Math.log(0.15) + 0.05 * Math.log(0.05));
    const mean = [0.8, 0.15, 0.05].map((p) => (p + 1 / 3) / 2);
    const kl = [0.8, 0.15, 0.05].reduce((sum, p, c) => sum + p * Math.log(p / mean[c]!), 0);
    const [first, second] = hybridUncertainty([sure, flat], spec);
    expect(first).toBeCloseTo((0.4 * entropy) / Math.log(3) + (0.6 * kl) / Math.log(2), 12);
    expect(second).toBeGreaterThan(0.4);
  });

  it('stays in [0, 1], and weights sum to one and follow their modality through a permutation (property)', () => {
    fc.assert(
      fc.property(sample(3), fc.constantFrom('consensus' as const, 'leave-one-out' as const), (rows, reference) => {
        const logs = rows.map(logSoftmax);
        const settings = { ...spec, reference };
        for (const u of hybridUncertainty(logs, settings)) {
          expect(u).toBeGreaterThanOrEqual(0);
          expect(u).toBeLessThanOrEqual(1 + 1e-12);
        }
        const weights = fusionWeights(logs, settings);
        expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
        const turned = fusionWeights([logs[2]!, logs[0]!, logs[1]!], settings);
        expect(turned[1]).toBeCloseTo(weights[0]!, 12);
      }),
    );
  });

  it('gives a single modality the whole weight, and a huge tau equal weights', () => {
    expect([...fusionWeights([logSoftmax([1, 2, 3])], spec)]).toEqual([1]);
    for (const w of fusionWeights([logSoftmax([9, 0, 0]), logSoftmax([0, 0, 1])], { ...spec, tau: 1e9 })) expect(w).toBeCloseTo(0.5, 6);
  });
});

describe('fusion', () => {
  it('by entropy alone believes the sure more than the unsure, by the stated softmax', () => {
    const [sure, unsure] = [[3, 0, 0], [0.5, 0, 0]];
    const entropyOf = (logits: readonly number[]): number => logSoftmax(logits).reduce((sum, log) => sum - Math.exp(log) * log, 0);
    const { weights } = fuse('entropy', scored([[sure, unsure]], [[1, 1]]), spec);
    const [a, b] = [sure, unsure].map((logits) => Math.exp(-entropyOf(logits)));
    expect(weights['m0']![0]).toBeCloseTo(a! / (a! + b!), 6);
    expect(weights['m0']![0]).toBeGreaterThan(0.6);
  });

  it('never lets other samples influence a sample (property)', () => {
    fc.assert(
      fc.property(fc.array(sample(2), { minLength: 2, maxLength: 5 }), (rows) => {
        const all = scored(rows, rows.map(() => [1, 1]));
        const alone = scored([rows[0]!], [[1, 1]]);
        for (const rule of ['hybrid', 'hybrid-linear', 'entropy', 'product', 'equal'] as const) {
          expect([...fuse(rule, alone, spec).probabilities]).toEqual([...fuse(rule, all, spec).probabilities.subarray(0, 3)]);
        }
      }),
    );
  });

  it('by the log pool with equal weights is the plain product', () => {
    const rows = [[[1.2, -0.4, 0.1], [0.3, 0.9, -2]]];
    const samples = scored(rows, [[1, 1]]);
    const product = fuse('product', samples, { ...spec, prior: [2, 1, 1] }).probabilities;
    const pooled = fuse('hybrid-log', samples, { ...spec, tau: 1e9, prior: [2, 1, 1] }).probabilities;
    pooled.forEach((p, c) => expect(p).toBeCloseTo(product[c]!, 6));
    // By hand: p1 p2 / prior, normalised.
    const [a, b] = rows[0]!.map((row) => logSoftmax(row));
    const raw = [0, 1, 2].map((c) => Math.exp(a![c]! + b![c]!) / [0.5, 0.25, 0.25][c]!);
    raw.forEach((p, c) => expect(product[c]).toBeCloseTo(p / raw.reduce((x, y) => x + y), 5));
  });

  it('uses the modalities a sample has, and the prior where it has none', () => {
    const samples = scored([[[3, 0, 0], [0, 3, 0]], [[3, 0, 0], [0, 3, 0]], [[3, 0, 0], [0, 3, 0]]], [[1, 0], [0, 1], [0, 0]]);
    const { probabilities, weights } = fuse('hybrid', samples, { ...spec, prior: [1, 1, 2] });
    expect(probabilities[0]).toBeGreaterThan(0.8);
    expect(probabilities[4]).toBeGreaterThan(0.8);
    expect([...probabilities.subarray(6)]).toEqual([0.25, 0.25, 0.5]);
    expect(weights['m1']![0]).toBe(0);
    const { perModality, fused } = evaluateSamples(samples, spec);
    expect(perModality['m0']!.samples).toBe(1);
    expect(fused.hybrid.samples).toBe(3);
  });
});

describe('metrics', () => {
  it('are the definitions, by hand', () => {
    // Top: class 0 (0.7), 1 (0.6), 0 (0.45), 2 (0.5); labels 0, 1, 1, 2.
    const probabilities = [0.7, 0.2, 0.1, 0.1, 0.6, 0.3, 0.45, 0.35, 0.2, 0.3, 0.2, 0.5];
    const metrics = computeMetrics({ probabilities, labels: Int32Array.of(0, 1, 1, 2), classes: 3 });
    expect(metrics.accuracy).toBe(0.75);
    expect(metrics.confusion).toEqual([[1, 0, 0], [1, 1, 0], [0, 0, 1]]);
    expect(metrics.confAccLow).toBe(0.5);
    expect(metrics.confAccLowCount).toBe(2);
    expect(metrics.ece10).toBeCloseTo((0.3 + 0.4 + 0.45 + 0.5) / 4, 12);
    expect(metrics.nll).toBeCloseTo(-(Math.log(0.7) + Math.log(0.6) + Math.log(0.35) + Math.log(0.5)) / 4, 12);
    expect(metrics.macro.f1).toBeCloseTo((2 / 3 + 2 / 3 + 1) / 3, 12);
    expect(metrics.weighted.recall).toBeCloseTo(metrics.accuracy, 12);
    expect(metrics.weighted.precision).toBeCloseTo((0.5 + 2 * 1 + 1) / 4, 12);
  });

  it('tell what calibration error exactly right confidences would show on so few samples, within a tenth of it', () => {
    const uniform = seededUniform(11, 'confidences');
    const [samples, classes] = [400, 3];
    const probabilities = Array.from({ length: samples }, () => {
      const sure = 0.4 + 0.6 * uniform();
      return [sure, 0.7 * (1 - sure), 0.3 * (1 - sure)];
    });
    const draw = (): Int32Array => Int32Array.from(probabilities, ([first, second]) => {
      const lot = uniform();
      return lot < first! ? 0 : lot < first! + second! ? 1 : 2;
    });
    const drawn = Array.from({ length: 60 }, () => computeMetrics({ probabilities: probabilities.flat(), labels: draw(), classes }));
    const mean = drawn.reduce((sum, { ece15 }) => sum + ece15, 0) / drawn.length;
    // It depends on the confidences alone.
    expect(new Set(drawn.map(({ ece15Perfect }) => ece15Perfect)).size).toBe(1);
    expect(mean).toBeGreaterThan(0.02);
    expect(Math.abs(drawn[0]!.ece15Perfect / mean - 1)).toBeLessThan(0.1);
    // Two samples of one bin, one of another: sqrt(2 / pi) (sqrt(0.21 + 0.2211) + sqrt(0.09)) / 3.
    const few = computeMetrics({ probabilities: [0.7, 0.3, 0.67, 0.33, 0.1, 0.9], labels: Int32Array.of(0, 1, 1), classes: 2 });
    expect(few.ece15Perfect).toBeCloseTo((Math.sqrt(2 / Math.PI) * (Math.sqrt(0.21 + 0.67 * 0.33) + Math.sqrt(0.09))) / 3, 9);
  });

  it('of nothing are zero, and ConfAcc_Low is undefined', () => {
    const metrics = computeMetrics({ probabilities: [], labels: new Int32Array(0), classes: 2 });
    expect(metrics.accuracy).toBe(0);
    expect(metrics.confAccLow).toBeNull();
  });
});
