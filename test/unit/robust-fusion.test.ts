import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calibrate, reliabilityOf, UNCALIBRATED, type ScoredRecords } from '../../shared/fusion/calibration.ts';
import { degrade, DEGRADATIONS } from '../../shared/fusion/degrade.ts';
import { evaluateRobustness, evaluateSamples } from '../../shared/fusion/evaluate.ts';
import { FUSION_RULES, type ScoredSamples } from '../../shared/fusion/evaluation.ts';
import { fitFusedTemperatures } from '../../shared/fusion/fused-temperature.ts';
import { logSoftmax } from '../../shared/fusion/hybrid.ts';
import { fuse } from '../../shared/fusion/rules.ts';
import { atypicality, typicalOf, withoutBlanks, type Inputs } from '../../shared/fusion/typicality.ts';
import { seededUniform } from '../../shared/model/initialise.ts';
import type { FusionSpec } from '../../shared/study/schema.ts';

const spec: FusionSpec = { alpha: 0.4, tau: 0.3, pool: 'robust', contamination: 0.07, calibration: 'selection', reference: 'consensus' };

function oneSample(...logits: readonly (readonly number[])[]): ScoredSamples {
  return { classes: logits[0]!.length, labels: Int32Array.of(0), modalities: Object.fromEntries(logits.map((own, m) => [`m${m}`, { logits: Float32Array.from(own), present: Uint8Array.of(1) }])) };
}

/** A network of one layer per class: labels drawn from softmax(logits / T), so that T is the temperature to find. */
function records(count: number, temperature: number, seed: number): { readonly labels: Int32Array; readonly clean: ScoredRecords } {
  const uniform = seededUniform(seed, 'records');
  const classes = 4;
  const logits = Float32Array.from({ length: count * classes }, () => 6 * (uniform() - 0.5));
  const labels = Int32Array.from({ length: count }, (_, i) => {
    const p = logSoftmax(logits.subarray(i * classes, (i + 1) * classes).map((logit) => logit / temperature)).map(Math.exp);
    let rest = uniform();
    for (let c = 0; c < classes; c += 1) if ((rest -= p[c]!) < 0) return c;
    return classes - 1;
  });
  return { labels, clean: { logits, present: new Uint8Array(count).fill(1), atypicality: undefined } };
}

