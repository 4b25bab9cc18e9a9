import type { ClassAverages, Metrics } from './evaluation.ts';

export interface Predictions {
  /** [samples, classes] */
  readonly probabilities: ArrayLike<number>;
  readonly labels: Int32Array;
  readonly classes: number;
}

interface Bin {
  count: number;
  confidence: number;
  correct: number;
  /** Of `correct`, were the confidences right. */
  variance: number;
}

/** Accuracy, averages, calibration and likelihood of class probabilities; every definition is at its field in evaluation.ts. */
export function computeMetrics({ probabilities, labels, classes }: Predictions): Metrics {
  const samples = labels.length;
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  const bins = { ten: emptyBins(10), fifteen: emptyBins(15) };
  const low = { count: 0, correct: 0 };
  let correct = 0;
  let nll = 0;
  for (let i = 0; i < samples; i += 1) {
    let top = 0;
    for (let c = 1; c < classes; c += 1) if (probabilities[i * classes + c]! > probabilities[i * classes + top]!) top = c;
    const confidence = probabilities[i * classes + top]!;
    const label = labels[i]!;
    const hit = top === label ? 1 : 0;
    correct += hit;
    confusion[label]![top]! += 1;
    nll -= Math.log(Math.max(probabilities[i * classes + label]!, 1e-12));
    for (const each of [bins.ten, bins.fifteen]) {
      const bin = each[Math.min(each.length - 1, Math.floor(confidence * each.length))]!;
      bin.count += 1;
      bin.confidence += confidence;
      bin.correct += hit;
      bin.variance += confidence * (1 - confidence);
    }
    if (confidence <= 0.5) {
      low.count += 1;
      low.correct += hit;
    }
  }
  const share = (x: number): number => (samples === 0 ? 0 : x / samples);
  return {
    samples,
    accuracy: share(correct),
    ...averages(confusion),
    ece10: calibrationError(bins.ten, samples),
    ece15: calibrationError(bins.fifteen, samples),
    ece15Perfect: share(bins.fifteen.reduce((sum, { variance }) => sum + Math.sqrt((2 / Math.PI) * Math.max(0, variance)), 0)),
    confAccLow: low.count === 0 ? null : low.correct / low.count,
    confAccLowCount: low.count,
    nll: share(nll),
    confusion,
    reliability: bins.ten.map(({ count, confidence, correct: hits }) => ({ count, confidence: count === 0 ? 0 : confidence / count, accuracy: count === 0 ? 0 : hits / count })),
  };
}

function emptyBins(count: number): Bin[] {
  return Array.from({ length: count }, () => ({ count: 0, confidence: 0, correct: 0, variance: 0 }));
}

/** sum over bins of |B| / N |accuracy - confidence|. */
function calibrationError(bins: readonly Bin[], samples: number): number {
  return samples === 0 ? 0 : bins.reduce((sum, { confidence, correct }) => sum + Math.abs(correct - confidence), 0) / samples;
}

/** Precision, recall and F1 per class (0 where undefined), averaged by support and plainly over the classes that occur in labels or predictions. */
function averages(confusion: readonly (readonly number[])[]): { readonly weighted: ClassAverages; readonly macro: ClassAverages } {
  const perClass = confusion.map((row, c) => {
    const support = row.reduce((a, b) => a + b, 0);
    const predicted = confusion.reduce((sum, other) => sum + other[c]!, 0);
    const hits = row[c]!;
    const precision = predicted === 0 ? 0 : hits / predicted;
    const recall = support === 0 ? 0 : hits / support;
    return { support, predicted, precision, recall, f1: precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall) };
  });
  const average = (weightOf: (row: (typeof perClass)[number]) => number): ClassAverages => {
    const total = perClass.reduce((sum, row) => sum + weightOf(row), 0);
    const mean = (valueOf: (row: (typeof perClass)[number]) => number): number => (total === 0 ? 0 : perClass.reduce((sum, row) => sum + weightOf(row) * valueOf(row), 0) / total);
    return { precision: mean((row) => row.precision), recall: mean((row) => row.recall), f1: mean((row) => row.f1) };
  };
  return { weighted: average((row) => row.support), macro: average((row) => (row.support + row.predicted > 0 ? 1 : 0)) };
}
