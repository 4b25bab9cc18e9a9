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
  const calibration = calibrationOf(rule, spec);
  const temperature = calibration === 'none' ? 1 : (samples.temperatures?.[rule] ?? 1);
  const probabilities = new Float64Array(labels.length * classes);
  const weights = Object.fromEntries(names.map((name) => [name, new Float64Array(labels.length)]));
  for (let i = 0; i < labels.length; i += 1) {
    const available = names.filter((name) => speaks(samples.modalities[name]!, i, calibration));
    const logs = available.map((name) => logSoftmax(logitsOf(samples.modalities[name]!, i, { classes, calibration })));
    if (logs.length === 0) probabilities.set(prior, i * classes);
    else {
      const one = fuseOne(rule, { logs, spec, prior });
      available.forEach((name, m) => (weights[name]![i] = one.weights[m]!));
      probabilities.set(atTemperature(one.p, temperature), i * classes);
    }
  }
  return { probabilities, weights };
}

/**
 * How much of the calibration a rule sees. Each record's reliability is part of the study's own rule and of the robust product; the rules that they are compared with are those
 * of the literature, every one of them with fitted temperatures.
 */
export function calibrationOf(rule: FusionRule, { calibration }: Pick<FusionSpec, 'calibration'>): FusionSpec['calibration'] {
  if (rule === 'product-uncalibrated') return 'none';
  return rule === 'hybrid' || rule === 'robust' || calibration === 'none' ? calibration : 'temperature';
}

/** Does the modality say anything about this sample? */
export function speaks({ present, reliability }: ScoredModality, sample: number, calibration: FusionSpec['calibration']): boolean {
  return present[sample] === 1 && (calibration !== 'selection' || (reliability?.[sample] ?? 1) > 0);
}

/** [classes] */
export function logitsOf({ logits, temperature = 1, reliability }: ScoredModality, sample: number, { classes, calibration }: { readonly classes: number; readonly calibration: FusionSpec['calibration'] }): Float32Array {
  const own = logits.subarray(sample * classes, (sample + 1) * classes);
  if (calibration === 'none') return own;
  const factor = (calibration === 'selection' ? (reliability?.[sample] ?? 1) : 1) / temperature;
  return own.map((logit) => logit * factor);
}

function atTemperature(p: Float64Array, temperature: number): Float64Array {
  if (temperature === 1) return p;
  const logs = new Float64Array(p.length);
  for (let c = 0; c < p.length; c += 1) logs[c] = Math.log(Math.max(p[c]!, 1e-300)) / temperature;
  return logSoftmax(logs).map(Math.exp);
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
  const factors = logs.map((log) => log.map((l, c) => Math.max(((1 - contamination) * Math.exp(l)) / prior[c]! + contamination, 1e-300)));
  const joint = prior.map(Math.log);
  for (const factor of factors) for (let c = 0; c < joint.length; c += 1) joint[c]! += Math.log(factor[c]!);
  const p = logSoftmax(joint).map(Math.exp);
  const sound = factors.map((factor) => p.reduce((sum, share, c) => sum + share * (1 - contamination / factor[c]!), 0));
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
