import { fromDecimal } from '../shared/ledger/decimal.ts';
import type { LedgerMechanism, ReserveEntry } from '../shared/ledger/entry.ts';
import type { LedgerState } from '../shared/ledger/fold.ts';
import { bindingEpsilon, chargesIfReserved, statedSpending } from '../shared/ledger/spending.ts';
import { invariant } from '../shared/errors.ts';

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
      detail: `round ${round.round} would bring epsilon to ${epsilon.toFixed(4)}, above the budget of ${plan.budget.epsilon} (delta ${after.delta}); ${bindingEpsilon(plan, spent).toFixed(4)} is spent`,
    };
  }
  return { type: 'reserve', entry: { type: 'reserve', ...round, sites: [...round.sites], epsilonBefore: spent, epsilonAfter: after } };
}
