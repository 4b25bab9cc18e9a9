import type { FusionSpec } from '../study/schema.ts';
import type { FusionRule, ScoredModality, ScoredSamples } from './evaluation.ts';
import { entropy, fusionWeights, logSoftmax } from './hybrid.ts';

export interface Fused {
  /** [samples, classes] */
  readonly probabilities: Float64Array;
  /** [samples] per modality; 0 where the sample lacks it. */
  readonly weights: Readonly<Record<string, Float64Array>>;
}

/** Every sample by one rule, from the modalities it has, at the temperature that the samples give for it; a sample without any gets the prior. */
export function fuse(rule: FusionRule, samples: ScoredSamples, spec: FusionSpec): Fused {
  const { classes, labels } = samples;
  const names = Object.keys(samples.modalities);
  const prior = normalised(spec.prior ?? new Array<number>(classes).fill(1));
  const temperature = spec.calibration === 'none' ? 1 : (samples.temperatures?.[rule] ?? 1);
  const probabilities = new Float64Array(labels.length * classes);
  const weights = Object.fromEntries(names.map((name) => [name, new Float64Array(labels.length)]));
  for (let i = 0; i < labels.length; i += 1) {
    const available = names.filter((name) => samples.modalities[name]!.present[i] === 1);
    const logs = available.map((name) => logSoftmax(logitsFor(samples.modalities[name]!, rule === 'product-uncalibrated' ? 'none' : spec.calibration).subarray(i * classes, (i + 1) * classes)));
    if (logs.length === 0) probabilities.set(prior, i * classes);
    else {
      const one = fuseOne(rule, { logs, spec, prior });
      available.forEach((name, m) => (weights[name]![i] = one.weights[m]!));
      probabilities.set(atTemperature(one.p, temperature), i * classes);
    }
  }
  return { probabilities, weights };
}

function atTemperature(p: Float64Array, temperature: number): Float64Array {
  return temperature === 1 ? p : logSoftmax(p.map((share) => Math.log(Math.max(share, 1e-300)) / temperature)).map(Math.exp);
}

/** As the study calibrates, or as the model gives them. */
export function logitsFor({ logits, uncalibrated = logits }: ScoredModality, calibration: FusionSpec['calibration']): Float32Array {
  return calibration === 'none' ? uncalibrated : logits;
}

interface FusedOne {
  readonly p: Float64Array;
  readonly weights: Float64Array;
}

function fuseOne(rule: FusionRule, { logs, spec, prior }: { readonly logs: readonly Float64Array[]; readonly spec: FusionSpec; readonly prior: Float64Array }): FusedOne {
  if (rule === 'robust' || (rule === 'hybrid' && spec.pool === 'robust')) return robust({ logs, prior, contamination: spec.contamination });
  const weights = weightsOf(rule, logs, spec);
  return { weights, p: pool(poolOf(rule, spec), { logs, weights, prior }) };
}

/**
 * Ours: a product of experts each of which is, with probability `contamination`, about somebody else or about nothing, and then says the prior.
 *   p(y) proportional to prior(y) prod_m [(1 - c) p_m(y) / prior(y) + c]
 * Where modalities agree it is the product; where one contradicts all others it cannot veto them. The weight of a modality is the posterior probability that it is sound,
 * normalised to a sum of one: the disagreement term of the hybrid uncertainty, derived instead of postulated (its entropy term is in p_m itself: who is unsure says little).
 */
function robust({ logs, prior, contamination }: { readonly logs: readonly Float64Array[]; readonly prior: Float64Array; readonly contamination: number }): FusedOne {
  const factor = (log: Float64Array, c: number): number => ((1 - contamination) * Math.exp(log[c]!)) / prior[c]! + contamination;
  const p = logSoftmax(prior.map((own, c) => Math.log(own) + logs.reduce((sum, log) => sum + Math.log(Math.max(factor(log, c), 1e-300)), 0))).map(Math.exp);
  const sound = logs.map((log) => p.reduce((sum, share, c) => sum + share * (1 - contamination / Math.max(factor(log, c), 1e-300)), 0));
  const total = sound.reduce((a, b) => a + b, 0);
  return { p, weights: Float64Array.from(sound, (one) => (total > 0 ? one / total : 1 / logs.length)) };
}

function weightsOf(rule: Exclude<FusionRule, 'robust'>, logs: readonly Float64Array[], spec: FusionSpec): Float64Array {
  switch (rule) {
    case 'equal':
    case 'product':
    case 'product-uncalibrated':
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
  if (rule === 'hybrid') return spec.pool === 'linear' ? 'linear' : 'log';
  return rule === 'product' || rule === 'product-uncalibrated' || rule === 'hybrid-log' ? 'log' : 'linear';
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
