import { invariant } from '../errors.ts';

/**
 * Bound on the error of every X_k, relative to sum |x_j|: an input reaches an output through log2(N) additions (u each), half as many products with
 * roots (sqrt 5 u, Brent, Percival, Zimmermann 2007, and 1.3 u for the root), and the last pass; u = 2^-53.
 */
export function fftError(length: number): number {
  return 2 ** -53 * (2.8 * Math.log2(length) + 8);
}

/** The spectrum of a real sequence: the first half, the rest being its mirror image. */
export interface RealSpectrum {
  /** Real parts at frequencies 0 .. length/2. */
  readonly re: Float64Array;
  readonly im: Float64Array;
}

interface ComplexArray {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

/** cos and sin of 2 pi i / size, i < size. */
export interface Roots {
  readonly cos: Float64Array;
  readonly sin: Float64Array;
}

const SMALLEST = 8;
let tables = new Map<number, Roots>();

export function rootsOfUnity(size: number): Roots {
  const known = tables.get(size);
  if (known !== undefined) return known;
  const cos = new Float64Array(size);
  const sin = new Float64Array(size);
  // Angles up to pi / 4 only, the rest by symmetry: every root is within one unit roundoff or so, and opposite roots are exactly opposite.
  for (let i = 0; 8 * i <= size; i += 1) {
    const c = Math.cos((2 * Math.PI * i) / size);
    const s = Math.sin((2 * Math.PI * i) / size);
    const quarter = size / 4;
    for (let turn = 0; turn < 4; turn += 1) {
      const at = turn * quarter;
      const [a, b] = [at + i, (at + quarter - i) % size];
      cos[a] = [c, -s, -c, s][turn]!;
      sin[a] = [s, c, -s, -c][turn]!;
      cos[b] = [s, -c, -s, c][turn]!;
      sin[b] = [c, s, -c, -s][turn]!;
    }
  }
  // A study keeps to few sizes; large tables are not hoarded.
  if (tables.size >= 8) tables = new Map();
  const roots = { cos, sin };
  tables.set(size, roots);
  return roots;
}

/**
 * X_k = sum_j x_j e^{-2 pi i j k / N}, k = 0 .. N/2, of N real numbers; N a power of two from 8 on. One complex transform of half the length
 * (Stockham's self-sorting form, radix 4) and a pass that separates even from odd. `x` is left as it is.
 */
export function realFft(x: Float64Array): RealSpectrum {
  const { length } = x;
  invariant(length >= SMALLEST && Number.isInteger(Math.log2(length)), `a power of two from ${SMALLEST} on, found ${length}`);
  const half = length / 2;
  const re = new Float64Array(half);
  const im = new Float64Array(half);
  for (let j = 0; j < half; j += 1) {
    re[j] = x[2 * j]!;
    im[j] = x[2 * j + 1]!;
  }
  const roots = rootsOfUnity(length);
  return separate(complexFft({ re, im }, roots), roots);
}

/** From the transform of even + i odd to that of the sequence itself; frequencies k and half - k share their terms. */
function separate(z: ComplexArray, { cos, sin }: Roots): RealSpectrum {
  const half = z.re.length;
  const re = new Float64Array(half + 1);
  const im = new Float64Array(half + 1);
  re[0] = z.re[0]! + z.im[0]!;
  re[half] = z.re[0]! - z.im[0]!;
  for (let k = 1; 2 * k <= half; k += 1) {
    const m = half - k;
    const evenRe = 0.5 * (z.re[k]! + z.re[m]!);
    const evenIm = 0.5 * (z.im[k]! - z.im[m]!);
    const oddRe = 0.5 * (z.im[k]! + z.im[m]!);
    const oddIm = 0.5 * (z.re[m]! - z.re[k]!);
    const turnedRe = cos[k]! * oddRe + sin[k]! * oddIm;
    const turnedIm = cos[k]! * oddIm - sin[k]! * oddRe;
    re[k] = evenRe + turnedRe;
    im[k] = evenIm + turnedIm;
    re[m] = evenRe - turnedRe;
    im[m] = turnedIm - evenIm;
  }
  return { re, im };
}

/** `roots` are those of twice the size. */
function complexFft(input: ComplexArray, roots: Roots): ComplexArray {
  const size = input.re.length;
  let from = input;
  let to: ComplexArray = { re: new Float64Array(size), im: new Float64Array(size) };
  let stride = 1;
  while (stride * 4 <= size) {
    pass4(from, to, stride, roots);
    [from, to] = [to, from];
    stride *= 4;
  }
  if (stride < size) {
    pass2(from, to, stride);
    [from, to] = [to, from];
  }
  return from;
}

/** One radix-4 pass: blocks of size / stride points are split into four. */
function pass4(from: ComplexArray, to: ComplexArray, stride: number, { cos, sin }: Roots): void {
  const { re: xr, im: xi } = from;
  const { re: yr, im: yi } = to;
  const quarter = xr.length / 4;
  const blocks = quarter / stride;
  for (let p = 0; p < blocks; p += 1) {
    const at = p * stride;
    const c1 = cos[2 * at]!;
    const s1 = sin[2 * at]!;
    const c2 = cos[4 * at]!;
    const s2 = sin[4 * at]!;
    const c3 = cos[6 * at]!;
    const s3 = sin[6 * at]!;
    for (let q = 0; q < stride; q += 1) {
      const i = at + q;
      const ar = xr[i]!;
      const ai = xi[i]!;
      const br = xr[i + quarter]!;
      const bi = xi[i + quarter]!;
      const cr = xr[i + 2 * quarter]!;
      const ci = xi[i + 2 * quarter]!;
      const dr = xr[i + 3 * quarter]!;
      const di = xi[i + 3 * quarter]!;
      const sumAcRe = ar + cr;
      const sumAcIm = ai + ci;
      const differenceAcRe = ar - cr;
      const differenceAcIm = ai - ci;
      const sumBdRe = br + dr;
      const sumBdIm = bi + di;
      const differenceBdRe = br - dr;
      const differenceBdIm = bi - di;
      const o = 4 * at + q;
      yr[o] = sumAcRe + sumBdRe;
      yi[o] = sumAcIm + sumBdIm;
      const t1r = differenceAcRe + differenceBdIm;
      const t1i = differenceAcIm - differenceBdRe;
      yr[o + stride] = c1 * t1r + s1 * t1i;
      yi[o + stride] = c1 * t1i - s1 * t1r;
      const t2r = sumAcRe - sumBdRe;
      const t2i = sumAcIm - sumBdIm;
      yr[o + 2 * stride] = c2 * t2r + s2 * t2i;
      yi[o + 2 * stride] = c2 * t2i - s2 * t2r;
      const t3r = differenceAcRe - differenceBdIm;
      const t3i = differenceAcIm + differenceBdRe;
      yr[o + 3 * stride] = c3 * t3r + s3 * t3i;
      yi[o + 3 * stride] = c3 * t3i - s3 * t3r;
    }
  }
}

/** The last pass of an odd power of two: no roots are left to multiply by. */
function pass2(from: ComplexArray, to: ComplexArray, stride: number): void {
  for (let q = 0; q < stride; q += 1) {
    const ar = from.re[q]!;
    const ai = from.im[q]!;
    const br = from.re[q + stride]!;
    const bi = from.im[q + stride]!;
    to.re[q] = ar + br;
    to.im[q] = ai + bi;
    to.re[q + stride] = ar - br;
    to.im[q + stride] = ai - bi;
  }
}
