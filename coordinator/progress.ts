import type { EvaluationSet } from '../shared/data/evaluation-set.ts';
import { invariant } from '../shared/errors.ts';
import { logSoftmax } from '../shared/fusion/hybrid.ts';
import { withoutBlanks } from '../shared/fusion/typicality.ts';
import { fromDecimal } from '../shared/ledger/decimal.ts';
import type { PlanEntry } from '../shared/ledger/entry.ts';
import { NO_TURNS, type LedgerState } from '../shared/ledger/fold.ts';
import type { Network } from '../shared/model/network.ts';
import { predictLogits } from '../shared/model/predict.ts';
import { disposeWeights, loadWeights } from '../shared/model/weights.ts';
import { rdpOfEvent } from '../shared/privacy/rdp.ts';
import { chooseModality, type ModalityRecord } from '../shared/study/adaptive.ts';
import { eventOf, type ResolvedStudy } from '../shared/study/resolve.ts';
import { modalityOfRound } from '../shared/study/schedule.ts';
import type { Study } from '../shared/study/schema.ts';
import { flatOf, type ModelState } from './model-state.ts';

/**
 * What an adaptive schedule goes by: scores of released models on the public selection part, and nothing else. Part of the checkpoint, in float32 as it is stored there: a coordinator that
 * was stopped and started again decides the same.
 */
export interface Progress {
  /** Of the last model, by modality: mean negative log-likelihood of the selection records that have it, nats, by this modality alone, uncalibrated. */
  readonly nll: ReadonlyMap<string, number>;
  /** By modality: how much each of its last `window` committed rounds lowered its own; the newest last. */
  readonly gains: ReadonlyMap<string, readonly number[]>;
}

/** Of the initial model. */
export async function firstProgress(input: ScoredModel): Promise<Progress> {
  return { nll: await selectionNll(input), gains: new Map() };
}

/** After a round of `modality` has made this model out of the one before. */
export async function progressAfter(before: Progress, input: ScoredModel & { readonly modality: string; readonly window: number }): Promise<Progress> {
  const { modality, window } = input;
  const nll = await selectionNll(input);
  const gain = Math.fround((before.nll.get(modality) ?? 0) - (nll.get(modality) ?? 0));
  return { nll, gains: new Map([...before.gains, [modality, [...(before.gains.get(modality) ?? []), gain].slice(-window)]]) };
}

interface ScoredModel {
  /** The one that trains on, not an average: it moves with every round. */
  readonly model: ModelState;
  readonly networks: ReadonlyMap<string, Network>;
  readonly selection: EvaluationSet;
}

async function selectionNll({ model, networks, selection }: ScoredModel): Promise<ReadonlyMap<string, number>> {
  const scores = new Map<string, number>();
  for (const [name, network] of networks) {
    const inputs = selection.modalities[name];
    invariant(inputs !== undefined, `modality ${name} of the selection part`);
    const weights = loadWeights(network, flatOf(model, name));
    try {
      const logits = await predictLogits({ network, weights, features: inputs.features });
      const present = withoutBlanks({ ...inputs, size: network.inputSize, vocabulary: network.vocabulary });
      scores.set(name, Math.fround(meanNll(logits, { labels: selection.labels, present })));
    } finally {
      disposeWeights(weights);
    }
  }
  return scores;
}

/** 0 where no record has the modality: it never improves, and gets its least. */
function meanNll(logits: Float32Array, { labels, present }: { readonly labels: Int32Array; readonly present: Uint8Array }): number {
  const classes = logits.length / labels.length;
  let [sum, count] = [0, 0];
  for (let i = 0; i < labels.length; i += 1) {
    if (present[i] === 0) continue;
    sum -= logSoftmax(logits.subarray(i * classes, (i + 1) * classes))[labels[i]!]!;
    count += 1;
  }
  return count === 0 ? 0 : sum / count;
}

/**
 * The modality of the next round: by the PLAN's order, or by what the ledger and the last checkpoint say. Both are durable before the question is asked, so that the answer is the same however
 * often it is asked, until RESERVE has written it down.
 */
export function nextModality({ study, resolved }: { readonly study: Study; readonly resolved: ResolvedStudy }, ledger: LedgerState, progress: Progress | undefined): string {
  const { plan, lastRound, turns } = ledger;
  invariant(plan !== undefined, 'a PLAN before any round');
  const round = lastRound + 1;
  if (plan.schedule === undefined) return modalityOfRound(plan.order, round);
  const records = [...resolved.modalities.keys()].map((name): [string, ModalityRecord] => {
    const { reserved, idle } = turns.get(name) ?? NO_TURNS;
    return [name, { reserved, idle, gains: progress?.gains.get(name) ?? [], cost: costOfRound(resolved, plan, name) }];
  });
  return chooseModality(study, round, new Map(records));
}

/** Renyi DP at the PLAN's order, which adds up over rounds; without privacy, steps. */
function costOfRound({ modalities }: ResolvedStudy, plan: PlanEntry, name: string): number {
  const mechanism = modalities.get(name)?.mechanism;
  invariant(mechanism !== undefined, `modality ${name}`);
  return mechanism.protection === 'none' ? mechanism.steps : (rdpOfEvent(eventOf(mechanism), [fromDecimal(plan.accountant.rdpOrder)])[0] ?? NaN);
}
