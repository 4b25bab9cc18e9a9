import type { FusionSpec } from '../study/schema.ts';
import { FUSION_RULES, type Evaluation, type FusionRule, type Metrics, type ScoredSamples } from './evaluation.ts';
import { logSoftmax } from './hybrid.ts';
import { computeMetrics } from './metrics.ts';
import { fuse } from './rules.ts';

/** Every modality alone and every fusion rule, on the same samples. */
export function evaluateSamples(samples: ScoredSamples, spec: FusionSpec): Evaluation {
  const { labels, classes } = samples;
  const fused = {} as Record<FusionRule, Metrics>;
  let weights: Evaluation['weights'] = {};
  for (const rule of FUSION_RULES) {
    const result = fuse(rule, samples, spec);
    fused[rule] = computeMetrics({ probabilities: result.probabilities, labels, classes });
    if (rule === 'hybrid') weights = meanWeights(samples, result.weights);
  }
  return { samples: labels.length, perModality: Object.fromEntries(Object.keys(samples.modalities).map((name) => [name, metricsAlone(samples, name)])), fused, weights };
}

function metricsAlone({ labels, classes, modalities }: ScoredSamples, name: string): Metrics {
  const { logits, present } = modalities[name]!;
  const having = Array.from(present.keys()).filter((i) => present[i] === 1);
  const probabilities = new Float64Array(having.length * classes);
  having.forEach((i, row) => {
    probabilities.set(logSoftmax(logits.subarray(i * classes, (i + 1) * classes)).map(Math.exp), row * classes);
  });
  return computeMetrics({ probabilities, labels: Int32Array.from(having, (i) => labels[i]!), classes });
}

function meanWeights({ modalities }: ScoredSamples, weights: Readonly<Record<string, Float64Array>>): Evaluation['weights'] {
  return Object.fromEntries(
    Object.entries(modalities).map(([name, { present }]) => {
      const samples = present.reduce((sum, one) => sum + one, 0);
      return [name, { mean: samples === 0 ? 0 : weights[name]!.reduce((sum, w) => sum + w, 0) / samples, samples }];
    }),
  );
}
