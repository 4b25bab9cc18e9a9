import { z } from 'zod';

/**
 * The study file: what all parties agree on, named by the SHA-256 of its canonical form. This module says what a
 * valid one is; `parse.ts` turns YAML text into it, `resolve.ts` into the numbers of the PLAN entry.
 */

export const MOST_SITES = 5000;

const identifier = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/, 'expected lower-case letters, digits and inner hyphens, at most 64');
const positive = z.number().positive();
const count = z.int().positive();
const rate = z.number().gt(0).lte(1);
const relativePath = z
  .string()
  .min(1)
  .refine((path) => !path.startsWith('/') && !path.split(/[\\/]/).includes('..'), 'expected a path inside the data folder, without ".."');

/** column -> the value it must have, or the list of values of which it must have one (compared as text). */
const filter = z.record(z.string(), z.union([z.string(), z.number(), z.array(z.union([z.string(), z.number()])).min(1)]));

/**
 * A part of the patients: those whose hash falls into [from, to) of [0, 1). Two shares that do not overlap hold
 * different patients, provably, whatever the data are.
 */
const share = z.strictObject({ from: z.number().min(0).lt(1), to: z.number().gt(0).lte(1) }).refine((s) => s.from < s.to, 'expected from < to');

const selection = z.strictObject({ where: filter.optional(), share: share.optional() });

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

const records = z.strictObject({
  /** CSV with a header, one line per record. */
  index: relativePath,
  /** `.npy` (numeric, first axis = rows) or `.csv` (with `columns`). */
  values: relativePath,
  /** Columns of a CSV `values` file, in this order. */
  columns: z.array(z.string()).min(1).optional(),
  /** The index column that holds the row of `values`; omitted: the record's own line number, from 0. */
  row: z.string().optional(),
  /** The index column that names the patient: the unit of privacy. */
  patient: z.string(),
  /** The index column with the class, 0-based number or one of `classes`. */
  label: z.string(),
  where: filter.optional(),
  transform: transform.prefault({}),
  /** Omitted: the encoder sees the record itself. */
  frontEnd: frontEnd.optional(),
  /** Records with fewer measured (not NaN) features are absent: the patient lacks this modality. */
  minimumMeasured: z.int().min(0).default(1),
});

const activation = z.enum(['relu', 'tanh']);

const mlp = z.strictObject({
  type: z.literal('mlp'),
  hidden: z.array(count).max(8).default([64]),
  activation: activation.default('relu'),
  normalise: z.enum(['none', 'layer']).default('none'),
});

const cnn = z.strictObject({
  type: z.literal('cnn'),
  /** One strided convolution per entry. */
  filters: z.array(count).min(1).max(8).default([16, 32]),
  kernel: z.int().min(1).max(11).default(3),
  stride: z.int().min(1).max(4).default(2),
  activation: activation.default('relu'),
  normalise: z.enum(['none', 'group']).default('none'),
  /** Channel groups of GroupNorm; must divide every entry of `filters`. */
  groups: count.default(4),
});

const encoder = z.discriminatedUnion('type', [mlp, cnn]);

const modality = z.strictObject({
  /** Shape of one record, before any front-end: [features] for mlp, [height, width, channels] for cnn (and, flattened, for mlp). */
  shape: z.array(count).min(1).max(3),
  encoder,
  records,
  /** The sites of this modality hold different patients; each signs that when it enrols. */
  sitesDisjoint: z.boolean().default(false),
  /** Overrides of the study-wide values. */
  samplingRate: rate.optional(),
  clipNorm: positive.optional(),
  localSteps: count.optional(),
  learningRate: positive.optional(),
});

const site = z.strictObject({
  name: identifier,
  modality: identifier,
  /** Public cap on the site's patients: the divisor of its updates and its weight. A site with more refuses to start. */
  patients: count,
  where: filter.optional(),
  share: share.optional(),
});

const localOptimiser = z.strictObject({
  learningRate: positive,
  momentum: z.number().min(0).lt(1).default(0.9),
});

const serverOptimiser = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('fedavg'), learningRate: positive.default(1), momentum: z.number().min(0).lt(1).default(0) }),
  z.strictObject({
    type: z.literal('fedadam'),
    learningRate: positive.default(0.01),
    beta1: z.number().min(0).lt(1).default(0.9),
    beta2: z.number().min(0).lt(1).default(0.99),
    epsilon: positive.default(1e-3),
  }),
]);

