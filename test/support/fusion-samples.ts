import type { ScoredRecords } from '../../shared/fusion/calibration.ts';
import type { ScoredSamples } from '../../shared/fusion/evaluation.ts';
import { logSoftmax } from '../../shared/fusion/hybrid.ts';
import { seededUniform } from '../../shared/model/initialise.ts';
import type { FusionSpec } from '../../shared/study/schema.ts';

export const spec: FusionSpec = { alpha: 0.4, tau: 0.3, pool: 'robust', contamination: 0.07, calibration: 'selection', reference: 'consensus' };

export function oneSample(...logits: readonly (readonly number[])[]): ScoredSamples {
  return { classes: logits[0]!.length, labels: Int32Array.of(0), modalities: Object.fromEntries(logits.map((own, m) => [`m${m}`, { logits: Float32Array.from(own), present: Uint8Array.of(1) }])) };
}

/** A network of one layer per class: labels drawn from softmax(logits / T), so that T is the temperature to find. */
export function records(count: number, temperature: number, seed: number): { readonly labels: Int32Array; readonly clean: ScoredRecords } {
  const uniform = seededUniform(seed, 'records');
  const classes = 4;
  const logits = Float32Array.from({ length: count * classes }, () => 6 * (uniform() - 0.5));
  const labels = Int32Array.from({ length: count }, (_, i) => {
    const p = logSoftmax(logits.subarray(i * classes, (i + 1) * classes).map((logit) => logit / temperature)).map(Math.exp);
    let rest = uniform();
    for (let c = 0; c < classes; c += 1) if ((rest -= p[c]!) < 0) return c;
    return classes - 1;
  });
  return { labels, clean: { logits, present: new Uint8Array(count).fill(1), atypicality: undefined } };
}
