import type { FusionSpec } from '../study/schema.ts';
import { DEGRADATIONS, type Degradation } from './degrade.ts';
import { FUSION_RULES, type DegradedMetrics, type Evaluation, type FusionRule, type Metrics, type Robustness, type ScoredModality, type ScoredSamples } from './evaluation.ts';
import { logSoftmax } from './hybrid.ts';
import { computeMetrics } from './metrics.ts';
import { fuse, logitsOf, speaks } from './rules.ts';

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
  return { samples: labels.length, perModality: Object.fromEntries(Object.keys(samples.modalities).map((name) => [name, metricsAlone(samples, name, spec)])), fused, weights };
}

function metricsAlone({ labels, classes, modalities }: ScoredSamples, name: string, { calibration }: FusionSpec): Metrics {
  const modality = modalities[name]!;
  const having = Array.from(labels.keys()).filter((i) => speaks(modality, i, calibration));
  const probabilities = new Float64Array(having.length * classes);
  having.forEach((i, row) => {
    probabilities.set(logSoftmax(logitsOf(modality, i, { classes, calibration })).map(Math.exp), row * classes);
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

/** One modality of the same samples, degraded for all of them. */
export interface DegradedModality extends ScoredModality {
  readonly modality: string;
  readonly degradation: Degradation;
}

const SHARES = [0.1, 0.3, 0.5];

/** Rules where one modality fails a share of the samples: the same ones for every kind of failure and every rule. `uniform` in [0, 1), public randomness. */
export function evaluateRobustness<Rule extends FusionRule>(
  samples: ScoredSamples,
  { degraded, rules, spec, uniform }: { readonly degraded: readonly DegradedModality[]; readonly rules: readonly Rule[]; readonly spec: FusionSpec; readonly uniform: () => number },
): readonly Robustness<Rule>[] {
  const { labels, classes } = samples;
  const lots = Float64Array.from(labels, uniform);
  return DEGRADATIONS.flatMap((degradation) =>
    SHARES.map((share) => {
      const failing = degraded
        .filter((one) => one.degradation === degradation)
        .map((one) => ({ ...samples, modalities: { ...samples.modalities, [one.modality]: mixed(samples, one, (i) => lots[i]! < share) } }));
      const fused = {} as Record<Rule, DegradedMetrics>;
      for (const rule of rules) {
        const metrics = failing.map((some) => computeMetrics({ probabilities: fuse(rule, some, spec).probabilities, labels, classes }));
        const mean = (of: (one: Metrics) => number): number => metrics.reduce((sum, one) => sum + of(one), 0) / metrics.length;
        fused[rule] = { accuracy: mean(({ accuracy }) => accuracy), ece15: mean(({ ece15 }) => ece15), nll: mean(({ nll }) => nll) };
      }
      return { degradation, share, fused };
    }),
  );
}

function mixed({ modalities, labels, classes }: ScoredSamples, failing: DegradedModality, fails: (sample: number) => boolean): ScoredModality {
  const sound = modalities[failing.modality]!;
  return {
    logits: sound.logits.map((logit, k) => (fails(Math.floor(k / classes)) ? failing.logits[k]! : logit)),
    present: sound.present.map((there, i) => (fails(i) ? failing.present[i]! : there)),
    ...(sound.temperature === undefined ? {} : { temperature: sound.temperature }),
    reliability: Float32Array.from(labels, (_, i) => (fails(i) ? failing : sound).reliability?.[i] ?? 1),
  };
}
