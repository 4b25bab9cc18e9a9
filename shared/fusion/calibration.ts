import { minimum } from './golden-section.ts';
import { logSoftmax } from './hybrid.ts';

/**
 * What the public selection part teaches about one modality of a released model: post-processing, which costs no privacy. Ours, beyond the paper; the
 * temperature is Guo et al. 2017's.
 *   logits / T * reliability,  reliability = 1 / (1 + discount * excess),  excess = max(0, |atypicality| - 2)
 * A record unlike all selection records is believed less, by as much as the selection records' own noisy copies deserve.
 */
export interface ModalityCalibration {
  /** T > 0; above 1 where the model is too sure of itself. */
  readonly temperature: number;
  /** >= 0, per standard deviation of atypicality beyond the second. */
  readonly discount: number;
}

export const UNCALIBRATED: ModalityCalibration = { temperature: 1, discount: 0 };

/** One modality's records, scored by the released model. */
export interface ScoredRecords {
  /** [records, classes] */
  readonly logits: Float32Array;
  /** 0 also where a record says nothing (typicality.ts). */
  readonly present: Uint8Array;
  /** shared/fusion/typicality.ts; undefined: every record counts as usual. */
  readonly atypicality: Float64Array | undefined;
}

/** ln T is taken to be within this of 0, as a normal prior: some hundred records do not decide alone. */
const PRIOR_SPREAD = 0.25;
const LOG_T = { least: -3, most: 3 } as const;
const DISCOUNTS = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
const TYPICAL_TO = 2;

/** The temperature that explains the labels of the clean records best, then the discount that does so for their noisy copies. Nothing to learn from: UNCALIBRATED. */
export function calibrate({ labels, clean, degraded }: { readonly labels: Int32Array; readonly clean: ScoredRecords; readonly degraded: readonly ScoredRecords[] }): ModalityCalibration {
  if (!clean.present.includes(1)) return UNCALIBRATED;
  const costOfT = (logT: number): number => surprise(labels, clean, { temperature: Math.exp(logT), discount: 0 }) + logT ** 2 / (2 * PRIOR_SPREAD ** 2);
  const temperature = Math.exp(minimum(costOfT, LOG_T));
  const costOf = (discount: number): number => degraded.reduce((sum, records) => sum + surprise(labels, records, { temperature, discount }), 0);
  const costs = DISCOUNTS.map(costOf);
  return { temperature, discount: DISCOUNTS[costs.indexOf(Math.min(...costs))] ?? 0 };
}

/** [records], in (0, 1], and 0 for a record that is not there or says nothing: 1 / (1 + discount * excess). What a calibrated logit is: logit / temperature * reliability. */
export function reliabilityOf({ discount }: ModalityCalibration, { present, atypicality }: Pick<ScoredRecords, 'present' | 'atypicality'>): Float32Array<ArrayBuffer> {
  return Float32Array.from(present, (there, i) => (there === 0 ? 0 : believed(discount, atypicality?.[i])));
}

function believed(discount: number, atypicality = 0): number {
  return 1 / (1 + discount * Math.max(0, Math.abs(atypicality) - TYPICAL_TO));
}

/** Negative log-likelihood of the labels, nats, over the records that are there. */
function surprise(labels: Int32Array, { logits, present, atypicality }: ScoredRecords, { temperature, discount }: ModalityCalibration): number {
  const classes = logits.length / present.length;
  let sum = 0;
  for (let i = 0; i < present.length; i += 1) {
    if (present[i] === 0) continue;
    const factor = believed(discount, atypicality?.[i]) / temperature;
    sum -= logSoftmax(logits.subarray(i * classes, (i + 1) * classes).map((logit) => logit * factor))[labels[i]!]!;
  }
  return sum;
}
