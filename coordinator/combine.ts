import { invariant } from '../shared/errors.ts';
import type { ReserveEntry } from '../shared/ledger/entry.ts';
import { combineUpdates, freshOptimiser, serverStep } from './aggregate.ts';
import { averageWith, isAveraged } from './average.ts';
import { projectHeadUpdate, rememberHeadUpdate } from './head-projection.ts';
import { flatOf, withFlat } from './model-state.ts';
import type { StudyContext } from './run.ts';
import type { Checkpoint } from './store/checkpoint.ts';

/** Weighted mean, head protection, server optimiser, average of the last models: all of it post-processing of noised updates. */
export function combine(
  { study, networks }: Pick<StudyContext, 'study' | 'networks'>,
  checkpoint: Checkpoint,
  { round, modality }: Pick<ReserveEntry, 'round' | 'modality'>,
  delivered: readonly { readonly receipt: { readonly site: string }; readonly update: Float32Array }[],
): Checkpoint {
  const network = networks.get(modality);
  invariant(network !== undefined, `network of ${modality}`);
  const weightOf = new Map(study.sites.map(({ name, patients }) => [name, patients]));
  const delta = combineUpdates(delivered.map(({ receipt, update }) => ({ update, weight: weightOf.get(receipt.site) ?? 0 })));
  let { headMoments } = checkpoint;
  if (study.head.protection === 'released') {
    const shape = { features: study.head.features, classes: study.classes.length };
    const kernel = delta.slice(network.encoderSize, network.encoderSize + shape.features * shape.classes);
    delta.set(projectHeadUpdate(headMoments, { modality, kernel, shape }), network.encoderSize);
    headMoments = rememberHeadUpdate(headMoments, { modality, kernel, shape });
  }
  const { weights, state } = serverStep({
    weights: flatOf(checkpoint.model, modality),
    delta,
    state: checkpoint.optimisers.get(modality) ?? freshOptimiser(network.size),
    spec: study.optimiser.server,
  });
  const model = withFlat(checkpoint.model, modality, weights);
  const average = isAveraged(study, round) ? averageWith(checkpoint.average, model) : checkpoint.average;
  return { round, model, average, optimisers: new Map([...checkpoint.optimisers, [modality, state]]), headMoments, progress: checkpoint.progress };
}
