/** Orthonormal DCT-II basis, the `kept` lowest of `length` frequencies: [kept, length] row-major (Ahmed, Natarajan, Rao 1974). */
export function dctBasis(length: number, kept: number): Float64Array {
  const basis = new Float64Array(kept * length);
  for (let k = 0; k < kept; k += 1) {
    const norm = Math.sqrt((k === 0 ? 1 : 2) / length);
    for (let i = 0; i < length; i += 1) basis[k * length + i] = norm * Math.cos((Math.PI * (2 * i + 1) * k) / (2 * length));
  }
  return basis;
}

/** (1 + sqrt(k^2 + l^2))^lift, [rows, columns]. */
export function liftWeights(rows: number, columns: number, lift: number): Float64Array {
  return Float64Array.from({ length: rows * columns }, (_, i) => (1 + Math.hypot(Math.floor(i / columns), i % columns)) ** lift);
}

export interface DctSize {
  readonly height: number;
  readonly width: number;
  readonly rows: number;
  readonly columns: number;
}

/** The lowest [rows, columns] coefficients of the orthonormal 2-D DCT-II of [height, width] planes; keeps nothing between calls but scratch. */
export function planeDct({ height, width, rows, columns }: DctSize): (plane: Float64Array, coefficients: Float64Array) => void {
  const down = dctBasis(height, rows);
  const across = dctBasis(width, columns);
  const half = new Float64Array(rows * width);
  return (plane, coefficients) => {
    half.fill(0);
    for (let k = 0; k < rows; k += 1) {
      for (let i = 0; i < height; i += 1) {
        const factor = down[k * height + i]!;
        for (let j = 0; j < width; j += 1) half[k * width + j]! += factor * plane[i * width + j]!;
      }
    }
    for (let k = 0; k < rows; k += 1) {
      for (let l = 0; l < columns; l += 1) {
        let sum = 0;
        for (let j = 0; j < width; j += 1) sum += across[l * width + j]! * half[k * width + j]!;
        coefficients[k * columns + l] = sum;
      }
    }
  };
}
