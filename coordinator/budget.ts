import { epsilonFigure } from '../shared/epsilon-text.ts';
import { fromDecimal } from '../shared/ledger/decimal.ts';
import type { LedgerMechanism, ReserveEntry } from '../shared/ledger/entry.ts';
import type { LedgerState } from '../shared/ledger/fold.ts';
import { bindingEpsilon, charge, chargesIfReserved, statedSpending, wholePlanDetail, wholePlanFits, type ChargedSteps } from '../shared/ledger/spending.ts';
import { invariant } from '../shared/errors.ts';
import { worstAllocations, type RoundBounds } from '../shared/study/adaptive.ts';
import { modalityOfRound } from '../shared/study/schedule.ts';

export type BudgetDecision = { readonly type: 'reserve'; readonly entry: ReserveEntry } | { readonly type: 'exhausted'; readonly detail: string };

/**
 * May this round run? Epsilon of everything committed, everything reserved and never refunded, and this round at its worst case; above
 * the budget the answer is no, before anyone is asked to train. The same functions verify the entry at sites and auditors.
 */
export function reserveRound(
  ledger: LedgerState,
  round: { readonly round: number; readonly modality: string; readonly sites: readonly string[]; readonly mechanism: LedgerMechanism; readonly modelIn: string },
): BudgetDecision {
  const { plan, spent } = ledger;
  invariant(plan !== undefined, 'a PLAN before any round');
  const after = statedSpending(ledger, chargesIfReserved(ledger, round));
  const epsilon = bindingEpsilon(plan, after);
  if (!(epsilon <= fromDecimal(plan.budget.epsilon))) {
    return {
      type: 'exhausted',
      detail: `round ${round.round} would bring epsilon to ${epsilonFigure(epsilon, 4)}, above the budget of ${plan.budget.epsilon} (delta ${after.delta}); ${epsilonFigure(bindingEpsilon(plan, spent), 4)} is spent`,
    };
  }
  if (!wholePlanFits(ledger)) {
    return { type: 'exhausted', detail: `${wholePlanDetail(ledger)}; ${WHOLE_PLAN_TODO}` };
  }
  return { type: 'reserve', entry: { type: 'reserve', ...round, sites: [...round.sites], epsilonBefore: spent, epsilonAfter: after } };
}

const WHOLE_PLAN_TODO = 'begin anew with sites that sign that they share no patient, fewer rounds or more noise, one sampling rate for all modalities, or privacy.accountant: rdp';

/**
 * So many rounds of the plan fit its budget, from the first on, where every enrolled site takes part in each of its modality: by what the sites have signed of their patients, which may
 * be less than the study file counts on. Epsilon only grows with the rounds: halving finds the number. Where the PLAN leaves open which modality has a round, so many fit whatever it comes to.
 */
export function roundsThatFit(ledger: Pick<LedgerState, 'plan' | 'sites'>, bounds: ReadonlyMap<string, RoundBounds>): number {
  const { plan, sites } = ledger;
  invariant(plan !== undefined, 'a PLAN before any round');
  const inTurn = (rounds: number): ReadonlyMap<string, number> => {
    const counts = new Map<string, number>();
    for (let round = 1; round <= rounds; round += 1) counts.set(modalityOfRound(plan.order, round), (counts.get(modalityOfRound(plan.order, round)) ?? 0) + 1);
    return counts;
  };
  const chargesOf = (counts: ReadonlyMap<string, number>): ChargedSteps =>
    [...counts].reduce<ChargedSteps>((charged, [modality, count]) => {
      const names = [...sites.values()].filter((site) => site.modality === modality).map(({ site }) => site);
      return charge(charged, names, count * (plan.modalities[modality]?.mechanism.steps ?? 0));
    }, new Map());
  const fits = (rounds: number): boolean =>
    (plan.schedule === undefined ? [inTurn(rounds)] : worstAllocations(bounds, rounds)).every((counts) => bindingEpsilon(plan, statedSpending(ledger, chargesOf(counts))) <= fromDecimal(plan.budget.epsilon));
  if (fits(plan.rounds)) return plan.rounds;
  if (!wholePlanFits(ledger)) return 0;
  let [most, tooMany] = [0, plan.rounds];
  while (tooMany - most > 1) {
    const middle = Math.floor((most + tooMany) / 2);
    if (fits(middle)) most = middle;
    else tooMany = middle;
  }
  return most;
}

/** Told once, and again where a later enrolment leaves fewer. */
export function createShortageWatch(bounds: ReadonlyMap<string, RoundBounds>): (ledger: Pick<LedgerState, 'plan' | 'sites'>) => string | undefined {
  let told = Infinity;
  return (ledger) => {
    const { plan } = ledger;
    const rounds = roundsThatFit(ledger, bounds);
    if (plan === undefined || rounds >= Math.min(told, plan.rounds)) return undefined;
    told = rounds;
    if (!wholePlanFits(ledger)) return `no round can run: ${wholePlanDetail(ledger)}; ${WHOLE_PLAN_TODO}`;
    return `only ${rounds} of the ${plan.rounds} rounds fit the budget of ${plan.budget.epsilon}, by what the sites enrolled so far have stated: those that have not said that they share no patient add up; the study ${plan.schedule === undefined ? 'will' : 'may'} end before round ${rounds + 1}`;
  };
}
