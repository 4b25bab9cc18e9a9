import type { EvaluationSet } from '../shared/data/evaluation-set.ts';
import { invariant } from '../shared/errors.ts';
import type { ScoredModality } from '../shared/fusion/evaluation.ts';
import { fuse } from '../shared/fusion/rules.ts';
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
import type { FusionSpec, Study } from '../shared/study/schema.ts';
import { flatOf, type ModelState } from './model-state.ts';
import type { StudyContext } from './run.ts';
import type { Checkpoint } from './store/checkpoint.ts';

/**
 * What an adaptive schedule goes by: scores of released models on the public selection part, and nothing else. Part of the checkpoint, in float32 as it is stored there: a coordinator that
 * was stopped and started again decides the same.
 */
export interface Progress {
  /** Of the last model: mean negative log-likelihood of the selection part, nats, by the study's own fused answer, uncalibrated. It is what a round is to improve, whoever trains in it. */
  readonly nll: number;
  /** By modality: how much each of its last `window` committed rounds lowered it; the newest last. */
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
  return { nll, gains: new Map([...before.gains, [modality, [...(before.gains.get(modality) ?? []), Math.fround(before.nll - nll)].slice(-window)]]) };
}

type Studied = Pick<StudyContext, 'study' | 'networks'>;

/** The initial checkpoint; of a study that is not adaptive as it is. */
export async function withFirstProgress({ study, networks }: Studied, checkpoint: Checkpoint, selection: EvaluationSet | undefined): Promise<Checkpoint> {
  if (study.schedule.adaptive === undefined || selection === undefined) return checkpoint;
  return { ...checkpoint, progress: await firstProgress({ model: checkpoint.model, networks, selection, fusion: study.fusion }) };
}

/** The checkpoint of a round, which has its predecessor's progress; of a study that is not adaptive as it is. */
export async function withProgress({ study, networks }: Studied, checkpoint: Checkpoint, { modality, selection }: { readonly modality: string; readonly selection: EvaluationSet | undefined }): Promise<Checkpoint> {
  const { adaptive } = study.schedule;
  if (adaptive === undefined || selection === undefined || checkpoint.progress === undefined) return checkpoint;
  return { ...checkpoint, progress: await progressAfter(checkpoint.progress, { model: checkpoint.model, networks, selection, fusion: study.fusion, modality, window: adaptive.window }) };
}

interface ScoredModel {
  /** The one that trains on, not an average: it moves with every round. */
  readonly model: ModelState;
  readonly networks: ReadonlyMap<string, Network>;
  readonly selection: EvaluationSet;
  readonly fusion: FusionSpec;
}

/** A model that overflows is no improvement: it counts as infinitely bad, in numbers that can be subtracted. */
const WORST_NLL = 1e6;

async function selectionNll({ model, networks, selection, fusion }: ScoredModel): Promise<number> {
  const { labels } = selection;
  const modalities: Record<string, ScoredModality> = {};
  let classes = 0;
  for (const [name, network] of networks) {
    const inputs = selection.modalities[name];
    invariant(inputs !== undefined, `modality ${name} of the selection part`);
    const weights = loadWeights(network, flatOf(model, name));
    try {
      const logits = await predictLogits({ network, weights, features: inputs.features });
      modalities[name] = { logits, present: withoutBlanks({ ...inputs, size: network.inputSize, vocabulary: network.vocabulary }) };
      ({ classes } = network.spec);
    } finally {
      disposeWeights(weights);
    }
  }
  const { probabilities } = fuse('hybrid', { classes, labels, modalities }, fusion);
  const sum = labels.reduce((before, label, i) => before - Math.log(Math.max(probabilities[i * classes + label]!, 1e-300)), 0);
  const nll = sum / Math.max(1, labels.length);
  return Math.fround(nll < WORST_NLL ? nll : WORST_NLL);
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
