import { invariant } from '../errors.ts';
import { melFilters, type MelSize } from '../data/mel.ts';
import type { EncoderSpec, FrontEndSpec, Modality, RecordFilesSpec, SoundSpec } from './schema.ts';

/** Shape of what a modality's encoder sees: the record's own, or that of the output of its front-end or frozen network. Only for studies that have been validated. */
export function encoderShape({ shape, records }: Pick<Modality, 'shape' | 'records'>): readonly number[] {
  if (records.frozen !== undefined) return records.frozen.outputShape;
  const output = records.frontEnd === undefined ? { shape } : frontEndShape(records.frontEnd, shape);
  invariant('shape' in output, 'a front-end that fits the record, as the study parser checked');
  return output.shape;
}

/** Of an encoder that reads token numbers, 0 .. vocabulary - 1; undefined for one of measured numbers. */
export function vocabularyOf(encoder: EncoderSpec): number | undefined {
  return 'vocabulary' in encoder ? encoder.vocabulary : undefined;
}

/** Attention keeps numbers of every token, not only of every record: 256 records at once in the memory of wasm. */
const MOST_TOKENS = { embedding: 4096, attention: 1024 } as const;

/** Why a modality's records are no rows of token numbers for its encoder, and under which key of the modality. */
export function tokensFault({ shape, encoder, records }: Modality): { readonly key: readonly string[]; readonly fault: string } | undefined {
  const needs = `an ${encoder.type} encoder needs`;
  const { frontEnd, frozen, transform, text, files } = records;
  const [tokens = 0] = shape;
  if (shape.length !== 1) return { key: ['shape'], fault: `${needs} [tokens], found [${shape.join(', ')}]` };
  const most = encoder.type === 'attention' ? MOST_TOKENS.attention : MOST_TOKENS.embedding;
  if (tokens > most) return { key: ['shape'], fault: `${needs} at most ${most} tokens a record, found ${tokens}` };
  if (frontEnd !== undefined) return { key: ['records', 'frontEnd'], fault: `${needs} token numbers, of which a ${frontEnd.type} front-end makes something else: leave it out` };
  if (frozen !== undefined) return { key: ['records', 'frozen'], fault: `${needs} token numbers, of which a frozen network makes something else: leave it out` };
  const { subtract, divideBy, clip, missing = 0 } = transform;
  if (subtract !== 0 || divideBy !== 1 || clip !== 1e6) return { key: ['records', 'transform'], fault: `${needs} token numbers as they are: leave out subtract, divideBy and clip` };
  if (missing !== 0) return { key: ['records', 'transform', 'missing'], fault: `${needs} 0, padding, for a missing token, found ${missing}` };
  const [key, spec] = text === undefined ? ['files', files] : ['text', text];
  if (spec === undefined) return undefined;
  if ('format' in spec && spec.format !== 'text') return { key: ['records', 'files', 'format'], fault: `${needs} text, or "values" that are token numbers; found ${spec.format}` };
  if ('counts' in spec && (spec.counts !== 'log' || spec.unitLength)) return { key: ['records', key], fault: `${needs} the tokens themselves: leave out counts and unitLength` };
  return undefined;
}

/** [height, width, channels] of a record that a front-end can take. */
export function planeOf(shape: readonly number[]): { readonly height: number; readonly width: number; readonly channels: number } | undefined {
  const [height, width, channels = 1] = shape;
  return height === undefined || width === undefined ? undefined : { height, width, channels };
}

/** The spectrogram of records of [bands, frames] or [bands, frames, 1]. */
export function soundOf({ rate, window, hop, lowest, highest, floor }: SoundSpec, shape: readonly number[]): MelSize {
  return { rate, window, hop, lowest, highest: highest ?? rate / 2, floor, bands: shape[0] ?? 0, frames: shape[1] ?? 0 };
}

/** Why files of this format cannot fill records of `shape`, and under which key of `files`. */
export function recordFilesFault(spec: RecordFilesSpec, shape: readonly number[]): { readonly key: string; readonly fault: string } | undefined {
  const [, , channels = 1] = shape;
  const found = `the shape is [${shape.join(', ')}]`;
  switch (spec.format) {
    case 'image':
    case 'dicom':
      if (shape.length < 2 || (channels !== 1 && channels !== 3)) return { key: 'format', fault: `pictures need the shape [height, width, 1] or [height, width, 3]; ${found}` };
      if (spec.format === 'dicom' && channels === 1 && spec.window === undefined) return { key: 'format', fault: 'monochrome DICOM needs a window: { centre, width }, public constants such as 40 and 400 for soft tissue in CT' };
      if (spec.format === 'dicom' && channels === 3 && spec.window !== undefined) return { key: 'window', fault: 'only monochrome DICOM, of one channel, has a window' };
      return undefined;
    case 'sound': {
      if (shape.length < 2 || channels !== 1) return { key: 'format', fault: `sound needs the shape [bands, frames] or [bands, frames, 1]; ${found}` };
      const size = soundOf(spec, shape);
      if (size.highest > spec.rate / 2 || size.lowest >= size.highest) return { key: 'highest', fault: `expected lowest < highest <= rate / 2 = ${spec.rate / 2} Hz, found ${size.lowest} and ${size.highest}` };
      if (size.bands > size.window) return { key: 'window', fault: `expected at most as many bands as a window has samples, ${size.window}, found ${size.bands}` };
      const empty = melFilters(size).findIndex(({ heights }) => heights.length === 0);
      if (empty >= 0) return { key: 'window', fault: `band ${empty} of ${size.bands} is narrower than the frequencies of a window of ${size.window} samples lie apart; take a longer window, fewer bands or a higher "lowest"` };
      return undefined;
    }
    case 'text':
      return textFault(shape);
  }
}

export function textFault(shape: readonly number[]): { readonly key: string; readonly fault: string } | undefined {
  return shape.length === 1 ? undefined : { key: 'format', fault: `hashed text needs the shape [buckets]; the shape is [${shape.join(', ')}]` };
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
