import type { FusionRule } from '../../shared/fusion/evaluation.ts';
import type { Settings } from './settings.ts';

export const PRESET_NAMES = ['antiphon', 'mla', 'pamrl'] as const;
export type PresetName = (typeof PRESET_NAMES)[number];

export interface Preset {
  /** Changes to the study file. */
  readonly settings: Settings;
  /** The fusion rule whose numbers are reported, unless the experiment names its own. */
  readonly rule: FusionRule;
  /** Whether it has private cells. */
  readonly private: boolean;
}

/**
 * Named methods, as changes to one and the same study: records, front-ends, encoders, initial head, schedule, clipping and accounting stay the study's, so that
 * a difference between presets is one of head protection, fusion and calibration alone. Those settings were found for the studies as they are (deploy/studies/README.md), not for each preset.
 * - `antiphon`: the study as it is.
 * - `mla` (Zhang et al. 2024): alternating modalities, one shared head, its steps projected away from what the other modalities use, a linear pool weighted by
 *   entropy, no privacy. They project by raw features, `released` by the directions of released head updates, which span those features and stay private under noise.
 * - `pamrl` (Sun et al. 2025): the same with clipping and noise, and a linear pool by entropy and KL divergence; OUR reading of both (shared/fusion/hybrid.ts),
 *   since neither its formulas nor its noise are public to us. Without privacy it differs from `mla` in the fusion alone, and is trained once for both.
 */
export const PRESETS: Readonly<Record<PresetName, Preset>> = {
  antiphon: { settings: {}, rule: 'hybrid', private: true },
  mla: { settings: { 'head.protection': 'released', 'fusion.calibration': 'none' }, rule: 'entropy', private: false },
  pamrl: { settings: { 'head.protection': 'released', 'fusion.pool': 'linear', 'fusion.calibration': 'none' }, rule: 'hybrid', private: true },
};
