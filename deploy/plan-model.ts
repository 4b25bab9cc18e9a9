import { calibrateNoiseMultiplier } from '../shared/privacy/calibrate.ts';
import { rdpOfWorst, worstPld, worstRdp, type AccountantName, type EpsilonPair } from '../shared/privacy/accountant.ts';
import { worstAllocations, type RoundBounds } from '../shared/study/adaptive.ts';
import { worstCliques, type Clique, type SiteHistory } from '../shared/privacy/composition.ts';

/** What one site of a modality does in one round, but for the noise. */
export interface PlannedModality {
  readonly samplingRate: number;
  readonly stepsPerRound: number;
  /** Names of its sites; the patients' cap of each, where it is known. */
  readonly sites: readonly { readonly name: string; readonly patients: number | undefined }[];
  readonly sitesDisjoint: boolean;
}

/** A study as far as privacy goes: modalities train in turn, every site of a modality in each of its rounds. */
export interface Plan {
  readonly title: string;
  /** What a person counts: rounds, or single steps. */
  readonly unit: 'round' | 'step';
  readonly modalities: ReadonlyMap<string, PlannedModality>;
  readonly order: readonly string[];
  readonly rounds: number;
  readonly delta: number;
  /** Whose epsilon is held against the budget. */
  readonly binding: AccountantName;
  /** Where rounds are given out as the study goes: what a plan of so many rounds can give each modality. Undefined: in turn. */
  readonly adaptive?: { readonly bounds: (rounds: number) => ReadonlyMap<string, RoundBounds> };
}

export const ACCOUNTANTS: readonly AccountantName[] = ['pld', 'rdp'];

/** Rounds beyond which nobody asks. */
export const MOST_ROUNDS = 1_000_000;

/** How many of the first rounds train each modality. */
function roundsOf({ order }: Plan, rounds: number): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  order.forEach((name, place) => counts.set(name, (counts.get(name) ?? 0) + Math.floor(rounds / order.length) + (place < rounds % order.length ? 1 : 0)));
  return counts;
}

/** The one way in which the first rounds fall, or all that can be worst. A study that is longer than planned has a schedule of its own. */
function allocationsOf(plan: Plan, rounds: number): readonly ReadonlyMap<string, number>[] {
  return plan.adaptive === undefined ? [roundsOf(plan, rounds)] : worstAllocations(plan.adaptive.bounds(Math.max(rounds, plan.rounds)), rounds);
}

/** Does PLD hold? For rounds that are fixed in advance, or all alike (shared/study/adaptive.ts). */
export function isForPld({ adaptive, modalities }: Plan): boolean {
  return adaptive === undefined || new Set([...modalities.values()].map(({ samplingRate }) => samplingRate)).size === 1;
}

function histories(plan: Plan, counts: ReadonlyMap<string, number>, noiseMultiplier: number): readonly SiteHistory[] {
  return [...plan.modalities].flatMap(([modality, { samplingRate, stepsPerRound, sites }]) => {
    const steps = stepsPerRound * (counts.get(modality) ?? 0);
    return sites.map(({ name }) => ({ site: name, modality, events: [{ type: 'poisson-gaussian' as const, samplingRate, noiseMultiplier, steps }] }));
  });
}

function cliquesAfter(plan: Plan, rounds: number, noiseMultiplier: number): readonly Clique[] {
  const cliques = new Map([...plan.modalities].map(([name, { sites, sitesDisjoint }]) => [name, sitesDisjoint ? sites.map((site) => [site.name]) : [sites.map((site) => site.name)]]));
  return allocationsOf(plan, rounds).flatMap((counts) => worstCliques({ sites: histories(plan, counts, noiseMultiplier), cliques }));
}

export function epsilonBy(accountant: AccountantName, plan: Plan, rounds: number, noiseMultiplier: number): number {
  const cliques = cliquesAfter(plan, rounds, noiseMultiplier);
  if (accountant === 'pld') return worstPld({ cliques, delta: plan.delta }).epsilon;
  // The order is that of the whole plan (a longer one would fix its own): the number that the ledger of a run states, which may choose no other order after its rounds have begun.
  const { delta } = plan;
  return rounds >= plan.rounds ? rdpOfWorst({ cliques, delta }).epsilon : worstRdp({ cliques, delta, order: fixedOrder(plan, noiseMultiplier) });
}

/** The order of RDP that a run of this plan would write into its ledger: the best one for all planned rounds of the patient who is worst off then. */
function fixedOrder(plan: Plan, noiseMultiplier: number): number {
  return rdpOfWorst({ cliques: cliquesAfter(plan, plan.rounds, noiseMultiplier), delta: plan.delta }).order;
}

/** Epsilon after so many rounds. */
export function epsilonAfter(plan: Plan, rounds: number, noiseMultiplier: number): EpsilonPair {
  return { pld: epsilonBy('pld', plan, rounds, noiseMultiplier), rdp: epsilonBy('rdp', plan, rounds, noiseMultiplier) };
}

/** The smallest five-digit noise multiplier, for all modalities, with which the whole plan fits the budget. Throws AntiphonError('study-invalid'). */
export function noiseFor(accountant: AccountantName, plan: Plan, epsilon: number): number {
  return calibrateNoiseMultiplier({ targetEpsilon: epsilon, epsilonOf: (noiseMultiplier) => epsilonBy(accountant, plan, plan.rounds, noiseMultiplier) });
}

/** The number of rounds, at most 10^6, that fit a budget: the last whose epsilon is at most it. */
export function roundsThatFit(accountant: AccountantName, plan: Plan, noiseMultiplier: number, epsilon: number): number {
  const fits = (rounds: number): boolean => epsilonBy(accountant, plan, rounds, noiseMultiplier) <= epsilon;
  // From the plan's own length, which is often the answer, up in ever longer strides.
  let [low, high] = [0, plan.rounds];
  for (let stride = 1; high <= MOST_ROUNDS && fits(high); stride *= 2) [low, high] = [high, high + stride];
  if (high > MOST_ROUNDS) {
    if (fits(MOST_ROUNDS)) return MOST_ROUNDS;
    high = MOST_ROUNDS;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** About so many rounds from 1 to the last, ever farther apart: all of them where they are few. */
export function milestones(rounds: number, count: number): readonly number[] {
  if (rounds <= count) return Array.from({ length: rounds }, (_, i) => i + 1);
  return [...new Set(Array.from({ length: count }, (_, i) => Math.round(rounds ** (i / (count - 1)))))];
}
