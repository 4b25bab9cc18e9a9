import type { WantedPicture } from './files.ts';

export interface Picture {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** [height, width, channels] */
  readonly data: Float32Array;
}

/** The picture as [wanted.height, wanted.width, channels]: a triangle filter as wide as a wanted pixel (at least a given one), so that shrinking averages; black (0) beyond the picture. */
export function resizePicture({ height, width, channels, data }: Picture, wanted: Pick<WantedPicture, 'height' | 'width' | 'fit'>): Float32Array {
  const steps = [height / wanted.height, width / wanted.width] as const;
  const common = wanted.fit === 'cover' ? Math.min(...steps) : Math.max(...steps);
  const [down, across] = wanted.fit === 'fill' ? steps : [common, common];
  const rows = axisWeights({ from: height, to: wanted.height, step: down });
  const columns = axisWeights({ from: width, to: wanted.width, step: across });
  const middle = new Float64Array(wanted.height * width * channels);
  rows.forEach(({ first, weights }, y) => {
    weights.forEach((weight, i) => {
      const from = (first + i) * width * channels;
      for (let x = 0; x < width * channels; x += 1) middle[y * width * channels + x]! += weight * data[from + x]!;
    });
  });
  const out = new Float32Array(wanted.height * wanted.width * channels);
  columns.forEach(({ first, weights }, x) => {
    for (let y = 0; y < wanted.height; y += 1) {
      for (let c = 0; c < channels; c += 1) {
        let sum = 0;
        for (let i = 0; i < weights.length; i += 1) sum += weights[i]! * middle[(y * width + first + i) * channels + c]!;
        out[(y * wanted.width + x) * channels + c] = sum;
      }
    }
  });
  return out;
}

/** For each of `to` pixels, `step` given pixels apart around the middle of `from`: the given pixels it is made of, none beyond the picture. */
function axisWeights({ from, to, step }: { readonly from: number; readonly to: number; readonly step: number }): readonly { readonly first: number; readonly weights: Float64Array }[] {
  const reach = Math.max(1, step);
  return Array.from({ length: to }, (_, i) => {
    const centre = from / 2 + (i + 0.5 - to / 2) * step;
    if (centre < 0 || centre > from) return { first: 0, weights: new Float64Array() };
    const first = Math.max(0, Math.ceil(centre - reach - 0.5));
    const last = Math.min(from - 1, Math.floor(centre + reach - 0.5));
    const weights = Float64Array.from({ length: last - first + 1 }, (_weight, k) => 1 - Math.abs(first + k + 0.5 - centre) / reach);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}
