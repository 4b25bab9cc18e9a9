import { invariant } from '../errors.ts';
import type { FrontEndSpec, Modality } from './schema.ts';

/** Shape of what a modality's encoder sees: the record's own, or that of its front-end's output. Only for studies that have been validated. */
export function encoderShape({ shape, records }: Pick<Modality, 'shape' | 'records'>): readonly number[] {
  const output = records.frontEnd === undefined ? { shape } : frontEndShape(records.frontEnd, shape);
  invariant('shape' in output, 'a front-end that fits the record, as the study parser checked');
  return output.shape;
}

/** [height, width, channels] of a record that a front-end can take. */
export function planeOf(shape: readonly number[]): { readonly height: number; readonly width: number; readonly channels: number } | undefined {
  const [height, width, channels = 1] = shape;
  return height === undefined || width === undefined ? undefined : { height, width, channels };
}

/** Output shape of a front-end for records of `shape`, or why it cannot take them: `key` of the front-end and what was expected and found. */
export function frontEndShape(frontEnd: FrontEndSpec, shape: readonly number[]): { readonly shape: readonly number[] } | { readonly key: string; readonly fault: string } {
  const plane = planeOf(shape);
  const found = `the record is [${shape.join(', ')}]`;
  if (plane === undefined) return { key: 'type', fault: `a ${frontEnd.type} front-end needs records of [height, width] or [height, width, channels]; ${found}` };
  const { height, width, channels } = plane;
  if (frontEnd.type !== 'dct' && channels !== 1) return { key: 'type', fault: `a ${frontEnd.type} front-end needs one channel; ${found}` };
  const { rows, columns } = frontEnd;
  if (rows > height) return { key: 'rows', fault: `expected at most the ${height} rows of a record, found ${rows}` };
  if (columns > width) return { key: 'columns', fault: `expected at most the ${width} columns of a record, found ${columns}` };
  switch (frontEnd.type) {
    case 'dct':
      return { shape: [rows, columns, channels] };
    case 'hog':
      return { shape: [rows, columns, frontEnd.orientations] };
    case 'spectrogram': {
      const { modulation } = frontEnd;
      if (modulation === undefined) return { shape: [rows * columns] };
      const frequencies = Math.floor(width / 2) + 1;
      if (modulation.rows > height) return { key: 'modulation', fault: `expected at most ${height} rows, one per band of a record, found ${modulation.rows}` };
      if (modulation.columns > frequencies) return { key: 'modulation', fault: `expected at most ${frequencies} columns, the frequencies of ${width} frames, found ${modulation.columns}` };
      return { shape: [rows * columns + modulation.rows * modulation.columns] };
    }
  }
}
