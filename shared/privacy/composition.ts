import { invariant } from '../errors.ts';
import type { PrivacyEvent } from './event.ts';
import { mergeEqual } from './merge.ts';
import { rdpOfEvent } from './rdp.ts';

/** What one site has released of its patients; several histories of one site and modality add up. */
export interface SiteHistory {
  readonly site: string;
  readonly modality: string;
  readonly events: readonly PrivacyEvent[];
}

/** Sites that one patient may all be at, and everything they have released together. */
export interface Clique {
  readonly sites: readonly string[];
  readonly events: readonly PrivacyEvent[];
}

export interface Composition {
  readonly sites: readonly SiteHistory[];
  /** By modality: the maximal cliques of its sites (overlap.ts). A patient may always be at sites of different modalities. */
  readonly cliques: ReadonlyMap<string, readonly (readonly string[])[]>;
}

/** More combinations of one clique per modality than this: the modalities' cliques are replaced by their upper bounds. */
const MAX_COMBINATIONS = 256;

/**
 * The cliques that can be worst off: whatever patient there is, the releases it was part of are among those of one of them, or fewer. A patient may be at sites of
 * every modality, so modalities compose one after the other; within a modality it is at the sites of one clique of the may-overlap graph. Cliques that released
 * nowhere more than another are left out: where all sites of a modality run one mechanism, one is left. The global budget is the maximum over the result (never a sum
 * of epsilons). Empty histories: one clique without events.
 */
export function worstCliques({ sites, cliques: ofModalities }: Composition): readonly Clique[] {
  const perModality = [...byModality(sites)].map(([modality, histories]) => notDominated(cliquesOf(histories, ofModalities.get(modality) ?? [])));
  const combinations = perModality.reduce((product, cliques) => product * cliques.length, 1);
  const bounded = combinations > MAX_COMBINATIONS ? perModality.map((cliques) => [upperBound(cliques)]) : perModality;
  return bounded.reduce<readonly Clique[]>((before, cliques) => before.flatMap((a) => cliques.map((b) => join(a, b))), [{ sites: [], events: [] }]);
}

/**
 * Each choice of one clique per modality, whether or not another is worse: for reports. Where there are more than `limit`, those of the largest Renyi DP at this order, the worst first: it
 * adds up over modalities, so that the worst choices are among those of the worst of each.
 */
export function everyClique({ sites, cliques: ofModalities }: Composition, { limit, order }: { readonly limit: number; readonly order: number }): readonly Clique[] {
  interface Choice { readonly parts: readonly Clique[]; readonly cost: number }
  const worst = (choices: readonly Choice[]): readonly Choice[] => (choices.length <= limit ? choices : [...choices].sort((a, b) => (a.cost > b.cost ? -1 : a.cost < b.cost ? 1 : 0)).slice(0, limit));
  const choices = [...byModality(sites)].reduce<readonly Choice[]>((before, [modality, histories]) => {
    const own = worst(cliquesOf(histories, ofModalities.get(modality) ?? []).map((clique) => ({ parts: [clique], cost: clique.events.reduce((sum, event) => sum + (rdpOfEvent(event, [order])[0] ?? 0), 0) })));
    return worst(before.flatMap((a) => own.map((b) => ({ parts: [...a.parts, ...b.parts], cost: a.cost + b.cost }))));
  }, [{ parts: [], cost: 0 }]);
  return choices.map(({ parts }) => parts.reduce(join, { sites: [], events: [] }));
}

/** So many choices there are in which some site has released anything. */
export function countCliques({ sites, cliques: ofModalities }: Composition): number {
  const perModality = [...byModality(sites)].map(([modality, histories]) => cliquesOf(histories, ofModalities.get(modality) ?? []));
  const product = (countOf: (cliques: readonly Clique[]) => number): number => perModality.reduce((before, cliques) => before * countOf(cliques), 1);
  return product((cliques) => cliques.length) - product((cliques) => cliques.filter((clique) => clique.sites.length === 0).length);
}

/** By modality, by site: a site is one, however its history is cut into pieces. */
function byModality(sites: readonly SiteHistory[]): ReadonlyMap<string, ReadonlyMap<string, readonly PrivacyEvent[]>> {
  const modalities = new Map<string, Map<string, readonly PrivacyEvent[]>>();
  for (const { site, modality, events } of sites) {
    const ofModality = modalities.get(modality) ?? new Map<string, readonly PrivacyEvent[]>();
    modalities.set(modality, ofModality);
    ofModality.set(site, [...(ofModality.get(site) ?? []), ...events]);
  }
  return modalities;
}

function cliquesOf(histories: ReadonlyMap<string, readonly PrivacyEvent[]>, cliques: readonly (readonly string[])[]): readonly Clique[] {
  const placed = new Set(cliques.flat());
  invariant([...histories.keys()].every((site) => placed.has(site)), 'every site with a history in a clique');
  return cliques.map((members) => {
    const sites = members.filter((site) => histories.has(site));
    return { sites, events: mergeEqual(sites.flatMap((site) => histories.get(site) ?? [])) };
  });
}

function join(a: Clique, b: Clique): Clique {
  return { sites: [...a.sites, ...b.sites], events: mergeEqual([...a.events, ...b.events]) };
}

/** Steps by mechanism. */
function stepsOf({ events }: Clique): ReadonlyMap<string, number> {
  return new Map(events.map((event) => [event.type === 'unprotected' ? 'unprotected' : `${event.samplingRate}:${event.noiseMultiplier}`, event.steps]));
}

function notDominated(cliques: readonly Clique[]): readonly Clique[] {
  const kept: { readonly clique: Clique; readonly steps: ReadonlyMap<string, number> }[] = [];
  const covers = (more: ReadonlyMap<string, number>, less: ReadonlyMap<string, number>): boolean => [...less].every(([mechanism, steps]) => (more.get(mechanism) ?? 0) >= steps);
  for (const clique of cliques) {
    const steps = stepsOf(clique);
    if (kept.some((other) => covers(other.steps, steps))) continue;
    const rest = kept.filter((other) => !covers(steps, other.steps));
    kept.splice(0, kept.length, ...rest, { clique, steps });
  }
  return kept.map(({ clique }) => clique);
}

/** A clique that released as much as any, by every mechanism: no patient is worse off. */
function upperBound(cliques: readonly Clique[]): Clique {
  const events = new Map<string, PrivacyEvent>();
  for (const clique of cliques) {
    for (const event of clique.events) {
      const [name = ''] = stepsOf({ sites: [], events: [event] }).keys();
      const before = events.get(name);
      if (before === undefined || before.steps < event.steps) events.set(name, event);
    }
  }
  return { sites: [...new Set(cliques.flatMap(({ sites }) => sites))], events: [...events.values()] };
}
