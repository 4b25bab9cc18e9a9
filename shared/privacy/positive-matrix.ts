/** Symmetric positive definite matrices [n, n], row-major, by their lower triangles (the upper ones are never read). */

/** target += R R', R [count, size] row-major; four rows at a time, because this is where an audit's time goes. */
export function addGram(target: Float64Array, { rows, count, size }: { readonly rows: Float32Array; readonly count: number; readonly size: number }): void {
  for (let i = 0; i < count; i += 1) {
    const own = i * size;
    let j = 0;
    for (; j + 3 <= i; j += 4) {
      const first = j * size;
      let s0 = 0;
      let s1 = 0;
      let s2 = 0;
      let s3 = 0;
      for (let k = 0; k < size; k += 1) {
        const x = rows[own + k]!;
        s0 += x * rows[first + k]!;
        s1 += x * rows[first + size + k]!;
        s2 += x * rows[first + 2 * size + k]!;
        s3 += x * rows[first + 3 * size + k]!;
      }
      target[i * count + j]! += s0;
      target[i * count + j + 1]! += s1;
      target[i * count + j + 2]! += s2;
      target[i * count + j + 3]! += s3;
    }
    for (; j <= i; j += 1) {
      let dot = 0;
      for (let k = 0; k < size; k += 1) dot += rows[own + k]! * rows[j * size + k]!;
      target[i * count + j]! += dot;
    }
  }
}

/** A x. */
export function symmetricProduct(a: Float64Array, x: Float64Array): Float64Array {
  const n = x.length;
  const result = new Float64Array(n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j < i; j += 1) {
      const value = a[i * n + j]!;
      result[i]! += value * x[j]!;
      result[j]! += value * x[i]!;
    }
    result[i]! += a[i * n + i]! * x[i]!;
  }
  return result;
}

/** L with A = L L'. NaN where A is not positive definite. */
export function cholesky(a: Float64Array, n: number): Float64Array {
  const factor = Float64Array.from(a);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = factor[i * n + j]!;
      for (let k = 0; k < j; k += 1) sum -= factor[i * n + k]! * factor[j * n + k]!;
      factor[i * n + j] = i === j ? Math.sqrt(sum) : sum / factor[j * n + j]!;
    }
  }
  return factor;
}

/** x with L L' x = b. */
export function solveCholesky(factor: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i += 1) {
    for (let k = 0; k < i; k += 1) x[i]! -= factor[i * n + k]! * x[k]!;
    x[i]! /= factor[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i -= 1) {
    x[i]! /= factor[i * n + i]!;
    for (let k = 0; k < i; k += 1) x[k]! -= factor[i * n + k]! * x[i]!;
  }
  return x;
}

/** (L L')^-1, lower triangle. */
export function inversePositive(factor: Float64Array, n: number): Float64Array {
  /** L^-1, row by row from the rows above it, so that every inner loop runs along a row. */
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    const diagonal = 1 / factor[i * n + i]!;
    for (let k = 0; k < i; k += 1) {
      const f = factor[i * n + k]! * diagonal;
      for (let j = 0; j <= k; j += 1) inverse[i * n + j]! -= f * inverse[k * n + j]!;
    }
    inverse[i * n + i] = diagonal;
  }
  /** L^-T L^-1 as a sum over rows of L^-1. */
  const result = new Float64Array(n * n);
  for (let k = 0; k < n; k += 1) {
    for (let i = 0; i <= k; i += 1) {
      const f = inverse[k * n + i]!;
      for (let j = 0; j <= i; j += 1) result[i * n + j]! += f * inverse[k * n + j]!;
    }
  }
  return result;
}
