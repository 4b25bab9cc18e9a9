import type { Clique } from './composition.ts';
import type { PrivacyEvent } from './event.ts';
import { pldEpsilon } from './pld.ts';
import { epsilonOfRdp, ORDERS_ANTIPHON_1, rdpOfEvent } from './rdp.ts';

/**
 * The two accountants, side by side. `pld`: tight, for a schedule that was fixed before any data were touched (rounds may be left out, not added). `rdp`: at ONE order
 * that was fixed as early, a valid filter whatever the schedule depends on (Feldman and Zrnic 2021, 2008.11193); larger.
 */
export interface EpsilonPair {
  readonly pld: number;
  readonly rdp: number;
}
export type AccountantName = keyof EpsilonPair;

/** The maximum over cliques; `worst`: sites of the clique that has it, what one patient's data may have been part of. Without events: 0. */
export function worstPld({ cliques, delta }: { readonly cliques: readonly Clique[]; readonly delta: number }): { readonly epsilon: number; readonly worst: readonly string[] } {
  return cliques.reduce<{ readonly epsilon: number; readonly worst: readonly string[] }>(
    (before, { sites, events }) => {
      const epsilon = events.length === 0 ? 0 : pldEpsilon({ events, delta });
      return epsilon > before.epsilon ? { epsilon, worst: sites } : before;
    },
    { epsilon: 0, worst: [] },
  );
}

/** The maximum over cliques at one order: monotone in the order's RDP, so the same as the maximum before the conversion. */
export function worstRdp({ cliques, delta, order }: { readonly cliques: readonly Clique[]; readonly delta: number; readonly order: number }): number {
  return cliques.reduce((before, { events }) => Math.max(before, rdpEpsilon({ events, delta, orders: [order] }).epsilon), 0);
}

/** Of one history. */
export function epsilonOf({ events, delta, rdpOrder }: { readonly events: readonly PrivacyEvent[]; readonly delta: number; readonly rdpOrder: number }): EpsilonPair {
  const cliques = [{ sites: [], events }];
  return { pld: worstPld({ cliques, delta }).epsilon, rdp: worstRdp({ cliques, delta, order: rdpOrder }) };
}

/** The best of the given orders: with more than one, valid only where no later step depends on the outcome. */
export function rdpEpsilon({ events, delta, orders = ORDERS_ANTIPHON_1 }: { readonly events: readonly PrivacyEvent[]; readonly delta: number; readonly orders?: readonly number[] }): { readonly epsilon: number; readonly order: number } {
  return rdpOfWorst({ cliques: [{ sites: [], events }], delta, orders });
}

/**
 * The one order, of all, at which the worst of these cliques is best off, and its epsilon: what a plan fixes before any data are touched. Of one clique the same as `rdpEpsilon`. Empty
 * histories: 0.
 */
export function rdpOfWorst({ cliques, delta, orders = ORDERS_ANTIPHON_1 }: { readonly cliques: readonly Clique[]; readonly delta: number; readonly orders?: readonly number[] }): { readonly epsilon: number; readonly order: number } {
  const worst = new Float64Array(orders.length);
  for (const { events } of cliques) {
    const total = new Float64Array(orders.length);
    for (const event of events) rdpOfEvent(event, orders).forEach((rdp, i) => (total[i]! += rdp));
    total.forEach((rdp, i) => (worst[i] = Math.max(worst[i]!, rdp)));
  }
  return worst.every((rdp) => rdp === 0) ? { epsilon: 0, order: orders[0] ?? NaN } : epsilonOfRdp(orders, worst, delta);
}

const DIGITS = 1e6;

/** As ledgers state it: up to the sixth decimal. */
export function roundedUp(epsilon: number): number {
  return Number.isFinite(epsilon) ? Math.ceil(epsilon * DIGITS) / DIGITS : epsilon;
}

/** Of the truth, by which two sound upper bounds of PLD may differ (pld.ts): a later accountant must not call an honest ledger false. */
const PLD_LOOSENESS = 2e-5;

/** Releases of the JavaScript engine may differ in the last bits of a logarithm: two units of the sixth decimal are let pass, and PLD's own looseness. */
export function agrees(accountant: AccountantName, stated: number, computed: number): boolean {
  // Looseness is of a number: beside an infinite one, everything would be within it.
  return stated === computed || (Number.isFinite(computed) && Math.abs(stated - computed) <= 2 / DIGITS + (accountant === 'pld' ? PLD_LOOSENESS * computed : 0));
}
