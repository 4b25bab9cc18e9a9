import { globalEpsilon, type SiteHistory } from '../privacy/composition.ts';
import type { EpsilonSpent } from '../privacy/event.ts';
import { eventOf } from '../study/resolve.ts';
import { fromDecimal } from './decimal.ts';
import type { LedgerState } from './fold.ts';
import { fromLedgerMechanism } from './mechanism.ts';

/** Steps charged to each site, by name: with the PLAN's mechanism of its modality, the whole spending history. */
export type ChargedSteps = ReadonlyMap<string, number>;

/** Modalities whose sites compose in parallel: the plan says disjoint AND every enrolled site of it has signed so. */
export function parallelModalities(state: LedgerState): ReadonlySet<string> {
  const { plan } = state;
  if (plan === undefined) return new Set();
  const names = Object.entries(plan.modalities).filter(([, { sitesDisjoint }]) => sitesDisjoint).map(([name]) => name);
  return new Set(names.filter((name) => [...state.sites.values()].every((site) => site.modality !== name || site.patientsDisjoint)));
}

export function siteHistories(state: LedgerState, charged: ChargedSteps): readonly SiteHistory[] {
  const { plan } = state;
  if (plan === undefined) return [];
  return plan.sites.flatMap(({ name, modality }) => {
    const steps = charged.get(name) ?? 0;
    const planned = plan.modalities[modality];
    return steps === 0 || planned === undefined ? [] : [{ site: name, modality, events: [{ ...eventOf(fromLedgerMechanism(planned.mechanism)), steps }] }];
  });
}

/** Epsilon of a spending history at the plan's delta; infinite as soon as anything unprotected was released. */
export function epsilonOfCharges(state: LedgerState, charged: ChargedSteps): EpsilonSpent {
  const delta = fromDecimal(state.plan?.budget.delta ?? '0');
  const sites = siteHistories(state, charged);
  if (sites.length === 0) return { epsilon: 0, delta };
  if (sites.some(({ events }) => events.some(({ type }) => type === 'unprotected'))) return { epsilon: Infinity, delta };
  return { epsilon: globalEpsilon({ sites, disjointModalities: parallelModalities(state), delta }).epsilon, delta };
}

export function charge(charged: ChargedSteps, sites: readonly string[], steps: number): ChargedSteps {
  const next = new Map(charged);
  for (const site of sites) next.set(site, (next.get(site) ?? 0) + steps);
  return next;
}

/** Everything ended, and the open reserve at its worst case. */
export function spent(state: LedgerState): EpsilonSpent {
  return refundedSpend(state, []);
}

/** The same, when these sites of the open round have signed that nothing left them. */
export function refundedSpend(state: LedgerState, refused: readonly string[]): EpsilonSpent {
  return epsilonOfCharges(state, chargesAfter(state, refused));
}

export function chargesAfter(state: LedgerState, refused: readonly string[]): ChargedSteps {
  if (state.open === undefined) return state.charged;
  const { reserve } = state.open;
  return charge(state.charged, reserve.sites.filter((site) => !refused.includes(site)), reserve.mechanism.steps);
}

/** Epsilon if this round were reserved on top of everything. */
export function epsilonIfReserved(state: LedgerState, round: { readonly sites: readonly string[]; readonly mechanism: { readonly steps: number } }): EpsilonSpent {
  return epsilonOfCharges(state, charge(chargesAfter(state, []), round.sites, round.mechanism.steps));
}
