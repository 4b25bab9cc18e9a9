/**
 * Head protection `released` (design: method.md section 2, "Head protection without leaking" (a)): before the shared head takes a step
 * of modality m, the step is projected away from the feature directions the OTHER modalities have used, as MLA and OWM
 * do with raw features (Zhang et al. 2024; Zeng et al. 2019). Here those directions come only from head updates already
 * released, noised and charged: rows of the gradient of W are sums of h', so their span is the features' span. It is
 * post-processing and costs no privacy.
 *
 * Per modality m a second moment A_m [features, features] is kept: A_m <- forget A_m + D'D / ||D||^2, D [classes, features]
 * the combined kernel update. The projector is the closed form of OWM's recursive least squares,
 * P = a (a I + sum over m' != m of A_m')^-1: identity where the others were silent, near zero where they were loud.
 */
const REGULARISER = 0.1;
const FORGET = 0.9;

export type HeadMoments = ReadonlyMap<string, Float64Array>;

export interface HeadShape {
  readonly features: number;
  readonly classes: number;
}

/** `kernel`: [features, classes] row-major, as in the flat vector. */
export function rememberHeadUpdate(moments: HeadMoments, input: { readonly modality: string; readonly kernel: Float64Array; readonly shape: HeadShape }): HeadMoments {
  const { modality, kernel, shape } = input;
  const { features, classes } = shape;
  const norm = kernel.reduce((sum, x) => sum + x * x, 0);
  const before = moments.get(modality) ?? new Float64Array(features * features);
  const after = before.map((x) => FORGET * x);
  if (norm > 0) {
    for (let i = 0; i < features; i += 1) {
      for (let j = 0; j < features; j += 1) {
        let dot = 0;
        for (let c = 0; c < classes; c += 1) dot += kernel[i * classes + c]! * kernel[j * classes + c]!;
        after[i * features + j]! += dot / norm;
      }
    }
  }
  return new Map([...moments, [modality, after]]);
}

/** P times the kernel update [features, classes]; the identity when no other modality has been released yet. */
export function projectHeadUpdate(moments: HeadMoments, input: { readonly modality: string; readonly kernel: Float64Array; readonly shape: HeadShape }): Float64Array {
  const { modality, kernel, shape } = input;
  const { features, classes } = shape;
  const matrix = new Float64Array(features * features);
  for (const [other, moment] of moments) {
    if (other !== modality) for (let i = 0; i < matrix.length; i += 1) matrix[i]! += moment[i]!;
  }
  for (let i = 0; i < features; i += 1) matrix[i * features + i]! += REGULARISER;
  return solvePositive(matrix, kernel.map((x) => REGULARISER * x), { features, classes });
}

/** X with A X = B for symmetric positive definite A [n, n], B [n, columns], by Cholesky. */
function solvePositive(a: Float64Array, b: Float64Array, shape: HeadShape): Float64Array {
  const { features: n, classes: columns } = shape;
  const factor = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < j; k += 1) sum -= factor[i * n + k]! * factor[j * n + k]!;
      factor[i * n + j] = i === j ? Math.sqrt(sum) : sum / factor[j * n + j]!;
    }
  }
  const x = Float64Array.from(b);
  for (let c = 0; c < columns; c += 1) {
    for (let i = 0; i < n; i += 1) {
      let sum = x[i * columns + c]!;
      for (let k = 0; k < i; k += 1) sum -= factor[i * n + k]! * x[k * columns + c]!;
      x[i * columns + c] = sum / factor[i * n + i]!;
    }
    for (let i = n - 1; i >= 0; i -= 1) {
      let sum = x[i * columns + c]!;
      for (let k = i + 1; k < n; k += 1) sum -= factor[k * n + i]! * x[k * columns + c]!;
      x[i * columns + c] = sum / factor[i * n + i]!;
    }
  }
  return x;
}
