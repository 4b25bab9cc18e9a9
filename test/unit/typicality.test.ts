import { describe, expect, it } from 'vitest';
import { degrade } from '../../shared/fusion/degrade.ts';
import { atypicality, typicalOf, withoutBlanks, type Inputs } from '../../shared/fusion/typicality.ts';
import { seededUniform } from '../../shared/model/initialise.ts';

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
