import { dctBasis, liftWeights, planeDct } from './front-end-dct.ts';

export interface SpectrogramSize {
  /** Bands. */
  readonly height: number;
  /** Frames. */
  readonly width: number;
  readonly floorQuantile: number;
  readonly rows: number;
  readonly columns: number;
  readonly modulation: { readonly rows: number; readonly columns: number } | undefined;
  readonly lift: number;
}

/**
 * For a short sound somewhere in a noisy log-spectrogram [bands, frames]:
 *  1. noise floor: E[b, t] = max(0, x[b, t] - quantile of band b over the record's own frames);
 *  2. centring: the frames are shifted (linearly interpolated, zeros beyond) so that the centroid of (sum_b E[b, t]^2)^2 stands in the middle; the
 *     square makes the loud frames count;
 *  3. the low-frequency 2-D DCT of that;
 *  4. modulation spectrum: the DCT over bands of E, its Fourier transform over frames; the real value at frequency 0, magnitudes above. Magnitudes do not
 *     change when a sound inside the window is moved, so step 2's errors do not reach them.
 * Output: rows x columns of 3, then rows x columns of 4, each lifted. Nothing is learnt, nothing is remembered between records.
 */
export function spectrogramOf(size: SpectrogramSize): (plane: Float64Array, features: Float64Array) => void {
  const { height, width, floorQuantile, rows, columns, modulation, lift } = size;
  const excess = new Float64Array(height * width);
  const centred = new Float64Array(height * width);
  const sorted = new Float64Array(width);
  const dct = planeDct(size);
  const weights = liftWeights(rows, columns, lift);
  const spectrum = modulation === undefined ? undefined : modulationSpectrum({ height, width, lift, ...modulation });
  return (plane, features) => {
    for (let b = 0; b < height; b += 1) {
      const band = plane.subarray(b * width, (b + 1) * width);
      sorted.set(band);
      sorted.sort();
      const floor = sorted[Math.floor(floorQuantile * (width - 1))]!;
      for (let t = 0; t < width; t += 1) excess[b * width + t] = Math.max(0, band[t]! - floor);
    }
    shiftFrames({ from: excess, to: centred, height, width, by: centroid(excess, height, width) - (width - 1) / 2 });
    dct(centred, features);
    weights.forEach((weight, i) => (features[i]! *= weight));
    spectrum?.(excess, features.subarray(rows * columns));
  };
}

/** In frames; the middle for a record without any excess. */
function centroid(excess: Float64Array, height: number, width: number): number {
  let total = 0;
  let moment = 0;
  for (let t = 0; t < width; t += 1) {
    let energy = 0;
    for (let b = 0; b < height; b += 1) energy += excess[b * width + t]! ** 2;
    total += energy ** 2;
    moment += t * energy ** 2;
  }
  return total > 0 ? moment / total : (width - 1) / 2;
}

/** to[b, t] = from[b, t + by], between frames linearly. */
function shiftFrames({ from, to, height, width, by }: { readonly from: Float64Array; readonly to: Float64Array; readonly height: number; readonly width: number; readonly by: number }): void {
  const whole = Math.floor(by);
  const part = by - whole;
  const at = (b: number, t: number): number => (t >= 0 && t < width ? from[b * width + t]! : 0);
  for (let b = 0; b < height; b += 1) {
    for (let t = 0; t < width; t += 1) to[b * width + t] = (1 - part) * at(b, t + whole) + part * at(b, t + whole + 1);
  }
}

function modulationSpectrum(size: { readonly height: number; readonly width: number; readonly rows: number; readonly columns: number; readonly lift: number }): (excess: Float64Array, features: Float64Array) => void {
  const { height, width, rows, columns, lift } = size;
  const bands = dctBasis(height, rows);
  const weights = liftWeights(rows, columns, lift);
  const turn = Float64Array.from({ length: width }, (_, i) => (2 * Math.PI * i) / width);
  const [cosine, sine] = [turn.map(Math.cos), turn.map(Math.sin)];
  const course = new Float64Array(width);
  return (excess, features) => {
    for (let k = 0; k < rows; k += 1) {
      course.fill(0);
      for (let b = 0; b < height; b += 1) {
        const factor = bands[k * height + b]! / Math.sqrt(width);
        for (let t = 0; t < width; t += 1) course[t]! += factor * excess[b * width + t]!;
      }
      for (let f = 0; f < columns; f += 1) {
        let [real, imaginary] = [0, 0];
        for (let t = 0; t < width; t += 1) {
          real += course[t]! * cosine[(f * t) % width]!;
          imaginary -= course[t]! * sine[(f * t) % width]!;
        }
        features[k * columns + f] = (f === 0 ? real : Math.hypot(real, imaginary)) * weights[k * columns + f]!;
      }
    }
  };
}
