import type { Degradation } from './degrade.ts';

/** The shapes of an evaluation; computed by `evaluate.ts` from public samples and released models only. */

export const FUSION_RULES = ['hybrid', 'robust', 'hybrid-linear', 'hybrid-log', 'equal', 'entropy', 'product', 'product-uncalibrated'] as const;
/** `hybrid` is the study's own choice of pool (a key of files and `--json`; persons read "fused" or the pool's name); the others are always compared with it. */
export type FusionRule = (typeof FUSION_RULES)[number];

export interface Metrics {
  readonly samples: number;
  readonly accuracy: number;
  readonly weighted: ClassAverages;
  readonly macro: ClassAverages;
  /** Expected calibration error, equal-width bins on the top probability (Guo et al. 2017). */
  readonly ece10: number;
  readonly ece15: number;
  /**
   * The ECE of 15 bins that these confidences would show on so many samples if every one of them were exactly right: what of `ece15` is the small number of samples.
   * sum over bins of sqrt(2 / pi sum p (1 - p)) / N: the mean absolute value of a normal of each bin's variance.
   */
  readonly ece15Perfect: number;
  /** Accuracy over the samples with top probability in [0, 0.5]; null when there are none. */
  readonly confAccLow: number | null;
  readonly confAccLowCount: number;
  /** Mean negative log-likelihood, nats. */
  readonly nll: number;
  /** [true class][predicted class], counts. */
  readonly confusion: readonly (readonly number[])[];
  /** The 10 bins of the reliability diagram: count, mean confidence, accuracy (0 where empty). */
  readonly reliability: readonly { readonly count: number; readonly confidence: number; readonly accuracy: number }[];
}

export interface ClassAverages {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

export interface Evaluation {
  readonly samples: number;
  /** Over the samples that have the modality. */
  readonly perModality: Readonly<Record<string, Metrics>>;
  /** Over all samples, whatever modalities they have. */
  readonly fused: Readonly<Record<FusionRule, Metrics>>;
  /** Mean hybrid weight over the samples that have the modality, and how many of them have it. */
  readonly weights: Readonly<Record<string, { readonly mean: number; readonly samples: number }>>;
}

export type DegradedMetrics = Pick<Metrics, 'accuracy' | 'ece15' | 'nll'>;

/** The same test samples with one modality degraded for a share of them, as a mean over the modalities. */
export interface Robustness<Rule extends FusionRule = FusionRule> {
  readonly degradation: Degradation;
  /** Of the samples that have the modality. */
  readonly share: number;
  readonly fused: Readonly<Record<Rule, DegradedMetrics>>;
}

/** Aligned samples with the logits of every modality; `present[m][i]` is 1 where sample i has modality m. */
export interface ScoredSamples {
  readonly classes: number;
  readonly labels: Int32Array;
  readonly modalities: Readonly<Record<string, ScoredModality>>;
  /** Of the fused answers (shared/fusion/fused-temperature.ts); omitted: 1. */
  readonly temperatures?: FusedTemperatures;
}

/** T > 0; above 1 where a rule is too sure of itself. */
export type FusedTemperatures = Readonly<Partial<Record<FusionRule, number>>>;

export interface ScoredModality {
  /** [samples, classes], as the model gives them. */
  readonly logits: Float32Array;
  readonly present: Uint8Array;
  /** What the logits are divided by; omitted: 1. */
  readonly temperature?: number;
  /** [samples], in [0, 1]: how far the logits of each record are to be believed, which they are multiplied with; 0: as if it were not there. Omitted: 1. */
  readonly reliability?: Float32Array;
}
