import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLogMel, samplesOf, type MelSize } from '../../shared/data/mel.ts';
import { resample } from '../../shared/data/resample.ts';

const SIZE: MelSize = { rate: 8000, window: 200, hop: 80, bands: 12, frames: 7, lowest: 60, highest: 3800, floor: 1e-9 };
const tone = (hertz: number, { rate, length, amplitude = 1 }: { rate: number; length: number; amplitude?: number }): Float64Array => Float64Array.from({ length }, (_, n) => amplitude * Math.sin((2 * Math.PI * hertz * n) / rate + 0.3));

/** The definition, term by term: a discrete Fourier transform of every frame, and for every band the height of its triangle at every frequency. */
function slowLogMel(sound: Float64Array, { rate, window, hop, bands, frames, lowest, highest, floor }: MelSize): number[] {
  const mel = (f: number): number => 2595 * Math.log10(1 + f / 700);
  const N = 256;
  const edges = Array.from({ length: bands + 2 }, (_, i) => 700 * (10 ** ((mel(lowest) + (i * (mel(highest) - mel(lowest))) / (bands + 1)) / 2595) - 1));
  const hann = Array.from({ length: window }, (_, n) => Math.sin((Math.PI * n) / window) ** 2);
  const total = hann.reduce((sum, weight) => sum + weight, 0);
  return Array.from({ length: bands * frames }, (_, i) => {
    const [b, t] = [Math.floor(i / frames), i % frames];
    let energy = 0;
    for (let k = 0; k <= N / 2; k += 1) {
      const f = (k * rate) / N;
      const height = Math.max(0, Math.min((f - edges[b]!) / (edges[b + 1]! - edges[b]!), (edges[b + 2]! - f) / (edges[b + 2]! - edges[b + 1]!)));
      if (height === 0) continue;
      let [re, im] = [0, 0];
      hann.forEach((weight, n) => {
        const x = (weight / total) * (sound[t * hop + n] ?? 0);
        re += x * Math.cos((2 * Math.PI * k * n) / N);
        im -= x * Math.sin((2 * Math.PI * k * n) / N);
      });
      energy += height * (re * re + im * im);
    }
    return Math.log(Math.max(floor, energy));
  });
}

describe('the log-mel spectrogram', () => {
  it('is its definition, computed slowly, for tones, noise and a sound that ends early', () => {
    const length = samplesOf(SIZE);
    const noise = Float64Array.from({ length }, (_, n) => Math.sin(12.9898 * n * n) * 0.3);
    const early = tone(500, { rate: 8000, length: length - 250 });
    const mixed = noise.map((x, n) => x + 0.5 * Math.sin((2 * Math.PI * 1234 * n) / 8000));
    for (const sound of [noise, early, mixed]) {
      const found = createLogMel(SIZE)(sound);
      slowLogMel(sound, SIZE).forEach((expected, i) => {
        expect(found[i]).toBeCloseTo(expected, 4);
      });
    }
  });

  it('puts a tone into the bands around it, a full-scale one at a power of a quarter', () => {
    const found = createLogMel({ ...SIZE, bands: 1, lowest: 0, highest: 4000 })(tone(937.5, { rate: 8000, length: 900 }));
    // One triangle with its peak at mel(4000) / 2; the window spreads the tone over three frequencies, whose powers add up to 3/2 of the middle one.
    const peak = 700 * (10 ** ((2595 * Math.log10(1 + 4000 / 700)) / 2 / 2595) - 1);
    expect(found[3]).toBeCloseTo(Math.log((937.5 / peak) * 0.25 * 1.5 * (256 / 200)), 1);
  });

  it('of silence is the floor everywhere, and of any sound finite and not below it', () => {
    expect(new Set(createLogMel(SIZE)(new Float64Array(samplesOf(SIZE))))).toEqual(new Set([Math.fround(Math.log(1e-9))]));
    expect(new Set(createLogMel(SIZE)(new Float64Array(0)))).toEqual(new Set([Math.fround(Math.log(1e-9))]));
    fc.assert(
      fc.property(fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { maxLength: 800 }), (samples) => {
        const found = createLogMel(SIZE)(Float64Array.from(samples));
        return found.every((value) => Number.isFinite(value) && value >= Math.fround(Math.log(1e-9)));
      }),
      { numRuns: 40 },
    );
  });
});

describe('a sound at another rate', () => {
  it.each([[44_100, 16_000], [48_000, 8000], [8000, 22_050], [11_025, 16_000]])('from %d to %d is the tone it was', (from, to) => {
    const hertz = 0.11 * Math.min(from, to);
    const found = resample(tone(hertz, { rate: from, length: Math.ceil(0.2 * from) }), { from, to, length: Math.ceil(0.2 * to) });
    const expected = tone(hertz, { rate: to, length: found.length });
    const edge = Math.ceil((17 * to) / Math.min(from, to));
    const error = found.slice(edge, -edge).reduce((most, x, n) => Math.max(most, Math.abs(x - expected[n + edge]!)), 0);
    expect(error).toBeLessThan(2e-3);
  });

  it.each([[12_000, 8000], [8000, 12_000]])('from %d to %d is its definition, term by term, up to both ends', (from, to) => {
    const sound = tone(700, { rate: from, length: 101 });
    const c = Math.min(1, to / from);
    // Sixteen zero crossings of the sinc on each side, under a squared cosine that ends with the last of them.
    const h = (t: number): number => (Math.abs(c * t) >= 16 ? 0 : (t === 0 ? 1 : Math.sin(Math.PI * c * t) / (Math.PI * c * t)) * Math.cos((Math.PI * c * t) / 32) ** 2);
    const found = resample(sound, { from, to, length: 200 });
    for (let n = 0; n < 200; n += 1) {
      const at = (n * from) / to;
      const taps = Array.from({ length: 80 }, (_, i) => Math.floor(at) - 40 + i);
      const total = taps.reduce((sum, k) => sum + h(at - k), 0);
      const expected = at < 101 ? taps.reduce((sum, k) => sum + (h(at - k) / total) * (sound[k] ?? 0), 0) : 0;
      expect(found[n], `output ${n}`).toBeCloseTo(expected, 12);
    }
  });

  it('has nothing of what the new rate cannot hold', () => {
    const found = resample(tone(11_000, { rate: 48_000, length: 9600 }), { from: 48_000, to: 16_000, length: 3200 });
    expect(Math.max(...found.slice(60, -60).map(Math.abs))).toBeLessThan(2e-3);
  });

  it('keeps a constant, and is as long as asked, in zeros beyond its end', () => {
    const found = resample(new Float64Array(300).fill(0.7), { from: 12_000, to: 8000, length: 250 });
    expect(found).toHaveLength(250);
    expect(found.slice(40, 150).every((x) => Math.abs(x - 0.7) < 1e-9)).toBe(true);
    expect(found.slice(200).every((x) => x === 0)).toBe(true);
  });
});
