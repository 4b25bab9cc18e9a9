import type { FusionSpec } from '../study/schema.ts';
import type { FusionRule, ScoredSamples } from './evaluation.ts';
import { entropy, fusionWeights, logSoftmax } from './hybrid.ts';

export interface Fused {
  /** [samples, classes] */
  readonly probabilities: Float64Array;
  /** [samples] per modality; 0 where the sample lacks it. */
  readonly weights: Readonly<Record<string, Float64Array>>;
}

/** Every sample by one rule, from the modalities it has; a sample without any gets the prior. */
export function fuse(rule: FusionRule, samples: ScoredSamples, spec: FusionSpec): Fused {
  const { classes, labels } = samples;
  const names = Object.keys(samples.modalities);
  const prior = normalised(spec.prior ?? new Array<number>(classes).fill(1));
  const probabilities = new Float64Array(labels.length * classes);
  const weights = Object.fromEntries(names.map((name) => [name, new Float64Array(labels.length)]));
  for (let i = 0; i < labels.length; i += 1) {
    const available = names.filter((name) => samples.modalities[name]!.present[i] === 1);
    const logs = available.map((name) => logSoftmax(samples.modalities[name]!.logits.subarray(i * classes, (i + 1) * classes)));
    const own = logs.length === 0 ? new Float64Array(0) : weightsOf(rule, logs, spec);
    available.forEach((name, m) => (weights[name]![i] = own[m]!));
    probabilities.set(logs.length === 0 ? prior : pool(poolOf(rule, spec), { logs, weights: own, prior }), i * classes);
  }
  return { probabilities, weights };
}

function weightsOf(rule: FusionRule, logs: readonly Float64Array[], spec: FusionSpec): Float64Array {
  switch (rule) {
    case 'equal':
    case 'product':
      return new Float64Array(logs.length).fill(1 / logs.length);
    case 'entropy':
      return logSoftmax(logs.map((log) => -entropy(log))).map(Math.exp);
    case 'hybrid':
    case 'hybrid-linear':
    case 'hybrid-log':
      return fusionWeights(logs, spec);
  }
}

function poolOf(rule: FusionRule, spec: FusionSpec): 'linear' | 'log' {
  if (rule === 'hybrid') return spec.pool;
  return rule === 'product' || rule === 'hybrid-log' ? 'log' : 'linear';
}

/**
 * `linear` (MLA's and PAMRL's): p = sum_m w_m p_m. `log` (ours): ln p = sum_m M w_m ln p_m - (M - 1) ln prior + const, an uncertainty-weighted
 * product of experts; with equal weights it is the plain product.
 */
function pool(kind: 'linear' | 'log', input: { readonly logs: readonly Float64Array[]; readonly weights: Float64Array; readonly prior: Float64Array }): Float64Array {
  const { logs, weights, prior } = input;
  const result = new Float64Array(prior.length);
  logs.forEach((log, m) => {
    log.forEach((l, c) => (result[c]! += kind === 'linear' ? weights[m]! * Math.exp(l) : logs.length * weights[m]! * Math.max(l, -700)));
  });
  if (kind === 'linear') return result;
  return logSoftmax(result.map((l, c) => l - (logs.length - 1) * Math.log(prior[c]!))).map(Math.exp);
}

function normalised(values: readonly number[]): Float64Array {
  const total = values.reduce((a, b) => a + b, 0);
  return Float64Array.from(values, (value) => value / total);
}
