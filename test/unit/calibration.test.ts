import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calibrate, reliabilityOf, UNCALIBRATED } from '../../shared/fusion/calibration.ts';
import { evaluateSamples } from '../../shared/fusion/evaluate.ts';
import { FUSION_RULES, type ScoredSamples } from '../../shared/fusion/evaluation.ts';
import { fitFusedTemperatures } from '../../shared/fusion/fused-temperature.ts';
import { logSoftmax } from '../../shared/fusion/hybrid.ts';
import { fuse } from '../../shared/fusion/rules.ts';
import { oneSample, records, spec } from '../support/fusion-samples.ts';

describe('calibration on the selection part', () => {
  it.each([0.6, 1.7])('finds the temperature %d that the labels were drawn with', (temperature) => {
    const { labels, clean } = records(6000, temperature, 5);
    const found = calibrate({ labels, clean, degraded: [] });
    expect(Math.abs(Math.log(found.temperature / temperature))).toBeLessThan(0.08);
    expect(found.discount).toBe(0);
  });

  it('is not led far by a handful of records, and by none not at all', () => {
    const { labels, clean } = records(8, 1, 6);
    // All eight happen to be right: alone they would ask for certainty.
    const sure = { ...clean, logits: clean.logits.map((_, k) => (k % 4 === labels[Math.floor(k / 4)] ? 1 : 0)) };
    expect(calibrate({ labels, clean: sure, degraded: [] }).temperature).toBeGreaterThan(0.2);
    expect(calibrate({ labels, clean: { ...clean, present: new Uint8Array(8) }, degraded: [] })).toEqual(UNCALIBRATED);
  });

  it('discounts unusual records as far as the noisy copies deserve, and not at all where they are as good as clean ones', () => {
    const { labels, clean } = records(2000, 1, 7);
    const far = new Float64Array(2000).fill(6);
    const good = { ...clean, atypicality: far };
    const wrong = { ...good, logits: clean.logits.map((_, k) => clean.logits[(k + 404) % clean.logits.length]!) };
    expect(calibrate({ labels, clean, degraded: [good] }).discount).toBe(0);
    const found = calibrate({ labels, clean, degraded: [wrong] });
    const { discount } = found;
    expect(discount).toBeGreaterThan(0.5);
    // Within two standard deviations nothing is discounted, on either side; what is not there is not believed at all.
    const four = reliabilityOf(found, { present: Uint8Array.of(1, 1, 1, 0), atypicality: Float64Array.of(6, -1.9, -6, 0) });
    [1 / (1 + 4 * discount), 1, 1 / (1 + 4 * discount), 0].forEach((expected, i) => {
      expect(four[i]).toBeCloseTo(expected, 6);
    });
    expect([...reliabilityOf(found, { present: Uint8Array.of(1, 0), atypicality: undefined })]).toEqual([1, 0]);
  });
});

describe('how much of the calibration a rule sees', () => {
  const [a, b] = [[2, 0.5, -1], [-0.3, 1.1, 0.4]];
  const believed = (reliability: number): ScoredSamples => ({ classes: 3, labels: Int32Array.of(0), modalities: { a: { logits: Float32Array.from(a), present: Uint8Array.of(1), temperature: 0.8, reliability: Float32Array.of(reliability) }, b: { logits: Float32Array.from(b), present: Uint8Array.of(1), temperature: 1.6 } } });
  const productOf = (factorA: number, factorB: number): number[] => [...logSoftmax(a.map((logit, c) => factorA * logit + factorB * b[c]!)).map(Math.exp)];
  const expectClose = (found: Float64Array, expected: readonly number[]): void => {
    expected.forEach((value, c) => {
      expect(found[c]).toBeCloseTo(value, 6);
    });
  };

  it('temperatures alone for the rules of the literature, reliability for ours, nothing for the one that nobody calibrates', () => {
    const sample = believed(0.25);
    const free = { ...spec, contamination: 0 };
    expectClose(fuse('product', sample, free).probabilities, productOf(1 / 0.8, 1 / 1.6));
    expectClose(fuse('robust', sample, free).probabilities, productOf(0.25 / 0.8, 1 / 1.6));
    expectClose(fuse('product-uncalibrated', sample, free).probabilities, productOf(1, 1));
    expectClose(fuse('robust', sample, { ...free, calibration: 'temperature' }).probabilities, productOf(1 / 0.8, 1 / 1.6));
    expectClose(fuse('robust', sample, { ...free, calibration: 'none' }).probabilities, productOf(1, 1));
    expect(fuse('equal', sample, free)).toEqual(fuse('equal', believed(0.9), free));
    expect(fuse('hybrid', sample, { ...free, pool: 'linear' })).not.toEqual(fuse('hybrid', believed(0.9), { ...free, pool: 'linear' }));
  });

  it('a record that says nothing has no weight where reliability counts', () => {
    expect(fuse('robust', believed(0), spec).weights).toEqual({ a: Float64Array.of(0), b: Float64Array.of(1) });
    expect(fuse('equal', believed(0), spec).weights).toEqual({ a: Float64Array.of(0.5), b: Float64Array.of(0.5) });
    expect(evaluateSamples(believed(0), spec).perModality['a']?.samples).toBe(0);
    expect(evaluateSamples(believed(0), { ...spec, calibration: 'temperature' }).perModality['a']?.samples).toBe(1);
  });
});

