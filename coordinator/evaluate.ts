import type { EvaluationSet } from '../shared/data/evaluation-set.ts';
import type { Evaluation, ScoredSamples } from '../shared/fusion/evaluation.ts';
import { evaluateSamples } from '../shared/fusion/evaluate.ts';
import { invariant } from '../shared/errors.ts';
import type { Network } from '../shared/model/network.ts';
import { predictLogits } from '../shared/model/predict.ts';
import { disposeWeights, loadWeights } from '../shared/model/weights.ts';
import type { FusionSpec } from '../shared/study/schema.ts';
import { flatOf, type ModelState } from './model-state.ts';

interface Scoring {
  readonly model: ModelState;
  readonly networks: ReadonlyMap<string, Network>;
  readonly set: EvaluationSet;
  readonly classes: number;
}

/** Scores every modality of public, aligned samples with the released model and fuses them by every rule. */
export async function evaluateModel({ fusion, ...scoring }: Scoring & { readonly fusion: FusionSpec }): Promise<Evaluation> {
  return evaluateSamples(await scoreSamples(scoring), fusion);
}

/** The logits of every modality, before any fusion. */
export async function scoreSamples({ model, networks, set, classes }: Scoring): Promise<ScoredSamples> {
  const modalities: Record<string, { logits: Float32Array; present: Uint8Array }> = {};
  for (const [name, { features, present }] of Object.entries(set.modalities)) {
    const network = networks.get(name);
    invariant(network !== undefined, `network of ${name}`);
    const weights = loadWeights(network, flatOf(model, name));
    try {
      modalities[name] = { logits: await predictLogits({ network, weights, features }), present };
    } finally {
      disposeWeights(weights);
    }
  }
  return { classes, labels: set.labels, modalities };
}
