import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFrontEnd } from '../../shared/data/front-end.ts';
import { encoderShape } from '../../shared/study/encoder-input.ts';
import type { FrontEndSpec } from '../../shared/study/schema.ts';

const dct = { type: 'dct', rows: 3, columns: 4, centre: 'none', lift: 0, unitLength: false, multiply: 1 } as const satisfies FrontEndSpec;
const hog = { type: 'hog', rows: 2, columns: 3, orientations: 6, turn: 'half', unitLength: false, multiply: 1 } as const satisfies FrontEndSpec;
const sound = { type: 'spectrogram', floorQuantile: 0.5, rows: 4, columns: 3, modulation: { rows: 5, columns: 4 }, lift: 0, unitLength: false, multiply: 1 } as const satisfies FrontEndSpec;
const ALL: readonly [string, FrontEndSpec, readonly number[]][] = [
  ['dct', dct, [6, 7, 2]],
  ['hog', hog, [8, 9, 1]],
  ['spectrogram', sound, [6, 20, 1]],
];

const features = (spec: FrontEndSpec, shape: readonly number[], record: ArrayLike<number>): number[] => {
  const { size, apply } = createFrontEnd(spec, shape);
  const target = new Float32Array(size);
  apply(Float32Array.from(record), target, 0);
  return [...target];
};
const norm = (values: readonly number[]): number => Math.hypot(...values);
const recordOf = (length: number) => fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: length, maxLength: length });
const expectClose = (found: readonly number[], expected: readonly number[], digits = 4): void => {
  expect(found).toHaveLength(expected.length);
  found.forEach((value, i) => {
    expect(value).toBeCloseTo(expected[i]!, digits);
  });
};

describe('every front-end', () => {
  it.each(ALL)('gives as many features as the study parser counts, of one record alone, whatever came before: %s', (_, spec, shape) => {
    const { size, apply } = createFrontEnd(spec, shape);
    const length = shape.reduce((a, b) => a * b, 1);
    expect(size).toBe(encoderShape({ shape, records: { frontEnd: spec } } as never).reduce((a, b) => a * b, 1));
    fc.assert(
      fc.property(recordOf(length), recordOf(length), (one, other) => {
        const rows = new Float32Array(3 * size);
        [one, other, one].forEach((record, i) => {
          apply(Float32Array.from(record), rows, i * size);
        });
        expect(rows.slice(0, size)).toEqual(rows.slice(2 * size));
        expect([...rows.slice(size, 2 * size)]).toEqual(features(spec, shape, other));
      }),
      { numRuns: 25 },
    );
  });

  it.each(ALL)('multiplies by the public constant, after bringing the record to unit length where asked; zeros stay zeros: %s', (_, spec, shape) => {
    const length = shape.reduce((a, b) => a * b, 1);
    const record = Array.from({ length }, (_, i) => Math.sin(1.7 * i * i));
    const plain = features(spec, shape, record);
    expectClose(features({ ...spec, multiply: 2.5 }, shape, record), plain.map((x) => 2.5 * x));
    expectClose(features({ ...spec, unitLength: true, multiply: 2.5 }, shape, record), plain.map((x) => (2.5 * x) / norm(plain)));
    expect(new Set(features({ ...spec, unitLength: true }, shape, new Float32Array(length)))).toEqual(new Set([0]));
  });
});

describe('dct', () => {
  it('is the definition, channel by channel', () => {
    const [height, width, channels] = [5, 6, 2];
    const record = Array.from({ length: height * width * channels }, (_, i) => Math.sin(i * 1.3) + 0.2);
    const expected = Array.from({ length: 3 * 4 * channels }, (_, at) => {
      const [k, l, c] = [Math.floor(at / (4 * channels)), Math.floor(at / channels) % 4, at % channels];
      let sum = 0;
      for (let i = 0; i < height; i += 1) {
        for (let j = 0; j < width; j += 1) {
          sum += record[(i * width + j) * channels + c]! * Math.cos((Math.PI * (2 * i + 1) * k) / (2 * height)) * Math.cos((Math.PI * (2 * j + 1) * l) / (2 * width));
        }
      }
      return sum * Math.sqrt((k === 0 ? 1 : 2) / height) * Math.sqrt((l === 0 ? 1 : 2) / width);
    });
    expectClose(features(dct, [height, width, channels], record), expected);
  });

  it('keeps the length of a record when all frequencies are kept, and never adds to it', () => {
    fc.assert(
      fc.property(recordOf(20), (record) => {
        const length = norm(record);
        expect(norm(features({ ...dct, rows: 4, columns: 5 }, [4, 5], record))).toBeCloseTo(length, 4);
        expect(norm(features({ ...dct, rows: 3, columns: 2 }, [4, 5], record))).toBeLessThanOrEqual(length + 1e-4);
      }),
    );
  });

  it('centred on the mean does not see how bright a record is', () => {
    fc.assert(
      fc.property(recordOf(12), fc.double({ min: -9, max: 9, noNaN: true }), (record, light) => {
        const centred = { ...dct, columns: 3, centre: 'mean' } as const;
        const brighter = features(centred, [4, 3], record.map((x) => x + light));
        expectClose(brighter, features(centred, [4, 3], record), 3);
        expect(brighter[0]).toBeCloseTo(0, 3);
      }),
    );
  });

  it('lifts the higher frequencies by their distance from the lowest', () => {
    const record = Array.from({ length: 30 }, (_, i) => Math.cos(i * i));
    const plain = features(dct, [5, 6], record);
    const lifted = features({ ...dct, lift: 0.5 }, [5, 6], record);
    expect(lifted[0]).toBeCloseTo(plain[0]!, 5);
    expect(lifted[2 * 4 + 3]).toBeCloseTo(plain[2 * 4 + 3]! * Math.sqrt(1 + Math.sqrt(13)), 4);
  });
});