describe('the temperature of a fused answer', () => {
  const { labels, clean } = records(4000, 1, 21);
  const shared = (sharpness: number): ScoredSamples => ({
    classes: 4,
    labels,
    modalities: Object.fromEntries(['a', 'b'].map((name) => [name, { logits: clean.logits, temperature: 1 / sharpness, present: clean.present }])),
  });

  it('makes up for what modalities have in common: two that say the same count as one, whatever the rule but the one that nobody calibrates', () => {
    // Each is calibrated; their product squares what was said once.
    const selection = shared(1);
    const temperatures = fitFusedTemperatures(selection, { ...spec, contamination: 0 });
    expect(Object.keys(temperatures).sort()).toEqual(FUSION_RULES.filter((rule) => rule !== 'product-uncalibrated').sort());
    expect(temperatures.product).toBeGreaterThan(1.8);
    expect(temperatures.product).toBeLessThan(2.05);
    expect(temperatures.equal).toBeGreaterThan(0.95);
    expect(temperatures.equal).toBeLessThan(1.05);
    const free = { ...spec, contamination: 0 };
    const before = evaluateSamples(selection, free).fused;
    const after = evaluateSamples({ ...selection, temperatures }, free).fused;
    expect(after.product.ece15).toBeLessThan(0.3 * before.product.ece15);
    expect(after.product.accuracy).toBe(before.product.accuracy);
    expect(after['product-uncalibrated']).toEqual(before['product-uncalibrated']);
    // One that is too unsure is made surer.
    expect(fitFusedTemperatures(shared(0.25), free).product).toBeLessThan(0.6);
  });

  it('stays near 1 where there is little to learn from, and is 1 where there is nothing, or the study does not calibrate', () => {
    const few = { ...shared(1), labels: labels.subarray(0, 15) };
    const { product } = fitFusedTemperatures(few, spec, ['product']);
    expect(Math.abs(Math.log(product!))).toBeLessThan(0.2);
    expect(fitFusedTemperatures({ ...few, labels: labels.subarray(0, 0) }, spec)).toEqual({});
    const none = { ...spec, calibration: 'none' } as const;
    expect(fitFusedTemperatures(shared(1), none)).toEqual({});
    expect(fuse('product', { ...shared(1), temperatures: { product: 3 } }, none)).toEqual(fuse('product', shared(1), none));
  });

  it('leaves the order of the classes, the weights, and a sample without modalities alone', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -20, max: 20, noNaN: true }), { minLength: 6, maxLength: 6 }), fc.double({ min: 0.2, max: 5, noNaN: true }), fc.constantFrom(...FUSION_RULES), (logits, temperature, rule) => {
        const sample = oneSample(logits.slice(0, 3), logits.slice(3));
        const [plain, tempered] = [fuse(rule, sample, spec), fuse(rule, { ...sample, temperatures: { [rule]: temperature } }, spec)];
        expect(tempered.weights).toEqual(plain.weights);
        expect(tempered.probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
        const [p, q] = [plain.probabilities, tempered.probabilities];
        for (let a = 0; a < 3; a += 1) for (let b = 0; b < 3; b += 1) if (p[a]! > p[b]! * (1 + 1e-9)) expect(q[a]!).toBeGreaterThanOrEqual(q[b]!);
      }),
    );
    const alone = { ...oneSample([1, 2, 3]), temperatures: { robust: 3 } };
    const missing = { ...alone, modalities: { m0: { ...alone.modalities['m0']!, present: Uint8Array.of(0) } } };
    expect([...fuse('robust', missing, { ...spec, prior: [0.5, 0.25, 0.25] }).probabilities]).toEqual([0.5, 0.25, 0.25]);
  });
});
