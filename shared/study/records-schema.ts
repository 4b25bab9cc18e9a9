import { z } from 'zod';
import { count, filter, positive, relativePath } from './schema-parts.ts';

/** How the records of a modality are found, read and prepared: the `records` of the study file. */

/** One for all, one per feature, or, of a shape [.., channels], one per channel. */
const perFeature = z.union([z.number(), z.array(z.number()).min(1)]);

/** Public constants only: a statistic of private data would be a release. x -> (x - subtract) / divideBy, clipped to +-clip; NaN -> missing. */
const transform = z.strictObject({
  subtract: perFeature.default(0),
  divideBy: perFeature.default(1),
  clip: positive.default(1e6),
  /** The value, after normalisation, of a missing (NaN or empty) feature; omitted: a missing feature is an error. */
  missing: z.number().optional(),
});

/** What every front-end may do with its features at the end. */
const frontEndOutput = {
  /** Each record's features are brought to L2 norm 1 before `multiply`; a record whose features are all zero stays so. */
  unitLength: z.boolean().default(false),
  /** A public constant. */
  multiply: positive.default(1),
};

/** Frequency (k, l) is multiplied by (1 + sqrt(k^2 + l^2))^lift: evens out signals whose energy falls with frequency. */
const lift = z.number().min(0).max(4).default(0);

/** Fixed functions of ONE record, between its `transform` and the encoder; nothing is learnt from data (shared/data/front-end.ts). */
const frontEnd = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('dct'),
    /** Lowest vertical and horizontal frequencies kept of an image, or of bands and frames. */
    rows: count,
    columns: count,
    /** `mean`: every record's own mean is subtracted first. */
    centre: z.enum(['none', 'mean']).default('none'),
    lift,
    ...frontEndOutput,
  }),
  z.strictObject({
    type: z.literal('hog'),
    /** Cells down and across, each with a histogram of gradient directions. */
    rows: count,
    columns: count,
    orientations: z.int().min(2).max(64).default(8),
    /** `full`: 360 degrees of the gradient's direction; `half`: 180 degrees of an edge, bright to dark or dark to bright. */
    turn: z.enum(['half', 'full']).default('half'),
    ...frontEndOutput,
  }),
  z.strictObject({
    type: z.literal('spectrogram'),
    /** The noise floor of a band: this quantile over the record's own frames. */
    floorQuantile: z.number().min(0).lt(1).default(0.75),
    /** Frequencies kept of the 2-D DCT over bands and frames, once the sound stands in the middle. */
    rows: count,
    columns: count,
    /** Besides: the modulation spectrum, `rows` DCT coefficients over bands x `columns` modulation frequencies over frames. */
    modulation: z.strictObject({ rows: count, columns: count }).optional(),
    lift,
    ...frontEndOutput,
  }),
]);

/**
 * A network that was trained before and elsewhere, on public data and not on the sites' patients, between a record's `transform` and the encoder, in place of a
 * front-end. It is a public constant: every party has its own copy of the same bytes (shared/data/frozen.ts).
 */
const frozen = z.strictObject({
  /** A TensorFlow.js graph model (model.json, shards beside it), or one ONNX file that holds its weights. */
  format: z.enum(['tfjs-graph', 'onnx']),
  file: relativePath,
  /** Over the ONNX file, or over model.json followed by its shards in the order of its manifest. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256: 64 of the digits 0-9 and a-f'),
  /** Of a graph model any node, of ONNX one of its outputs; omitted: its only output. */
  output: z.string().min(1).max(1000).optional(),
  /** Of one record's features, as the encoder sees them; a flat one takes any output of its size. */
  outputShape: z.array(count).min(1).max(3),
  /** `channels-first`: the network takes and gives [channels, ..] where record and features are [.., channels]. */
  layout: z.enum(['as-is', 'channels-first']).default('as-is'),
  /** Records that go through it together. With 1 no record can have a part in another's features; more is faster. */
  batch: count.max(4096).default(1),
});

/** Where the one file of a record is. */
const fileOfRecord = {
  /** The index column that holds the path of the record's file; an empty cell: the patient lacks this modality. */
  column: z.string(),
  /** The folder that these paths start from, inside the data folder; omitted: the data folder. */
  folder: relativePath.optional(),
  /** So many of a site's files may be missing, cut off or damaged: they are left out, like any missing record, and listed in the site's own folder. One more stops the site. */
  corruptAtMost: z.int().min(0).default(0),
};

/** How a picture of another size becomes [height, width]: `cover` cuts off the longer sides, `contain` adds black ones, `fill` stretches. */
const picture = {
  fit: z.enum(['cover', 'contain', 'fill']).default('cover'),
  /** A file that says it has more pixels than this is not decoded. */
  maxPixels: count.max(2 ** 30).default(2 ** 26),
};

