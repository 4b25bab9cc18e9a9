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

  it('is the stated formula for three modalities, against their consensus and against the others of each', () => {
    const rows = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]];
    const kl = (p: readonly number[], q: readonly number[]): number => p.reduce((sum, own, c) => sum + own * Math.log(own / q[c]!), 0);
    const meanOf = (of: readonly (readonly number[])[]): number[] => [0, 1, 2].map((c) => of.reduce((sum, p) => sum + p[c]!, 0) / of.length);
    const entropies = rows.map((p) => -p.reduce((sum, own) => sum + own * Math.log(own), 0) / Math.log(3));
    const logs = rows.map((row) => logSoftmax(row.map(Math.log)));
    hybridUncertainty(logs, spec).forEach((u, m) => {
      expect(u).toBeCloseTo(0.4 * entropies[m]! + (0.6 * kl(rows[m]!, meanOf(rows))) / Math.log(3), 12);
    });
    const uncertainty = hybridUncertainty(logs, { ...spec, reference: 'leave-one-out' });
    uncertainty.forEach((u, m) => {
      expect(u).toBeCloseTo(0.4 * entropies[m]! + 0.6 * (1 - Math.exp(-kl(rows[m]!, meanOf(rows.filter((_, other) => other !== m))))), 12);
    });
    const raw = uncertainty.map((u) => Math.exp(-u / 0.3));
    fusionWeights(logs, { ...spec, reference: 'leave-one-out' }).forEach((w, m) => {
      expect(w).toBeCloseTo(raw[m]! / raw.reduce((a, b) => a + b), 12);
    });
  });

  it('is finite and within [0, 1] where modalities are certain, agree, or hold each other impossible', () => {
    const certain = Float64Array.of(0, -Infinity, -Infinity);
    const opposed = Float64Array.of(-Infinity, 0, -Infinity);
    const flat = logSoftmax([0, 0, 0]);
    for (const reference of ['consensus', 'leave-one-out'] as const) {
      const settings = { ...spec, reference };
      expect([...hybridUncertainty([certain, certain], settings)]).toEqual([0, 0]);
      // Of no entropy, at the greatest disagreement that there is.
      for (const u of hybridUncertainty([certain, opposed], settings)) expect(u).toBeCloseTo(0.6, 12);
      expect(hybridUncertainty([certain], settings)[0]).toBe(0);
      for (const u of hybridUncertainty([flat, flat], settings)) expect(u).toBeCloseTo(0.4, 12);
      // Rounding alone would put equal ones a little below no disagreement.
      for (const logits of [[0.1, 0.2, 0.7], [0.3, 0.3, 0.1], [1.1, -2.3, 0.4]]) {
        const log = logSoftmax(logits);
        for (const u of hybridUncertainty([log, log, log], { ...settings, alpha: 0 })) expect(u).toBeGreaterThanOrEqual(0);
      }
    }
    // In leave-one-out, what only one of three holds possible stays below certain disagreement.
    const nearly = Float64Array.of(Math.log1p(-1e-9), Math.log(1e-9), -Infinity);
    const [first] = hybridUncertainty([Float64Array.of(-Infinity, 0, -Infinity), nearly, nearly], { ...spec, alpha: 0, reference: 'leave-one-out' });
    expect(first).toBeCloseTo(1 - 1e-9, 14);
  });

  it('takes logits of any size, and gives the softmax', () => {
    expect(logSoftmax([2000, 0])[1]).toBe(-2000);
    for (const highest of [-2000, -1, 0, 3]) expect(logSoftmax([highest, highest - 1])[0]).toBeCloseTo(-Math.log1p(Math.exp(-1)), 12);
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
    expect([metrics.nll, metrics.ece10, metrics.ece15, metrics.macro.f1, metrics.weighted.f1]).toEqual([0, 0, 0, 0, 0]);
    expect(metrics.reliability).toEqual(Array.from({ length: 10 }, () => ({ count: 0, confidence: 0, accuracy: 0 })));
  });

  it('of classes that are equally probable answer the first of them', () => {
    const metrics = computeMetrics({ probabilities: [0.4, 0.4, 0.2, 0.1, 0.45, 0.45], labels: Int32Array.of(0, 1), classes: 3 });
    expect(metrics.confusion).toEqual([[1, 0, 0], [0, 1, 0], [0, 0, 0]]);
  });

  it('count a confidence on an edge into the bin above it, and 1 into the last bin', () => {
    // In tenths: 0.5 is the bin [0.5, 0.6), 1 is [0.9, 1]. Hits: no, yes, yes, no.
    const metrics = computeMetrics({ probabilities: [0.5, 0.5, 1, 0, 0.75, 0.25, 0, 1], labels: Int32Array.of(1, 0, 0, 0), classes: 2 });
    expect(metrics.reliability.map(({ count }) => count)).toEqual([0, 0, 0, 0, 0, 1, 0, 1, 0, 2]);
    expect(metrics.reliability[9]).toEqual({ count: 2, confidence: 1, accuracy: 0.5 });
    expect(metrics.ece10).toBeCloseTo((0.5 + 0.25 + 1) / 4, 12);
    // Of 0.5 the likelihood is a half, of the last sample, which was held impossible, the smallest that is told apart.
    expect(metrics.nll).toBeCloseTo(-(Math.log(0.5) + Math.log(0.75) + Math.log(1e-12)) / 4, 9);
    expect(metrics.confAccLowCount).toBe(1);
    expect(metrics.confAccLow).toBe(0);
  });

  it('in fifteen bins tell apart what ten bins put together', () => {
    // 0.61 and 0.68: one tenth, but on either side of 10/15. The first is right, the second wrong.
    const { ece10, ece15 } = computeMetrics({ probabilities: [0.61, 0.39, 0.68, 0.32], labels: Int32Array.of(0, 1), classes: 2 });
    expect(ece10).toBeCloseTo(Math.abs(1 - 0.61 - 0.68) / 2, 12);
    expect(ece15).toBeCloseTo((0.39 + 0.68) / 2, 12);
    // 0.615 and 0.65: one bin of fifteen (9/15 to 10/15), two of fourteen or sixteen.
    const together = computeMetrics({ probabilities: [0.615, 0.385, 0.65, 0.35], labels: Int32Array.of(0, 1), classes: 2 });
    expect(together.ece15).toBeCloseTo(Math.abs(1 - 0.615 - 0.65) / 2, 12);
  });

  it('average plainly over the classes that occur, in labels or in answers, with 0 where a class was never answered or never there', () => {
    // Class 0: 2 records, one found. Class 1: none, answered once. Class 2: one record, never answered; its record counts for class 0. Class 3 occurs nowhere.
    const metrics = computeMetrics({ probabilities: [0.9, 0.1, 0, 0, 0.2, 0.8, 0, 0, 0.7, 0.1, 0.2, 0], labels: Int32Array.of(0, 0, 2), classes: 4 });
    expect(metrics.confusion).toEqual([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]);
    expect(metrics.macro).toEqual({ precision: 0.5 / 3, recall: 0.5 / 3, f1: 0.5 / 3 });
    expect(metrics.weighted.precision).toBeCloseTo(1 / 3, 12);
    expect(metrics.weighted.f1).toBeCloseTo(1 / 3, 12);
  });
});
