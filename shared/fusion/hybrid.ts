/**
 * Hybrid uncertainty. OUR definition (PAMRL, Sun et al. 2025, combines entropy and KL divergence but its formulas are not public to
 * us). Per sample, over its M available modalities and C classes, p_m the softmax of modality m:
 *   H~_m = H(p_m) / ln C                      in [0, 1]
 *   K~_m = KL(p_m || pbar) / ln M             in [0, 1]; pbar = mean over m (`consensus`), KL <= ln M
 *        = 1 - exp(-KL(p_m || p_rest))        in [0, 1); p_rest = mean over the others (`leave-one-out`), whose KL has no bound
 *   U_m = alpha H~_m + (1 - alpha) K~_m,  w = softmax(-U / tau)
 * M = 1: w = 1. Everything is of one sample: the batch never influences a prediction.
 */
export interface HybridSettings {
  readonly alpha: number;
  readonly tau: number;
  readonly reference: 'consensus' | 'leave-one-out';
}

export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  let highest = -Infinity;
  for (let c = 0; c < logits.length; c += 1) highest = Math.max(highest, logits[c]!);
  let sum = 0;
  for (let c = 0; c < logits.length; c += 1) sum += Math.exp(logits[c]! - highest);
  const shift = highest + Math.log(sum);
  const result = new Float64Array(logits.length);
  for (let c = 0; c < logits.length; c += 1) result[c] = logits[c]! - shift;
  return result;
}

/** Nats; 0 ln 0 = 0. */
export function entropy(logProbabilities: Float64Array): number {
  let sum = 0;
  for (const l of logProbabilities) sum -= l === -Infinity ? 0 : Math.exp(l) * l;
  return sum;
}

/** KL(p || q), nats; q given as probabilities. */
function divergence(logP: Float64Array, q: Float64Array): number {
  let sum = 0;
  logP.forEach((l, c) => {
    const p = Math.exp(l);
    if (p > 0) sum += p * (l - Math.log(Math.max(q[c]!, 1e-300)));
  });
  return Math.max(0, sum);
}

function mean(distributions: readonly Float64Array[]): Float64Array {
  const result = new Float64Array(distributions[0]!.length);
  for (const logP of distributions) logP.forEach((l, c) => (result[c]! += Math.exp(l) / distributions.length));
  return result;
}

/** U_m of the available modalities of one sample. */
export function hybridUncertainty(logProbabilities: readonly Float64Array[], { alpha, reference }: HybridSettings): Float64Array {
  const modalities = logProbabilities.length;
  const consensus = mean(logProbabilities);
  return Float64Array.from(logProbabilities, (logP, m) => {
    const normalisedEntropy = entropy(logP) / Math.log(logP.length);
    let disagreement = 0;
    if (modalities > 1) {
      disagreement = reference === 'consensus' ? divergence(logP, consensus) / Math.log(modalities) : 1 - Math.exp(-divergence(logP, mean(logProbabilities.filter((_, other) => other !== m))));
    }
    return alpha * normalisedEntropy + (1 - alpha) * disagreement;
  });
}

/** Fusion weights of the available modalities of one sample; they sum to one. */
export function fusionWeights(logProbabilities: readonly Float64Array[], settings: HybridSettings): Float64Array {
  const uncertainty = hybridUncertainty(logProbabilities, settings);
  return logSoftmax(uncertainty.map((u) => -u / settings.tau)).map(Math.exp);
}