/** Words counted in `shape: [buckets]` buckets of a public hash (shared/data/text.ts): no vocabulary, which would be a release. */
const hashedText = {
  /** What a term is made of: words, or, for scripts that do not part them, characters. */
  unit: z.enum(['word', 'character']).default('word'),
  /** Terms are runs of 1 up to so many neighbouring units. */
  ngrams: z.int().min(1).max(5).default(1),
  /** A bucket's feature: its `count` c, `log` sign(c) ln(1 + |c|), or the `sign` of c. */
  counts: z.enum(['count', 'log', 'sign']).default('log'),
  /** Each record is brought to L2 norm 1; one without any term stays 0. */
  unitLength: z.boolean().default(false),
};

/** One file per record; every constant is public, nothing is fitted to the data. Features are 0..1 for pictures, natural logarithms for sound. */
const recordFiles = z.discriminatedUnion('format', [
  /** PNG, JPEG, WebP, TIFF, GIF or AVIF (the first picture of several) as [height, width, 1 (grey) or 3 (sRGB)]; EXIF orientation applied, transparent parts black. */
  z.strictObject({ format: z.literal('image'), ...fileOfRecord, ...picture }),
  /**
   * WAV (PCM of 8 to 32 bits, float), mixed to mono and resampled, as a log-mel spectrogram of `shape` [bands, frames, 1] (shared/data/mel.ts). It covers the first
   * window + (frames - 1) hop samples; a shorter sound ends in silence.
   */
  z.strictObject({
    format: z.literal('sound'),
    ...fileOfRecord,
    /** Samples per second; files of another rate are resampled. */
    rate: count.min(1000).max(192_000).default(16_000),
    /** Samples of a window, and from one to the next. */
    window: z.int().min(16).max(65_536).default(400),
    hop: count.max(65_536).default(160),
    /** Hz: where the lowest band begins and the highest ends; omitted: 0 and half of `rate`. */
    lowest: z.number().min(0).default(0),
    highest: positive.optional(),
    /** A band's power below this counts as this. A full-scale sine has the power 1/4. */
    floor: positive.default(1e-10),
  }),
  /** DICOM, uncompressed, one frame: monochrome as [height, width, 1] (needs `window`), RGB as [height, width, 3]. */
  z.strictObject({
    format: z.literal('dicom'),
    ...fileOfRecord,
    ...picture,
    /** Of values after the file's rescale slope and intercept (CT: Hounsfield units), mapped to 0..1. A window in the file is not looked at. */
    window: z.strictObject({ centre: z.number(), width: z.number().gt(1) }).optional(),
  }),
  /** Plain text in UTF-8. */
  z.strictObject({ format: z.literal('text'), ...fileOfRecord, ...hashedText }),
]);

export const records = z.strictObject({
  /** CSV with a header, one line per record, or `.parquet`, one row per record. */
  index: relativePath,
  /** `.npy` (numeric, first axis = rows), `.csv` or `.parquet` (with `columns`). Exactly one of `values`, `files`, `text` is given. */
  values: relativePath.optional(),
  /** Numeric columns of a CSV or Parquet `values` file, in this order. */
  columns: z.array(z.string()).min(1).optional(),
  /** The index column that holds the row of `values`; omitted: the record's own line number, from 0. */
  row: z.string().optional(),
  files: recordFiles.optional(),
  /** Text in a `column` of the index itself; an empty cell: the patient lacks this modality. */
  text: z.strictObject({ column: z.string(), ...hashedText }).optional(),
  /** The index column that names the patient: the unit of privacy. */
  patient: z.string(),
  /** The index column with the class, 0-based number or one of `classes`. */
  label: z.string(),
  where: filter.optional(),
  transform: transform.prefault({}),
  /** Omitted: the encoder sees the record itself. */
  frontEnd: frontEnd.optional(),
  /** Not beside a front-end. */
  frozen: frozen.optional(),
  /** Records with fewer measured (not NaN) features are absent: the patient lacks this modality. */
  minimumMeasured: z.int().min(0).default(1),
});

export type FrontEndSpec = z.output<typeof frontEnd>;
export type FrozenSpec = z.output<typeof frozen>;
export type TransformSpec = z.output<typeof transform>;
export type RecordsSpec = z.output<typeof records>;
export type RecordFilesSpec = z.output<typeof recordFiles>;
export type SoundSpec = Extract<RecordFilesSpec, { format: 'sound' }>;
export type DicomSpec = Extract<RecordFilesSpec, { format: 'dicom' }>;
export type TextSpec = NonNullable<RecordsSpec['text']>;
