import type { ModalityCalibration } from '../shared/fusion/calibration.ts';
import type { Evaluation, FusedTemperatures, Robustness } from '../shared/fusion/evaluation.ts';
import type { FusionSpec } from '../shared/study/schema.ts';
import type { AccountantName } from '../shared/privacy/accountant.ts';

/**
 * What happens in a study, as the coordinator tells it: to the terminal, to `metrics.jsonl`, to the report. Nothing here
 * comes from private data except through released (noised, charged) models; no update, norm or cohort draw is in it.
 */
export type StudyEvent =
  | {
      readonly type: 'started';
      readonly time: string;
      readonly study: string;
      readonly studyHash: string;
      readonly folder: string;
      readonly software: string;
      /** With its whole reason: what was passed over, and how to install it. */
      readonly backend: string;
      /** In one short line, for persons; absent in records of earlier versions. */
      readonly backendSummary?: string;
      readonly rounds: number;
      readonly resumedAfterRound: number;
      readonly protection: 'local-noise' | 'none';
      readonly budget: EpsilonOfDelta;
      /** Whose number is held against the budget. */
      readonly accountant: AccountantName;
      /** Names of the classes, in the order of a confusion matrix. */
      readonly classes: readonly string[];
      /** Of the study's own rule. */
      readonly pool: FusionSpec['pool'];
      readonly modalities: readonly ModalityFacts[];
      readonly sites: readonly { readonly site: string; readonly modality: string; readonly patients: number }[];
    }
  | {
      readonly type: 'listening';
      readonly time: string;
      readonly url: string;
      readonly coordinatorKey: string;
      /** Sites of the study that have no key in its ledger. */
      readonly notEnrolled?: readonly string[];
      /** Of a study that has ended before: the sites that have not said that they know it. */
      readonly unaware?: readonly string[];
    }
  | { readonly type: 'site'; readonly time: string; readonly site: string; readonly modality: string; readonly state: 'enrolled' | 'connected' | 'disconnected' }
  | {
      readonly type: 'round-started';
      readonly time: string;
      readonly round: number;
      readonly modality: string;
      readonly cohort: readonly string[];
      readonly epsilonAfter: number | null;
    }
  | {
      readonly type: 'round-ended';
      readonly time: string;
      readonly round: number;
      readonly modality: string;
      readonly outcome: 'committed' | 'aborted';
      readonly reason?: string;
      readonly sites: readonly string[];
      readonly seconds: number;
      readonly epsilonSpent: Spent;
    }
  | {
      readonly type: 'evaluated';
      readonly time: string;
      readonly round: number;
      readonly split: 'selection' | 'test';
      readonly evaluation: Evaluation;
      /** Fitted on the selection part, by modality; none where the study does not calibrate. */
      readonly calibrations: Readonly<Record<string, ModalityCalibration>>;
      /** Likewise, of the fused answers, by rule. */
      readonly temperatures: FusedTemperatures;
      /** Of the test part: the same where one modality fails some samples. */
      readonly robustness?: readonly Robustness[];
    }
  | { readonly type: 'failure'; readonly time: string; readonly site?: string; readonly code: string; readonly message: string }
  | {
      readonly type: 'ended';
      readonly time: string;
      readonly reason: 'completed' | 'budget-exhausted' | 'interrupted' | 'failed';
      readonly detail: string;
      readonly roundsCommitted: number;
      /** Committed ones, of an adaptive schedule: what it has come to. */
      readonly roundsPerModality?: Readonly<Record<string, number>>;
      readonly epsilonSpent: Spent;
      readonly seconds: number;
      /** Largest resident set of the coordinator process, MiB. */
      readonly peakMemoryMiB: number;
    };

/** epsilon is null where it is infinite (JSON has no infinity). */
export interface EpsilonOfDelta {
  readonly epsilon: number | null;
  readonly delta: number;
}

/** `epsilon` is the binding accountant's of the two. */
export interface Spent extends EpsilonOfDelta {
  readonly pld: number | null;
  readonly rdp: number | null;
}

export interface ModalityFacts {
  readonly modality: string;
  readonly encoder: string;
  readonly parameters: number;
  /** Planned; of an adaptive schedule the most. */
  readonly rounds: number;
  /** Of an adaptive schedule. */
  readonly leastRounds?: number;
  readonly localSteps: number;
  readonly samplingRate: number;
  /** Null without privacy. */
  readonly noiseMultiplier: number | null;
  readonly clipNorm: number | null;
}

export type EventSink = (event: StudyEvent) => void;