describe('the robust product', () => {
  const logits = fc.array(fc.double({ min: -12, max: 12, noNaN: true }), { minLength: 3, maxLength: 3 });

  it('is the stated formula, prior included', () => {
    const prior = [0.2, 0.3, 0.5];
    const [a, b] = [[1.2, -0.4, 0.3], [-0.7, 2.1, 0.2]];
    const [p, q] = [a, b].map((own) => logSoftmax(own).map(Math.exp)) as [Float64Array, Float64Array];
    const raw = prior.map((own, c) => own * ((0.93 * p[c]!) / own + 0.07) * ((0.93 * q[c]!) / own + 0.07));
    const total = raw.reduce((x, y) => x + y);
    const fused = fuse('robust', oneSample(a, b), { ...spec, prior: prior.map((own) => 3 * own) }).probabilities;
    raw.forEach((value, c) => {
      expect(fused[c]).toBeCloseTo(value / total, 6);
    });
    expect([...fuse('hybrid', oneSample(a, b), { ...spec, prior }).probabilities]).toEqual([...fuse('robust', oneSample(a, b), { ...spec, prior }).probabilities]);
  });

  it('is the plain product where nothing may be contaminated, and a modality alone where there is one (properties)', () => {
    fc.assert(
      fc.property(logits, logits, logits, (a, b, c) => {
        const robust = fuse('robust', oneSample(a, b, c), { ...spec, contamination: 0 }).probabilities;
        const product = fuse('product', oneSample(a, b, c), spec).probabilities;
        robust.forEach((value, k) => {
          expect(value).toBeCloseTo(product[k]!, 6);
        });
        const alone = fuse('robust', oneSample(a), { ...spec, contamination: 0 }).probabilities;
        logSoftmax(Float32Array.from(a)).forEach((log, k) => {
          expect(alone[k]).toBeCloseTo(Math.exp(log), 6);
        });
      }),
    );
  });

  it('gives no modality a veto: against two that agree, the surest third one changes the odds by no more than contamination allows (property)', () => {
    fc.assert(
      fc.property(fc.double({ min: 20, max: 600, noNaN: true }), (how) => {
        const two = [2.5, 0, -1];
        const without = fuse('robust', oneSample(two, two), spec);
        const against = fuse('robust', oneSample(two, two, [-how, how, 0]), spec);
        const odds = (p: Float64Array): number => Math.log(p[0]! / p[1]!);
        // The third says 1 for class 1 and 0 for class 0: a factor of contamination against (1 - contamination) classes + contamination.
        expect(odds(without.probabilities) - odds(against.probabilities)).toBeLessThan(Math.log((0.93 * 3 + 0.07) / 0.07) + 1e-6);
        const weights = ['m0', 'm1', 'm2'].map((name) => against.weights[name]![0]!);
        expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 9);
        expect(fuse('product', oneSample(two, two, [-how, how, 0]), spec).probabilities[0]).toBeLessThan(1e-6);
      }),
    );
  });

  it('weighs a modality by how probably it is sound: the one that contradicts two others has least', () => {
    const { weights } = fuse('robust', oneSample([4, 0, 0], [3, 0, 0], [0, 4, 0]), spec);
    expect(weights['m2']![0]).toBeLessThan(0.5 * weights['m0']![0]!);
  });
});

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

