import { realFft } from '../privacy/fft.ts';

export interface MelSize {
  /** Samples per second. */
  readonly rate: number;
  /** Samples of a window, and from one to the next. */
  readonly window: number;
  readonly hop: number;
  readonly bands: number;
  readonly frames: number;
  /** Hz. */
  readonly lowest: number;
  readonly highest: number;
  readonly floor: number;
}

/** Samples that `frames` windows cover. */
export function samplesOf({ window, hop, frames }: Pick<MelSize, 'window' | 'hop' | 'frames'>): number {
  return window + (frames - 1) * hop;
}

/**
 * The log-mel spectrogram [bands, frames] of a sound in -1..1, whose samples beyond the last window are left out and beyond its own end are 0:
 *   P[t, k] = |sum_n w[n] x[t hop + n] exp(-2 pi i k n / N)|^2 / (sum_n w[n])^2,   w[n] = 1/2 - 1/2 cos(2 pi n / window),   N: `fftLength`,
 *   out[b, t] = ln max(floor, sum_k F[b, k] P[t, k]),   F: `melFilters`.
 * The mel scale is HTK's, m = 2595 log10(1 + f / 700 Hz) (Young et al., The HTK Book), with triangles of height 1. All constants are public.
 */
export function createLogMel(size: MelSize): (sound: Float64Array) => Float32Array {
  const { window, hop, bands, frames, floor } = size;
  const weights = Float64Array.from({ length: window }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / window));
  const gain = weights.reduce((sum, weight) => sum + weight, 0) ** -2;
  const filters = melFilters(size);
  const framed = new Float64Array(fftLength(window));
  return (sound) => {
    const out = new Float32Array(bands * frames);
    for (let t = 0; t < frames; t += 1) {
      for (let n = 0; n < window; n += 1) framed[n] = weights[n]! * (sound[t * hop + n] ?? 0);
      const { re, im } = realFft(framed);
      filters.forEach(({ first, heights }, b) => {
        let power = 0;
        for (let i = 0; i < heights.length; i += 1) power += heights[i]! * (re[first + i]! ** 2 + im[first + i]! ** 2);
        out[b * frames + t] = Math.log(Math.max(floor, gain * power));
      });
    }
    return out;
  };
}

/** The power of two that holds a window; the rest is zeros. */
export function fftLength(window: number): number {
  return 2 ** Math.ceil(Math.log2(window));
}

/** Band b rises from the edge b to 1 at the edge b + 1 and falls to 0 at the edge b + 2; the edges are equally far apart in mel. Heights at the frequencies k rate / N from k = `first` on. */
export function melFilters({ rate, window, bands, lowest, highest }: Omit<MelSize, 'hop' | 'frames' | 'floor'>): readonly { readonly first: number; readonly heights: Float64Array }[] {
  const step = rate / fftLength(window);
  const [from, to] = [mel(lowest), mel(highest)];
  const edge = (i: number): number => hertz(from + ((to - from) * i) / (bands + 1));
  return Array.from({ length: bands }, (_, b) => {
    const [low, peak, high] = [edge(b), edge(b + 1), edge(b + 2)];
    const first = Math.floor(low / step) + 1;
    const last = Math.ceil(high / step) - 1;
    return { first, heights: Float64Array.from({ length: Math.max(0, last - first + 1) }, (_height, i) => Math.min(((first + i) * step - low) / (peak - low), (high - (first + i) * step) / (high - peak))) };
  });
}

function mel(hz: number): number {
  return 2595 * Math.log10(1 + hz / 700);
}

function hertz(m: number): number {
  return 700 * (10 ** (m / 2595) - 1);
}
