import { z } from 'zod';
import { records } from './records-schema.ts';
import { count, filter, identifier, positive, rate } from './schema-parts.ts';

/**
 * The study file: what all parties agree on, named by the SHA-256 of its canonical form. This module says what a
 * valid one is; `parse.ts` turns YAML text into it, `resolve.ts` into the numbers of the PLAN entry.
 */

/**
 * A part of the patients: those whose hash falls into [from, to) of [0, 1). Two shares that do not overlap hold
 * different patients, provably, whatever the data are.
 */
const share = z.strictObject({ from: z.number().min(0).lt(1), to: z.number().gt(0).lte(1) }).refine((s) => s.from < s.to, 'expected from < to');

const selection = z.strictObject({ where: filter.optional(), share: share.optional() });

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

/** For signals in time; the image of one row of `cnn`. */
const cnn1d = z.strictObject({
  type: z.literal('cnn1d'),
  /** One strided convolution per entry. */
  filters: z.array(count).min(1).max(8).default([16, 32]),
  kernel: z.int().min(1).max(64).default(7),
  stride: z.int().min(1).max(16).default(4),
  activation: activation.default('relu'),
  normalise: z.enum(['none', 'group']).default('none'),
  /** Channel groups of GroupNorm; must divide every entry of `filters`. */
  groups: count.default(4),
});

/** For records of token numbers, 0 .. vocabulary - 1, 0 for none: texts, whose terms a public hash numbers (shared/data/text.ts), or `values` that are such numbers. */
const tokens = {
  /** Token numbers, the one of padding included. */
  vocabulary: z.int().min(2).max(2 ** 18).default(4096),
  /** Numbers a token is turned into. */
  width: count.max(1024).default(64),
  hidden: z.array(count).max(8).default([]),
  activation: activation.default('relu'),
  normalise: z.enum(['none', 'layer']).default('none'),
};

/** The mean of the tokens' rows of a table [vocabulary, width], then `hidden` layers, then the features. */
const embedding = z.strictObject({ type: z.literal('embedding'), ...tokens });

/** `heads` means of the tokens' rows, weighted by attention (shared/model/layers/attention.ts), then as `embedding`. */
const attention = z.strictObject({ type: z.literal('attention'), ...tokens, width: count.max(256).default(64), heads: count.max(16).default(2) });

const encoder = z.discriminatedUnion('type', [mlp, cnn, cnn1d, embedding, attention]);

const modality = z.strictObject({
  /** Shape of one record, before any front-end or frozen network: [features] for mlp, [height, width, channels] for cnn, [length] or [length, channels] for cnn1d, [tokens] for embedding and attention (any, flattened, for mlp). */
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
  /** `linear` and `log` are weighted by U; `robust` is a product in which no modality has a veto (shared/fusion/rules.ts). */
  pool: z.enum(['linear', 'log', 'robust']).default('robust'),
  /** Of the robust pool: how often a modality is about somebody else or about nothing. */
  contamination: z.number().min(0).max(0.5).default(0.02),
  /** Fitted on the public selection part (shared/fusion/calibration.ts): `temperature`: of every modality and of the fused answer; `selection`: also how far each record is to be believed. */
  calibration: z.enum(['none', 'temperature', 'selection']).default('selection'),
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

const adaptive = z.strictObject({
  /** Own rounds over which a modality's improvement is told. */
  window: count.max(1000).default(4),
  /** Share of its turns in the order that every modality has in any case. */
  least: z.number().min(0).lte(1).default(0.8),
});

/** Weights of round 0, from public randomness. Omitted: random encoders and a small random head. */
const headInitial = z.discriminatedUnion('type', [
  /** A head of orthogonal columns of L2 norm `length` (rows, where there are more classes than features) behind encoders whose last layer is zero. */
  z.strictObject({ type: z.literal('orthogonal'), length: positive.default(3) }),
]);

export const MOST_SITES = 5000;

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
    /** Rounds go where released models still improve on the public selection part (adaptive.ts), instead of in turn. */
    adaptive: adaptive.optional(),
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
export type { DicomSpec, FrontEndSpec, FrozenSpec, RecordFilesSpec, RecordsSpec, SoundSpec, TextSpec, TransformSpec } from './records-schema.ts';
export type HeadInitialSpec = z.output<typeof headInitial>;
export type SelectionSpec = z.output<typeof selection>;
export type ShareSpec = z.output<typeof share>;
export type FilterSpec = z.output<typeof filter>;
export type SiteSpec = z.output<typeof site>;
export type ServerOptimiserSpec = z.output<typeof serverOptimiser>;
export type FusionSpec = z.output<typeof fusion>;
