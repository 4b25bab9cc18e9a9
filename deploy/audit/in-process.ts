import { trainRound } from '../../client/train.ts';
import { checkUpdate, updateNormBound } from '../../coordinator/check-update.ts';
import { flatOf, initialModel } from '../../coordinator/model-state.ts';
import { combine } from '../../coordinator/combine.ts';
import type { Checkpoint } from '../../coordinator/store/checkpoint.ts';
import type { Dataset } from '../../shared/data/dataset.ts';
import { AntiphonError, invariant } from '../../shared/errors.ts';
import type { Network } from '../../shared/model/network.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { roundedUp, worstPld, worstRdp, type EpsilonPair } from '../../shared/privacy/accountant.ts';
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

export interface TrainedRound {
  /** From 1, as the study's schedule counts, aborted rounds among them: an average of the last models goes by it. */
  readonly round: number;
  readonly modality: string;
}

/**
 * A study's schedule in this process, for audits: the sites' own training (client/train.ts) and the coordinator's own arithmetic, round by round until the
 * rounds or the budget (by the study's binding accountant) end; no network, no ledger. `observe` gets every round's releases. Returns the last checkpoint.
 */
export async function runInProcess(
  { study, resolved, networks }: StudyParts,
  { datasets, rounds = scheduledRounds(study), observe, signal }: {
    /** By site; sites without one do not take part. */
    readonly datasets: ReadonlyMap<string, Dataset>;
    /** These and no more; default: all of the schedule, modalities in turn, which of an adaptive one is one of the ways in which it can fall. */
    readonly rounds?: readonly TrainedRound[];
    readonly observe?: (round: ReleasedRound) => void | Promise<void>;
    readonly signal?: AbortSignal;
  },
): Promise<Checkpoint> {
  let checkpoint: Checkpoint = { round: 0, model: initialModel(study, networks), average: undefined, optimisers: new Map(), headMoments: new Map(), progress: undefined };
  const steps = new Map<string, number>();
  for (const { round, modality } of rounds) {
    if (signal?.aborted === true) throw new AntiphonError('interrupted', `stopped before round ${round}; nothing was kept`);
    const [plan, network] = [resolved.modalities.get(modality), networks.get(modality)];
    invariant(plan !== undefined && network !== undefined, `modality ${modality}`);
    const { mechanism, learningRate } = plan;
    const { momentum } = study.optimiser.local;
    const sites = study.sites.filter((site) => site.modality === modality && datasets.has(site.name));
    for (const { name } of sites) steps.set(name, (steps.get(name) ?? 0) + mechanism.steps);
    if (epsilonOfSteps({ study, resolved }, steps)[resolved.accountant.binding] > resolved.budget.epsilon) break;
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

function scheduledRounds(study: Study): readonly TrainedRound[] {
  const order = scheduleOrder(study);
  return Array.from({ length: study.schedule.rounds }, (_, i) => ({ round: i + 1, modality: modalityOfRound(order, i + 1) }));
}

/** Epsilon at the study's delta of what these sites have released, by steps taken; as the ledger would count it, RDP at the study's order. */
export function epsilonOfSteps({ study, resolved }: Pick<StudyParts, 'study' | 'resolved'>, steps: ReadonlyMap<string, number>): EpsilonPair {
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
  const worst = { cliques: worstCliques({ sites, cliques }), delta: resolved.budget.delta };
  return { pld: roundedUp(worstPld(worst).epsilon), rdp: roundedUp(worstRdp({ ...worst, order: resolved.accountant.rdpOrder })) };
}
