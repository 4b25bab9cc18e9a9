import { assertNever, invariant } from '../errors.ts';
import { frontEndShape, planeOf } from '../study/encoder-input.ts';
import type { FrontEndSpec } from '../study/schema.ts';
import { liftWeights, planeDct } from './front-end-dct.ts';
import { hogOf } from './front-end-hog.ts';
import { spectrogramOf } from './front-end-spectrogram.ts';

/**
 * A front-end computes features of ONE record from that record and the study's public constants alone. It has seen no data and remembers none, so it is
 * a part of each record's preparation, before anything that privacy is charged for: it costs no budget. (A basis fitted to private records, like
 * their principal components, would be a release.) Sites and the coordinator's evaluation run this same code.
 */
export interface FrontEnd {
  /** Features per record. */
  readonly size: number;
  /** From a transformed record (row-major, its modality's `shape`) into `target` at `offset`. */
  readonly apply: (record: Float32Array, target: Float32Array, offset: number) => void;
}

/** For records of `shape`; the study parser has checked that the two fit. */
export function createFrontEnd(spec: FrontEndSpec, shape: readonly number[]): FrontEnd {
  const output = frontEndShape(spec, shape);
  const plane = planeOf(shape);
  invariant('shape' in output && plane !== undefined, 'a front-end that fits the record');
  const size = output.shape.reduce((product, length) => product * length, 1);
  const compute = featuresOf(spec, plane);
  const values = new Float64Array(plane.height * plane.width * plane.channels);
  const features = new Float64Array(size);
  return {
    size,
    apply: (record, target, offset) => {
      values.set(record);
      compute(values, features);
      const factor = spec.multiply / (spec.unitLength ? lengthOf(features) : 1);
      for (let i = 0; i < size; i += 1) target[offset + i] = factor * features[i]!;
    },
  };
}

type Compute = (values: Float64Array, features: Float64Array) => void;

function featuresOf(spec: FrontEndSpec, plane: { readonly height: number; readonly width: number; readonly channels: number }): Compute {
  const { height, width, channels } = plane;
  switch (spec.type) {
    case 'dct':
      return channelDct({ ...spec, height, width, channels });
    case 'hog':
      return hogOf({ ...spec, height, width });
    case 'spectrogram':
      return spectrogramOf({ ...spec, height, width, modulation: spec.modulation });
    default:
      return assertNever(spec);
  }
}

/** The DCT of each channel by itself, [rows, columns, channels]; with `centre: mean` each channel's mean goes first. */
function channelDct(size: Extract<FrontEndSpec, { type: 'dct' }> & { readonly height: number; readonly width: number; readonly channels: number }): Compute {
  const { height, width, channels, rows, columns, centre, lift } = size;
  const dct = planeDct(size);
  const weights = liftWeights(rows, columns, lift);
  const plane = new Float64Array(height * width);
  const coefficients = new Float64Array(rows * columns);
  return (values, features) => {
    for (let c = 0; c < channels; c += 1) {
      for (let i = 0; i < plane.length; i += 1) plane[i] = values[i * channels + c]!;
      if (centre === 'mean') {
        const mean = plane.reduce((sum, value) => sum + value, 0) / plane.length;
        for (let i = 0; i < plane.length; i += 1) plane[i]! -= mean;
      }
      dct(plane, coefficients);
      for (let i = 0; i < coefficients.length; i += 1) features[i * channels + c] = coefficients[i]! * weights[i]!;
    }
  };
}

/** L2 norm; 1 for all zeros, which then stay zeros. */
function lengthOf(features: Float64Array): number {
  const length = Math.sqrt(features.reduce((sum, value) => sum + value * value, 0));
  return length > 0 ? length : 1;
}