const privacy = z.discriminatedUnion('protection', [
  z.strictObject({
    protection: z.literal('local-noise'),
    unit: z.literal('patient').default('patient'),
    trustModel: z.literal('local').default('local'),
    /** L2 bound C on one patient's whole contribution to one step, rounding included. */
    clipNorm: positive,
    samplingRate: rate,
    delta: z.number().gt(0).lt(0.1),
    /** Whose epsilon is held against the budget: `pld`, tight, for the fixed schedules of this version, or `rdp`, larger and valid whatever a schedule depends on. Both are in the ledger. */
    accountant: z.enum(['pld', 'rdp']).default('pld'),
    /** The budget. Omitted: what the planned rounds spend at `noiseMultiplier`. */
    epsilon: positive.optional(),
    /** Noise standard deviation / clipNorm. Omitted: calibrated so that the planned rounds just fit `epsilon`. */
    noiseMultiplier: positive.optional(),
  }),
  /** For comparison only: no clipping, no noise, and every output says so. */
  z.strictObject({ protection: z.literal('none'), samplingRate: rate }),
]);

const fusion = z.strictObject({
  /** U = alpha H~ + (1 - alpha) K~ (shared/fusion/hybrid.ts). */
  alpha: z.number().min(0).max(1).default(0.5),
  tau: positive.default(0.5),
  pool: z.enum(['linear', 'log']).default('log'),
  reference: z.enum(['consensus', 'leave-one-out']).default('consensus'),
  /** Public class prior of the log pool and the product; omitted: uniform. */
  prior: z.array(positive).min(2).optional(),
});

const evaluation = z.strictObject({
  /** The statement that these patients' records may be used openly (consented, public). It becomes a DISCLOSURE entry. */
  public: z.literal(true),
  /** The index column that joins the modalities of one sample. */
  sample: z.string(),
  /** For choices (which rule, when to stop). */
  selection,
  /** For the last number only. */
  test: selection,
  /** Evaluate after every so many rounds (and after the last). */
  everyRounds: count.default(1),
});

const operation = z.strictObject({
  /** Share of a cohort that must deliver for a round to commit. */
  quorum: z.number().gt(0).lte(1).default(1),
  roundDeadlineSeconds: positive.default(3600),
  joinDeadlineSeconds: positive.default(3600),
});

/**
 * How the same study is trained for comparison by `simulate --no-privacy`, where small cautious steps only waste time. A value here replaces the study's and,
 * for all modalities, their own; `modalities` sets them for one. It has no part in a study that is private.
 */
const arm = { samplingRate: rate.optional(), localSteps: count.optional(), learningRate: positive.optional() };
const withoutPrivacy = z.strictObject({
  rounds: count.optional(),
  ...arm,
  modalities: z.record(identifier, z.strictObject(arm)).optional(),
});

/** Weights of round 0, from public randomness. Omitted: random encoders and a small random head. */
const headInitial = z.discriminatedUnion('type', [
  /** A head of orthogonal columns of L2 norm `length` (rows, where there are more classes than features) behind encoders whose last layer is zero. */
  z.strictObject({ type: z.literal('orthogonal'), length: positive.default(3) }),
]);

export const studySchema = z.strictObject({
  antiphon: z.literal(1),
  name: identifier,
  description: z.string().max(2000).optional(),
  /** Seeds initial weights and nothing else; noise and sampling come from the CSPRNG, always. */
  seed: z.int().min(0).max(2 ** 31 - 1).default(1),
  classes: z.array(z.string().min(1)).min(2).max(1000),
  modalities: z.record(identifier, modality),
  head: z.strictObject({ features: count.default(64), protection: z.enum(['none', 'released']).default('none'), initial: headInitial.optional() }).prefault({}),
  sites: z.array(site).min(1).max(MOST_SITES),
  schedule: z.strictObject({
    rounds: count.max(1_000_000),
    /** Modalities in turn; omitted: every modality once, in the order of the file. */
    order: z.array(identifier).min(1).optional(),
    localSteps: count.max(100_000),
  }),
  optimiser: z.strictObject({
    local: localOptimiser,
    server: serverOptimiser.prefault({ type: 'fedavg' }),
    /** The model that is evaluated and kept is the mean of the models after this share of the planned rounds, the last ones. Omitted: the last model. */
    averageLast: rate.optional(),
  }),
  privacy,
  withoutPrivacy: withoutPrivacy.optional(),
  fusion: fusion.prefault({}),
  evaluation: evaluation.optional(),
  operation: operation.prefault({}),
});

export type Study = z.output<typeof studySchema>;
export type Modality = Study['modalities'][string];
export type EncoderSpec = z.output<typeof encoder>;
export type RecordsSpec = z.output<typeof records>;
export type HeadInitialSpec = z.output<typeof headInitial>;
export type FrontEndSpec = z.output<typeof frontEnd>;
export type TransformSpec = z.output<typeof transform>;
export type SelectionSpec = z.output<typeof selection>;
export type ShareSpec = z.output<typeof share>;
export type FilterSpec = z.output<typeof filter>;
export type SiteSpec = z.output<typeof site>;
export type ServerOptimiserSpec = z.output<typeof serverOptimiser>;
export type FusionSpec = z.output<typeof fusion>;
