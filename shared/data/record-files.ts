import { fromUtf8 } from '../bytes.ts';
import { assertNever, invariant } from '../errors.ts';
import { planeOf, soundOf, vocabularyOf } from '../study/encoder-input.ts';
import type { EncoderSpec, Modality, RecordFilesSpec, SoundSpec, TextSpec } from '../study/schema.ts';
import { dicomPicture } from './dicom.ts';
import type { DataFiles, Unreadable } from './files.ts';
import { createLogMel, samplesOf } from './mel.ts';
import { resample } from './resample.ts';
import { resizePicture } from './resize.ts';
import { hashedTextReader, tokenReader } from './text.ts';

/** A record's raw features, [its modality's shape] row-major, from the cell of the index that names its file or holds its text. */
export type RecordReader = (cell: string) => Promise<Float32Array | Unreadable>;

/** For modalities with `files` or `text`; undefined for those with `values`. The study parser has checked that format and shape fit. */
export function recordReader(files: DataFiles, { shape, records, encoder }: Modality): { readonly column: string; readonly purpose: string; readonly read: RecordReader } | undefined {
  const { text, files: spec } = records;
  if (text !== undefined) {
    const read = textReader(text, { shape, encoder });
    return { column: text.column, purpose: 'records.text.column', read: (cell) => Promise.resolve(read(cell)) };
  }
  if (spec === undefined) return undefined;
  const decode = decoderOf(spec, { shape, encoder, files });
  return {
    column: spec.column,
    purpose: 'records.files.column',
    read: async (cell) => {
      const bytes = await files.readRecord(spec.folder === undefined ? cell : `${spec.folder}/${cell}`);
      if ('unreadable' in bytes) return bytes;
      return bytes.length === 0 ? { unreadable: 'it is empty' } : decode(bytes);
    },
  };
}

type Decode = (bytes: Uint8Array) => Float32Array | Unreadable | Promise<Float32Array | Unreadable>;

/** What the encoder reads of a text: token numbers, or counts of its terms. */
function textReader(spec: Pick<TextSpec, 'unit' | 'ngrams' | 'counts' | 'unitLength'>, { shape, encoder }: { readonly shape: readonly number[]; readonly encoder: EncoderSpec }): (text: string) => Float32Array {
  const length = shape[0] ?? 0;
  const vocabulary = vocabularyOf(encoder);
  return vocabulary === undefined ? hashedTextReader(spec, length) : tokenReader(spec, { tokens: length, vocabulary });
}

function decoderOf(spec: RecordFilesSpec, { shape, encoder, files: { decoders } }: { readonly shape: readonly number[]; readonly encoder: EncoderSpec; readonly files: DataFiles }): Decode {
  switch (spec.format) {
    case 'image': {
      const wanted = { ...wantedSize(shape), fit: spec.fit, maxPixels: spec.maxPixels };
      return (bytes) => decoders.image(bytes, wanted);
    }
    case 'dicom': {
      const wanted = { ...wantedSize(shape), fit: spec.fit };
      return async (bytes) => {
        const image = await decoders.dicom(bytes);
        if ('unreadable' in image) return image;
        const picture = dicomPicture(image, { ...spec, window: spec.window, channels: wanted.channels });
        return 'unreadable' in picture ? picture : resizePicture(picture, wanted);
      };
    }
    case 'sound':
      return soundDecoder(spec, { shape, decoders });
    case 'text': {
      const read = textReader(spec, { shape, encoder });
      return (bytes) => {
        const text = textOf(bytes);
        return text === undefined ? { unreadable: 'it is not UTF-8 text; convert it, for example with iconv' } : read(text);
      };
    }
    default:
      return assertNever(spec);
  }
}

function wantedSize(shape: readonly number[]): { readonly height: number; readonly width: number; readonly channels: number } {
  const plane = planeOf(shape);
  invariant(plane !== undefined, 'pictures of [height, width, channels], as the study parser checked');
  return plane;
}

function soundDecoder(spec: SoundSpec, { shape, decoders }: { readonly shape: readonly number[]; readonly decoders: DataFiles['decoders'] }): Decode {
  const size = soundOf(spec, shape);
  const logMel = createLogMel(size);
  const length = samplesOf(size);
  return async (bytes) => {
    const sound = await decoders.wav(bytes);
    if ('unreadable' in sound) return sound;
    const mono = mixToMono(sound.channels);
    if (mono.length === 0) return { unreadable: 'it holds no samples' };
    if (!mono.every(Number.isFinite)) return { unreadable: 'it holds samples that are no finite numbers' };
    return logMel(sound.rate === spec.rate ? mono : resample(mono, { from: sound.rate, to: spec.rate, length }));
  };
}

/** The mean of the channels. */
function mixToMono(channels: readonly Float64Array[]): Float64Array {
  const [first = new Float64Array()] = channels;
  if (channels.length < 2) return first;
  return first.map((_, i) => channels.reduce((sum, channel) => sum + (channel[i] ?? 0), 0) / channels.length);
}

/** Without a byte order mark. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return fromUtf8(bytes).replace(/^\uFEFF/, '');
  } catch {
    return undefined;
  }
}
