import { AntiphonError } from '../shared/errors.ts';
import type { EpsilonPair } from '../shared/privacy/accountant.ts';
import { modalityOfRound } from '../shared/study/schedule.ts';
import { ACCOUNTANTS, epsilonAfter, milestones, noiseFor, roundsThatFit, type Plan } from './plan-model.ts';

export interface PlanQuestion {
  readonly plan: Plan;
  /** The budget. Omitted: what the plan spends. */
  readonly epsilon: number | undefined;
  /** Omitted: calibrated for the budget, by PLD; under an adaptive schedule by what the study binds. */
  readonly noiseMultiplier: number | undefined;
}

export interface PlanAnswer {
  readonly plan: Plan;
  readonly budget: number | undefined;
  /** Of all modalities. */
  readonly noiseMultiplier: number;
  /** What each accountant asks for; undefined where the noise was given. Infinite where no noise would be enough by the one that does not bind. */
  readonly calibrated: EpsilonPair | undefined;
  /** After the whole plan. */
  readonly epsilon: EpsilonPair;
  /** Undefined without a budget. */
  readonly roundsThatFit: EpsilonPair | undefined;
  /** `modality`: that of the round; undefined where the schedule is adaptive, and the worst that it can have done is counted. */
  readonly curve: readonly { readonly round: number; readonly modality: string | undefined; readonly epsilon: EpsilonPair }[];
}

const POINTS_OF_CURVE = 33;

/** Everything that is known about a plan, from one of: a budget (then the noise is looked for), a noise multiplier, both. */
export function answerPlan({ plan, epsilon: budget, noiseMultiplier: given }: PlanQuestion): PlanAnswer {
  const binding = plan.binding;
  const calibrated = given === undefined && budget !== undefined ? both((accountant) => (accountant === binding ? noiseFor(accountant, plan, budget) : noiseOrNone(accountant, plan, budget))) : undefined;
  const noiseMultiplier = given ?? calibrated?.[binding] ?? NaN;
  return {
    plan,
    budget,
    noiseMultiplier,
    calibrated,
    epsilon: epsilonAfter(plan, plan.rounds, noiseMultiplier),
    roundsThatFit: budget === undefined ? undefined : both((accountant) => roundsThatFit(accountant, plan, noiseMultiplier, budget)),
    curve: milestones(plan.rounds, POINTS_OF_CURVE).map((round) => ({
      round,
      modality: plan.adaptive === undefined ? modalityOfRound(plan.order, round) : undefined,
      epsilon: epsilonAfter(plan, round, noiseMultiplier),
    })),
  };
}

/** What is told for comparison only must not keep back the answer. */
function noiseOrNone(accountant: keyof EpsilonPair, plan: Plan, budget: number): number {
  try {
    return noiseFor(accountant, plan, budget);
  } catch (error) {
    if (error instanceof AntiphonError && error.code === 'study-invalid') return Infinity;
    throw error;
  }
}

function both(valueOf: (accountant: keyof EpsilonPair) => number): EpsilonPair {
  const [pld = NaN, rdp = NaN] = ACCOUNTANTS.map(valueOf);
  return { pld, rdp };
}

/** The one JSON object of `--json`; an infinite epsilon is null. */
export function planJson({ plan, budget, noiseMultiplier, calibrated, epsilon, roundsThatFit: fit, curve }: PlanAnswer): Record<string, unknown> {
  return {
    noiseMultiplier,
    ...(calibrated === undefined ? {} : { noiseMultiplierRdp: Number.isFinite(calibrated.rdp) ? calibrated.rdp : null }),
    epsilon,
    delta: plan.delta,
    ...(budget === undefined ? {} : { budget }),
    [plan.unit === 'round' ? 'rounds' : 'steps']: plan.rounds,
    ...(fit === undefined ? {} : { [plan.unit === 'round' ? 'roundsThatFit' : 'stepsThatFit']: fit }),
    [plan.unit === 'round' ? 'afterRound' : 'afterStep']: curve.map((point) => ({
      [plan.unit]: point.round,
      ...(plan.modalities.size > 1 && point.modality !== undefined ? { modality: point.modality } : {}),
      epsilon: point.epsilon,
    })),
  };
}
