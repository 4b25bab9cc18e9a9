import type { LedgerState } from '../shared/ledger/fold.ts';
import { epsilonIfReserved, spent } from '../shared/ledger/spending.ts';
import { toDecimal } from '../shared/ledger/decimal.ts';
import type { LedgerMechanism, ReserveEntry } from '../shared/ledger/entry.ts';

export type BudgetDecision =
  | { readonly type: 'reserve'; readonly entry: ReserveEntry; readonly epsilonAfter: number }
  | { readonly type: 'exhausted'; readonly detail: string };

/**
 * May this round run? Epsilon of everything committed, everything reserved and never refunded, and this round at its worst case; above
 * the budget the answer is no, before anyone is asked to train. The same functions verify the entry at sites and auditors.
 */
export function reserveRound(
  ledger: LedgerState,
  round: { readonly round: number; readonly modality: string; readonly sites: readonly string[]; readonly mechanism: LedgerMechanism; readonly modelIn: string },
): BudgetDecision {
  const before = spent(ledger);
  const after = epsilonIfReserved(ledger, round);
  const budget = Number(ledger.plan?.budget.epsilon ?? 0);
  if (after.epsilon > budget) {
    return {
      type: 'exhausted',
      detail: `round ${round.round} would bring epsilon to ${after.epsilon.toFixed(4)}, above the budget of ${budget} (delta ${after.delta}); ${before.epsilon.toFixed(4)} is spent`,
    };
  }
  const text = ({ epsilon, delta }: { epsilon: number; delta: number }): ReserveEntry['epsilonAfter'] => ({ epsilon: toDecimal(epsilon), delta: toDecimal(delta) });
  return { type: 'reserve', entry: { type: 'reserve', ...round, sites: [...round.sites], epsilonBefore: text(before), epsilonAfter: text(after) }, epsilonAfter: after.epsilon };
}