describe('what is unusual', () => {
  const size = 24;
  const uniform = seededUniform(3, 'inputs');
  const inputs: Inputs = { size, present: new Uint8Array(300).fill(1), features: Float32Array.from({ length: 300 * size }, (_, k) => (1 + (k % size)) * (uniform() + uniform() + uniform() - 1.5)) };
  const typical = typicalOf(inputs)!;

  it('lies far from the selection records, or too near their mean; they themselves have mean 0 and standard deviation 1', () => {
    const own = atypicality(typical, inputs);
    const mean = own.reduce((a, b) => a + b) / own.length;
    expect(mean).toBeCloseTo(0, 9);
    expect(own.reduce((sum, z) => sum + z * z, 0) / own.length).toBeCloseTo(1, 9);
    const noisy = degrade('noise', inputs, { typical, uniform, strength: 3 });
    expect(Math.min(...atypicality(typical, noisy))).toBeGreaterThan(2);
    expect(Math.max(...atypicality(typical, degrade('blank', inputs, { typical, uniform })))).toBeLessThan(-2);
  });

  it('is not told from few records, or from records that are all alike', () => {
    expect(typicalOf({ ...inputs, present: inputs.present.map((_, i) => (i < 19 ? 1 : 0)) })).toBeUndefined();
    expect(typicalOf({ ...inputs, features: inputs.features.map((_, k) => k % size) })).toBeUndefined();
  });

  it('is measured by the stated moments of the records that are there, twenty at least', () => {
    // 21 records of 3 inputs, the last of them not there: one input goes from -1 to 1, one is four times as wide, one never varies.
    const features = Float32Array.from({ length: 63 }, (_, k) => (k >= 60 ? 1e6 : [Math.floor(k / 3) % 2 === 0 ? 1 : -1, Math.floor(k / 6) % 2 === 0 ? 4 : -4, 5][k % 3]!));
    const present = Uint8Array.from({ length: 21 }, (_, i) => (i < 20 ? 1 : 0));
    const some: Inputs = { size: 3, present, features: features.map((x, k) => (k === 0 ? 1.5 : x)) };
    const found = typicalOf(some)!;
    const column = (j: number): number[] => Array.from({ length: 20 }, (_, i) => some.features[3 * i + j]!);
    const mean = [0, 1, 2].map((j) => column(j).reduce((a, b) => a + b) / 20);
    const variance = [0, 1, 2].map((j) => column(j).reduce((sum, x) => sum + (x - mean[j]!) ** 2, 0) / 20);
    const least = (0.01 * variance.reduce((a, b) => a + b)) / 3;
    const distances = Array.from({ length: 20 }, (_, i) => Math.log([0, 1, 2].reduce((sum, j) => sum + (column(j)[i]! - mean[j]!) ** 2 / (variance[j]! + least), 0) / 3 + 1e-6));
    [0, 1, 2].forEach((j) => {
      expect(found.mean[j]).toBeCloseTo(mean[j]!, 12);
      expect(found.variance[j]).toBeCloseTo(variance[j]! + least, 12);
    });
    expect(found.centre).toBeCloseTo(distances.reduce((a, b) => a + b) / 20, 12);
    expect(atypicality(found, some)[0]).toBeCloseTo((distances[0]! - found.centre) / found.spread, 9);
    // The mean itself lies nearest of all, a finite distance away.
    const nearest = { size: 3, present: Uint8Array.of(1), features: Float32Array.from(found.mean) };
    expect(atypicality({ ...found, mean: Float64Array.from(nearest.features) }, nearest)[0]).toBeCloseTo((Math.log(1e-6) - found.centre) / found.spread, 9);
    expect(typicalOf({ ...some, present: present.map((there, i) => (i === 7 ? 0 : there)) })).toBeUndefined();
    // Records that all lie equally far from their mean have no spread.
    expect(typicalOf({ size: 1, present, features: Float32Array.from({ length: 21 }, (_, i) => (i % 2 === 0 ? 3 : -3)) })).toBeUndefined();
  });

  it('a record of one number everywhere counts as missing, unless it has only a few numbers', () => {
    const some: Inputs = { size: 8, present: Uint8Array.of(1, 1, 0), features: Float32Array.from({ length: 24 }, (_, k) => (k < 8 ? 0.5 : k % 8)) };
    expect([...withoutBlanks(some)]).toEqual([0, 1, 0]);
    expect([...withoutBlanks({ size: 4, present: Uint8Array.of(1), features: new Float32Array(4) })]).toEqual([1]);
    expect([...withoutBlanks({ size: 7, present: Uint8Array.of(1), features: new Float32Array(7).fill(2) })]).toEqual([1]);
  });

  it('texts are compared by the tokens they hold, garbled ones lie far out, and one without a token counts as missing', () => {
    const vocabulary = 400;
    const texts: Inputs = { ...inputs, vocabulary, features: inputs.features.map((_, k) => (k % size < 16 ? 1 + Math.floor(30 * uniform() ** 2) : 0)) };
    const common = typicalOf(texts)!;
    expect(common.mean).toHaveLength(vocabulary);
    expect(common.mean.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
    // Padding is no token, however much of it there is.
    expect(common.mean[0]).toBe(0);
    // The same words in another order are the same text.
    const { features } = texts;
    const turned = { ...texts, features: features.map((_, k) => features[k - (k % size) + ((k + 5) % size)]!) };
    atypicality(common, turned).forEach((value, i) => {
      expect(value).toBeCloseTo(atypicality(common, texts)[i]!, 3);
    });
    const garbled = degrade('noise', texts, { typical: common, uniform, strength: 2 });
    expect(Math.min(...atypicality(common, garbled))).toBeGreaterThan(2);
    const changed = garbled.features.filter((token, k) => token !== texts.features[k]).length / (300 * 16);
    expect(changed).toBeGreaterThan(0.72);
    expect(changed).toBeLessThan(0.78);
    expect([...garbled.features].every((token, k) => Number.isInteger(token) && token < vocabulary && token > 0 === k % size < 16)).toBe(true);
    expect([...withoutBlanks({ size: 3, vocabulary, present: Uint8Array.of(1, 1, 0), features: Float32Array.of(0, 0, 0, 0, 7, 7, 1, 2, 3) })]).toEqual([0, 1, 0]);
    expect([...withoutBlanks({ size: 9, vocabulary, present: Uint8Array.of(1), features: new Float32Array(9).fill(4) })]).toEqual([1]);
  });

  it('each degradation is what it says: noise of the stated size, nothing, another record of the same patients, none', () => {
    const { features } = degrade('noise', inputs, { typical, uniform, strength: 2 });
    const ratio = features.reduce((sum, x, k) => sum + (x - inputs.features[k]!) ** 2 / typical.variance[k % size]!, 0) / features.length;
    expect(ratio).toBeCloseTo(4, 0);
    const row = (from: Float32Array, i: number): string => from.subarray(i * size, (i + 1) * size).join();
    const { features: swapped } = degrade('swap', inputs, { typical, uniform });
    const rows = Array.from({ length: 300 }, (_, i) => i);
    expect(rows.filter((i) => row(swapped, i) === row(inputs.features, i))).toEqual([]);
    expect(new Set(rows.map((i) => row(swapped, i)))).toEqual(new Set(rows.map((i) => row(inputs.features, i))));
    // Who is not there is nobody's other patient, and stays not there.
    const half: Inputs = { size: 2, present: Uint8Array.of(1, 0, 1, 0, 1), features: Float32Array.of(1, 1, 2, 2, 3, 3, 4, 4, 5, 5) };
    const { features: moved } = degrade('swap', half, { typical: undefined, uniform });
    expect([moved[2], moved[3], moved[6], moved[7]]).toEqual([2, 2, 4, 4]);
    expect([moved[0], moved[4], moved[8]].sort()).toEqual([1, 3, 5]);
    expect(moved[0] === 1 || moved[4] === 3 || moved[8] === 5).toBe(false);
    // Without moments to go by noise has a standard deviation of its strength; also where the public randomness says 0.
    const plain = degrade('noise', inputs, { typical: undefined, uniform, strength: 3 }).features;
    expect(plain.reduce((sum, x, k) => sum + (x - inputs.features[k]!) ** 2, 0) / plain.length / 9).toBeCloseTo(1, 1);
    expect(degrade('noise', half, { typical: undefined, uniform: () => 0 }).features).toEqual(half.features);
    expect(degrade('missing', inputs, { typical, uniform }).present.includes(1)).toBe(false);
    expect(new Set(degrade('blank', inputs, { typical, uniform }).features)).toEqual(new Set([0]));
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

describe('robustness', () => {
  const { labels, clean } = records(900, 1, 9);
  const samples: ScoredSamples = { classes: 4, labels, modalities: { a: clean, b: { ...clean, logits: clean.logits.map((logit) => 0.8 * logit) } } };
  const useless = (modality: string) => DEGRADATIONS.map((degradation) => ({ modality, degradation, logits: clean.logits.map((_, k) => clean.logits[(k + 1004) % clean.logits.length]!), present: clean.present }));

  it('is the intact evaluation where what fails is as good as what does not, for every kind, share and rule', () => {
    const same = DEGRADATIONS.map((degradation) => ({ modality: 'a', degradation, ...clean }));
    const intact = evaluateSamples(samples, spec).fused;
    const found = evaluateRobustness(samples, { degraded: same, rules: FUSION_RULES, spec, uniform: seededUniform(1, 'share') });
    expect(found.map(({ degradation, share }) => `${degradation} ${share}`)).toEqual(DEGRADATIONS.flatMap((kind) => [0.1, 0.3, 0.5].map((share) => `${kind} ${share}`)));
    for (const { fused } of found) {
      for (const rule of FUSION_RULES) expect(fused[rule]).toEqual({ accuracy: intact[rule].accuracy, ece15: intact[rule].ece15, nll: intact[rule].nll });
    }
  });

  it('a modality that is missing for all of them leaves what the other says alone', () => {
    const gone = DEGRADATIONS.map((degradation) => ({ modality: 'a', degradation, logits: clean.logits, present: new Uint8Array(labels.length) }));
    const found = evaluateRobustness(samples, { degraded: gone, rules: ['product'], spec, uniform: () => 0 });
    const { b } = samples.modalities;
    expect(found[0]!.fused.product.ece15).toBeCloseTo(evaluateSamples({ ...samples, modalities: { b: b! } }, spec).fused.product.ece15, 12);
    expect(found[0]!.fused.product.ece15).not.toBeCloseTo(evaluateSamples(samples, spec).fused.product.ece15, 3);
  });

  it('fails the stated share of the samples, those whose lots are below it', () => {
    // Right where it is sound, wrong where it fails: accuracy counts the failing ones.
    const count = 40;
    const sound = { logits: Float32Array.from({ length: 2 * count }, (_, k) => (k % 2 === 0 ? 5 : 0)), present: new Uint8Array(count).fill(1) };
    const right: ScoredSamples = { classes: 2, labels: new Int32Array(count), modalities: { only: sound } };
    const wrong = DEGRADATIONS.map((degradation) => ({ modality: 'only', degradation, ...sound, logits: sound.logits.map((logit) => 5 - logit) }));
    let lot = 0;
    const found = evaluateRobustness(right, { degraded: wrong, rules: ['product', 'robust'], spec, uniform: () => ((7 * lot++) % count) / count });
    expect(found).toHaveLength(12);
    for (const { share, fused } of found) for (const { accuracy } of Object.values(fused)) expect(accuracy).toBeCloseTo(1 - share, 12);
  });

  it('is spared the rules that weigh reliability where a failing record shows, and those only', () => {
    const doubted = useless('a').map((one) => ({ ...one, reliability: new Float32Array(labels.length).fill(0.01) }));
    const [before] = evaluateRobustness(samples, { degraded: useless('a'), rules: FUSION_RULES, spec, uniform: () => 0 });
    const [after] = evaluateRobustness(samples, { degraded: doubted, rules: FUSION_RULES, spec, uniform: () => 0 });
    for (const rule of FUSION_RULES) {
      if (rule === 'hybrid' || rule === 'robust') expect(after!.fused[rule].accuracy).toBeGreaterThan(before!.fused[rule].accuracy + 0.1);
      else expect(after!.fused[rule]).toEqual(before!.fused[rule]);
    }
  });

  it('what says nothing is left out, as if it were missing, of the rules that weigh reliability', () => {
    const blank = DEGRADATIONS.map((degradation) => ({ modality: 'a', degradation, ...clean, reliability: new Float32Array(labels.length) }));
    const [found] = evaluateRobustness(samples, { degraded: blank, rules: ['robust', 'product'], spec, uniform: () => 0 });
    const { b } = samples.modalities;
    expect(found!.fused.robust.nll).toBeCloseTo(evaluateSamples({ ...samples, modalities: { b: b! } }, spec).fused.robust.nll, 12);
    expect(found!.fused.product.nll).toBe(evaluateSamples(samples, spec).fused.product.nll);
  });

  it('falls with the share that fails, and the robust product stays better calibrated than the plain one', () => {
    const found = evaluateRobustness(samples, { degraded: useless('a'), rules: FUSION_RULES, spec, uniform: seededUniform(1, 'share') });
    const [tenth, , half] = found.filter(({ degradation }) => degradation === 'swap');
    expect(half!.fused.product.accuracy).toBeLessThan(tenth!.fused.product.accuracy - 0.03);
    expect(half!.fused.robust.ece15).toBeLessThan(half!.fused.product.ece15);
  });
});
