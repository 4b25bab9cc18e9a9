import { trainRound } from '../../client/train.ts';
import { checkUpdate, updateNormBound } from '../../coordinator/check-update.ts';
import { flatOf, initialModel } from '../../coordinator/model-state.ts';
import { combine } from '../../coordinator/run.ts';
import type { Checkpoint } from '../../coordinator/store/checkpoint.ts';
import type { Dataset } from '../../shared/data/dataset.ts';
import { AntiphonError, invariant } from '../../shared/errors.ts';
import type { Network } from '../../shared/model/network.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { roundedUp, worstPld } from '../../shared/privacy/accountant.ts';
import { worstCliques, type SiteHistory } from '../../shared/privacy/composition.ts';
import type { PrivacyEvent } from '../../shared/privacy/event.ts';
import { eventOf, type ResolvedStudy } from '../../shared/study/resolve.ts';
import { modalityOfRound, scheduleOrder } from '../../shared/study/schedule.ts';
import type { Study } from '../../shared/study/schema.ts';

export interface StudyParts {
  readonly study: Study;
  readonly resolved: ResolvedStudy;
  readonly networks: ReadonlyMap<string, Network>;
}

/** What the coordinator sees of a round: the model it sent out and every site's update. */
export interface ReleasedRound {
  readonly round: number;
  readonly modality: string;
  /** Flat (encoder, head) weights that the round started from. */
  readonly weights: Float32Array;
  readonly updates: ReadonlyMap<string, Float32Array>;
}

/**
 * A study's schedule in this process, for audits: the sites' own training (client/train.ts) and the coordinator's own arithmetic, round by round until the
 * schedule or the budget ends; no network, no ledger. `observe` gets every round's releases. Returns the last checkpoint. An adaptive schedule follows `order`, as a fixed one does: one of the ways
 * in which it can fall.
 */
export async function runInProcess(
  { study, resolved, networks }: StudyParts,
  { datasets, order = scheduleOrder(study), observe, signal }: {
    /** By site; sites without one do not take part. */
    readonly datasets: ReadonlyMap<string, Dataset>;
    /** Modalities in turn; default: the study's own. */
    readonly order?: readonly string[];
    readonly observe?: (round: ReleasedRound) => void | Promise<void>;
    readonly signal?: AbortSignal;
  },
): Promise<Checkpoint> {
  let checkpoint: Checkpoint = { round: 0, model: initialModel(study, networks), average: undefined, optimisers: new Map(), headMoments: new Map(), progress: undefined };
  const steps = new Map<string, number>();
  for (let round = 1; round <= study.schedule.rounds; round += 1) {
    if (signal?.aborted === true) throw new AntiphonError('interrupted', `stopped before round ${round}; nothing was kept`);
    const modality = modalityOfRound(order, round);
    const [plan, network] = [resolved.modalities.get(modality), networks.get(modality)];
    invariant(plan !== undefined && network !== undefined, `modality ${modality}`);
    const { mechanism, learningRate } = plan;
    const { momentum } = study.optimiser.local;
    const sites = study.sites.filter((site) => site.modality === modality && datasets.has(site.name));
    for (const { name } of sites) steps.set(name, (steps.get(name) ?? 0) + mechanism.steps);
    if (epsilonOfSteps({ study, resolved }, steps) > resolved.budget.epsilon) break;
    const weights = flatOf(checkpoint.model, modality);
    const updates = new Map<string, Float32Array>();
    for (const { name, patients } of sites) {
      const update = await trainRound({ network, dataset: datasets.get(name)!, weights, mechanism, patients, learningRate, momentum, random: createKeyStream() });
      const normBound = updateNormBound({ mechanism, parameters: network.size, patients, learningRate, momentum });
      const problem = checkUpdate(update, { parameters: network.size, normBound });
      if (problem !== undefined) throw new AntiphonError('training-failed', `round ${round}, site "${name}": ${problem.message}`);
      updates.set(name, update);
    }
    await observe?.({ round, modality, weights, updates });
    if (updates.size > 0) checkpoint = combine({ study, networks }, checkpoint, { round, modality }, [...updates].map(([site, update]) => ({ receipt: { site }, update })));
  }
  return checkpoint;
}

/** Epsilon (PLD) at the study's delta of what these sites have released, by steps taken; as the ledger would count it. */
export function epsilonOfSteps({ study, resolved }: Pick<StudyParts, 'study' | 'resolved'>, steps: ReadonlyMap<string, number>): number {
  const sites = study.sites.flatMap(({ name, modality }): SiteHistory[] => {
    const taken = steps.get(name) ?? 0;
    const plan = resolved.modalities.get(modality);
    if (taken === 0 || plan === undefined) return [];
    const event: PrivacyEvent = { ...eventOf(plan.mechanism), steps: taken };
    return [{ site: name, modality, events: [event] }];
  });
  const cliques = new Map(
    [...resolved.modalities].map(([modality, { sitesDisjoint }]) => {
      const names = study.sites.filter((site) => site.modality === modality).map(({ name }) => name);
      return [modality, sitesDisjoint ? names.map((name) => [name]) : [names]];
    }),
  );
  return roundedUp(worstPld({ cliques: worstCliques({ sites, cliques }), delta: resolved.budget.delta }).epsilon);
}
