import { agrees, roundedUp, worstPld, worstRdp } from '../privacy/accountant.ts';
import { worstCliques, type Clique, type SiteHistory } from '../privacy/composition.ts';
import { maximalCliques } from '../privacy/overlap.ts';
import { eventOf } from '../study/resolve.ts';
import { fromDecimal, toDecimal } from './decimal.ts';
import type { EnrolEntry, EpsilonSpentText, PlanEntry } from './entry.ts';
import type { LedgerState } from './fold.ts';
import { fromLedgerMechanism } from './mechanism.ts';
import { hasOneMechanism } from './plan.ts';

/** Steps charged to each site, by name: with the PLAN's mechanism of its modality, the whole spending history. */
export type ChargedSteps = ReadonlyMap<string, number>;

export const EVERY_OTHER_SITE = '*';

/** By modality: sets of sites that one patient may all be at. Known until another site enrols. */
const cliquesOfEnrolled = new WeakMap<ReadonlyMap<string, EnrolEntry>, ReadonlyMap<string, readonly (readonly string[])[]>>();

/**
 * The may-overlap graph: two sites of a modality share no patient only where the plan says that its sites are disjoint AND both have signed so, of each
 * other or of every other site. Whatever else there is, a patient may be at both.
 */
export function overlapCliques({ plan, sites }: Pick<LedgerState, 'plan' | 'sites'>): ReadonlyMap<string, readonly (readonly string[])[]> {
  const known = cliquesOfEnrolled.get(sites);
  if (known !== undefined) return known;
  const excludes = (site: string, other: string): boolean => sites.get(site)?.disjointFrom.some((name) => name === EVERY_OTHER_SITE || name === other) === true;
  const cliques = new Map(
    Object.entries(plan?.modalities ?? {}).map(([modality, { sitesDisjoint }]) => {
      const names = [...sites.values()].filter((site) => site.modality === modality).map(({ site }) => site);
      return [modality, maximalCliques(names, (a, b) => !(sitesDisjoint && excludes(a, b) && excludes(b, a)))];
    }),
  );
  cliquesOfEnrolled.set(sites, cliques);
  return cliques;
}

export function siteHistories(plan: PlanEntry | undefined, charged: ChargedSteps): readonly SiteHistory[] {
  if (plan === undefined) return [];
  return plan.sites.flatMap(({ name, modality }) => {
    const steps = charged.get(name) ?? 0;
    const planned = plan.modalities[modality];
    return steps === 0 || planned === undefined ? [] : [{ site: name, modality, events: [{ ...eventOf(fromLedgerMechanism(planned.mechanism)), steps }] }];
  });
}

type Charging = Pick<LedgerState, 'plan' | 'sites'>;

/** The cliques that can be worst off under these charges, with what each has released. */
export function chargedCliques(state: Charging, charged: ChargedSteps): readonly Clique[] {
  return worstCliques({ sites: siteHistories(state.plan, charged), cliques: overlapCliques(state) });
}

/** Infinite as soon as anything unprotected was released. */
export function pldOfCharges(state: Charging, charged: ChargedSteps): number {
  return worstPld({ cliques: chargedCliques(state, charged), delta: deltaOf(state) }).epsilon;
}

/** At the plan's order. */
export function rdpOfCharges(state: Charging, charged: ChargedSteps): number {
  return worstRdp({ cliques: chargedCliques(state, charged), delta: deltaOf(state), order: fromDecimal(state.plan?.accountant.rdpOrder ?? 'NaN') });
}

function deltaOf({ plan }: Charging): number {
  return fromDecimal(plan?.budget.delta ?? '0');
}

/** Every enrolled site in all the rounds that the plan gives its modality. */
export function plannedCharges({ plan, sites }: Charging): ChargedSteps {
  return [...sites.values()].reduce<ChargedSteps>((charged, { site, modality }) => {
    const planned = plan?.modalities[modality];
    return planned === undefined ? charged : charge(charged, [site], planned.rounds * planned.mechanism.steps);
  }, new Map());
}

/** Known until another site enrols. */
const plannedPldOfEnrolled = new WeakMap<ReadonlyMap<string, EnrolEntry>, number>();

/**
 * PLD of the whole plan, of a plan that must fit its budget whole; else undefined. Who is there in a round, who refuses and where the budget ends the study may depend on released models. PLD holds
 * against such choices where all steps are dominated by one and the same pair, since then only their number counts (Zhu, Dong, Wang 2022, 2106.08567), or where everything that was planned fits: then
 * what is left out only lowers it. Else somebody who picks, having seen a model, between steps of different mechanisms would spend more than any one history shows. Renyi DP at an order fixed in
 * advance needs neither (Feldman and Zrnic 2021, 2008.11193).
 */
export function wholePlanPld(state: Charging): number | undefined {
  const { plan, sites } = state;
  if (plan === undefined || plan.accountant.binding !== 'pld' || hasOneMechanism(plan)) return undefined;
  const known = plannedPldOfEnrolled.get(sites) ?? roundedUp(pldOfCharges(state, plannedCharges(state)));
  plannedPldOfEnrolled.set(sites, known);
  return known;
}

/** Is there no such plan, or does it fit? Two machines' sound bounds may differ in their last digits. */
export function wholePlanFits(state: Charging): boolean {
  const planned = wholePlanPld(state);
  const budget = fromDecimal(state.plan?.budget.epsilon ?? '0');
  return planned === undefined || planned <= budget || agrees('pld', budget, planned);
}

/** Why no round may run, for persons. */
export function wholePlanDetail(state: Charging): string {
  return `modalities differ in sampling rate or noise, where PLD holds only if all planned rounds fit the budget of ${state.plan?.budget.epsilon ?? '?'}: by what the sites have signed of their patients they come to ${wholePlanPld(state) ?? 0}`;
}

export function charge(charged: ChargedSteps, sites: readonly string[], steps: number): ChargedSteps {
  const next = new Map(charged);
  for (const site of sites) next.set(site, (next.get(site) ?? 0) + steps);
  return next;
}

/** Everything ended, and the open reserve at its worst case but for the sites that have signed that nothing left them. */
export function chargesAfter(state: Pick<LedgerState, 'charged' | 'open'>, refused: readonly string[] = []): ChargedSteps {
  if (state.open === undefined) return state.charged;
  const { reserve } = state.open;
  return charge(state.charged, reserve.sites.filter((site) => !refused.includes(site)), reserve.mechanism.steps);
}

/** The charges if this round were reserved on top of everything. */
export function chargesIfReserved(state: Pick<LedgerState, 'charged' | 'open'>, round: { readonly sites: readonly string[]; readonly mechanism: { readonly steps: number } }): ChargedSteps {
  return charge(chargesAfter(state), round.sites, round.mechanism.steps);
}

/** As a ledger states charges: both accountants' numbers, rounded up. */
export function statedSpending(state: Charging, charged: ChargedSteps): EpsilonSpentText {
  return { delta: toDecimal(deltaOf(state)), pld: toDecimal(roundedUp(pldOfCharges(state, charged))), rdp: toDecimal(roundedUp(rdpOfCharges(state, charged))) };
}

/** What counts against the budget: the number of the plan's binding accountant. */
export function bindingEpsilon({ accountant }: PlanEntry, spent: EpsilonSpentText): number {
  return fromDecimal(spent[accountant.binding]);
}

export const NOTHING_SPENT: EpsilonSpentText = { delta: '0', pld: '0', rdp: '0' };