describe('hog', () => {
  const height = 8;
  const width = 9;
  const picture = (of: (i: number, j: number) => number): number[] => Array.from({ length: height * width }, (_, at) => of(Math.floor(at / width), at % width));

  it('shares out every gradient whole', () => {
    fc.assert(
      fc.property(recordOf(height * width), (record) => {
        const at = (i: number, j: number): number => record[Math.min(height - 1, Math.max(0, i)) * width + Math.min(width - 1, Math.max(0, j))]!;
        let total = 0;
        for (let i = 0; i < height; i += 1) for (let j = 0; j < width; j += 1) total += Math.hypot(at(i + 1, j) - at(i - 1, j), at(i, j + 1) - at(i, j - 1));
        const found = features(hog, [height, width], record);
        expect(found.reduce((a, b) => a + b, 0)).toBeCloseTo(total, 2);
        expect(Math.min(...found)).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  it('puts an edge into the bin of its direction and the cells that it runs through', () => {
    // Bright to the right of column 7: the gradient points right, angle 0, bin 0.
    const found = features(hog, [height, width], picture((_, j) => (j >= 7 ? 2 : 0)));
    const bins = Array.from({ length: 6 }, (_, b) => found.filter((_value, i) => i % 6 === b).reduce((x, y) => x + y, 0));
    expect(bins[0]).toBeCloseTo(2 * 2 * height, 4);
    expect(Math.max(...bins.slice(1))).toBeCloseTo(0, 6);
    const ofColumn = (c: number): number => found[c * 6]! + found[(3 + c) * 6]!;
    expect(ofColumn(0)).toBe(0);
    expect(ofColumn(2)).toBeGreaterThan(ofColumn(1));
  });

  it('sees in a negative the same edges by half a turn, and opposite ones by a full turn', () => {
    fc.assert(
      fc.property(recordOf(height * width), (record) => {
        const negative = record.map((x) => -x);
        expectClose(features(hog, [height, width], negative), features(hog, [height, width], record), 3);
        const full = { ...hog, turn: 'full' } as const;
        const turned = features(full, [height, width], record).map((_, i, all) => all[i - (i % 6) + ((i + 3) % 6)]!);
        expectClose(features(full, [height, width], negative), turned, 3);
      }),
      { numRuns: 30 },
    );
  });
});

describe('spectrogram', () => {
  const bands = 6;
  const frames = 24;
  /** A sound of 6 frames, from a frame on, above whatever stands in each band. */
  const shout = (from: number, floor: (b: number) => number): number[] =>
    Array.from({ length: bands * frames }, (_, at) => {
      const [b, t] = [Math.floor(at / frames), at % frames];
      return floor(b) + (t >= from && t < from + 6 ? 1 + Math.sin(b + 2 * (t - from)) : 0);
    });
  const start = fc.integer({ min: 0, max: frames - 6 });

  it('does not see the level of a band', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: bands, maxLength: bands }), recordOf(bands * frames), (levels, record) => {
        const louder = record.map((x, at) => x + levels[Math.floor(at / frames)]!);
        expectClose(features(sound, [bands, frames], louder), features(sound, [bands, frames], record), 3);
      }),
    );
  });

  it('does not see where a sound stands in its window', () => {
    fc.assert(
      fc.property(start, start, (one, other) => {
        expectClose(features(sound, [bands, frames], shout(one, () => 0.7)), features(sound, [bands, frames], shout(other, () => 0.7)), 4);
      }),
    );
  });

  it('tells one sound from another, and gives zeros for a record without any', () => {
    const one = features(sound, [bands, frames], shout(3, () => 0));
    const other = features(sound, [bands, frames], shout(3, () => 0).map((x, at) => x * (1 + Math.floor(at / frames))));
    expect(norm(one.map((x, i) => x - other[i]!))).toBeGreaterThan(0.5);
    expect(new Set(features(sound, [bands, frames], new Float32Array(bands * frames).fill(1.3)))).toEqual(new Set([0]));
  });

  it('has the energy of a band course in its modulation spectrum, by Parseval', () => {
    const whole = { ...sound, floorQuantile: 0, rows: 1, columns: 1, modulation: { rows: bands, columns: frames / 2 + 1 } } as const;
    const record = shout(5, (b) => b);
    const [, ...spectrum] = features(whole, [bands, frames], record);
    let energy = 0;
    // Frequencies 0 and frames / 2 stand once in the full spectrum, the others twice.
    spectrum.forEach((x, i) => (energy += (i % 13 === 0 || i % 13 === 12 ? 1 : 2) * x * x));
    const excess = record.map((x, at) => x - Math.min(...record.slice(Math.floor(at / frames) * frames, (Math.floor(at / frames) + 1) * frames)));
    expect(energy).toBeCloseTo(excess.reduce((sum, x) => sum + x * x, 0), 2);
  });
});
