import type { SiteHistory } from './composition.ts';
import type { EpsilonSpent, PrivacyEvent } from './event.ts';
import { mergeEqual } from './merge.ts';
import { pldEpsilon } from './pld.ts';

/** Everything that one patient may have been part of, equal mechanisms merged. */
export type PatientHistory = readonly PrivacyEvent[];

/** So many cliques are composed one by one; beyond, sites of a modality are charged together, which is an upper bound. */
const MOST_CLIQUES = 64;

/**
 * The histories of the patients who may be worst off: maximal cliques of the may-overlap graph. A patient may be at every site of a modality whose
 * sites are not known to be disjoint, and at one site of each that is; one history for each choice of sites. Sites whose
 * history is contained in another's of the same disjoint modality are left out: usually one history remains.
 */
export function cliqueHistories({ sites, disjointModalities }: { readonly sites: readonly SiteHistory[]; readonly disjointModalities: ReadonlySet<string> }): readonly PatientHistory[] {
  const choices = [...eventsBySite(sites)].map(([modality, histories]) => (disjointModalities.has(modality) ? undominated(histories) : [mergeEqual(histories.flat())]));
  while (choices.reduce((product, { length }) => product * length, 1) > MOST_CLIQUES) {
    const largest = choices.reduce((most, one, i) => (one.length > (choices[most]?.length ?? 0) ? i : most), 0);
    choices[largest] = [dominating(choices[largest] ?? [])];
  }
  return choices.reduce<readonly PatientHistory[]>((cliques, ofModality) => cliques.flatMap((clique) => ofModality.map((history) => [...clique, ...history])), [[]]);
}

/**
 * Epsilon of the patient who is worst off by the PLD accountant: of each clique remove is composed with remove and add with add, one conversion at the
 * end, and the worst counts. For histories that were fixed in advance; `globalEpsilon` (RDP) is the filter.
 */
export function pldGlobalEpsilon(input: { readonly sites: readonly SiteHistory[]; readonly disjointModalities: ReadonlySet<string>; readonly delta: number }): EpsilonSpent {
  const { sites, disjointModalities, delta } = input;
  return { epsilon: cliqueHistories({ sites, disjointModalities }).reduce((worst, events) => Math.max(worst, pldEpsilon({ events, delta })), 0), delta };
}

/** By modality, each site's events; a site is one, however its history is cut into pieces. */
function eventsBySite(sites: readonly SiteHistory[]): ReadonlyMap<string, readonly PatientHistory[]> {
  const byModality = new Map<string, Map<string, readonly PrivacyEvent[]>>();
  for (const { site, modality, events } of sites) {
    const ofModality = byModality.get(modality) ?? new Map<string, readonly PrivacyEvent[]>();
    byModality.set(modality, ofModality);
    ofModality.set(site, [...(ofModality.get(site) ?? []), ...events]);
  }
  return new Map([...byModality].map(([modality, ofSite]) => [modality, [...ofSite.values()].map(mergeEqual)]));
}

function nameOf(event: PrivacyEvent): string {
  return event.type === 'unprotected' ? event.type : `${event.samplingRate}:${event.noiseMultiplier}`;
}

/** Contained: no mechanism has more steps. NaN steps are contained in nothing. */
function isContained(history: PatientHistory, other: PatientHistory): boolean {
  const steps = new Map(other.map((event) => [nameOf(event), event.steps]));
  return history.every((event) => event.steps <= (steps.get(nameOf(event)) ?? 0));
}

function undominated(histories: readonly PatientHistory[]): readonly PatientHistory[] {
  return histories.filter((history, i) => !histories.some((other, k) => k !== i && isContained(history, other) && (k < i || !isContained(other, history))));
}

/** A history that contains all of these: of every mechanism the most steps. */
function dominating(histories: readonly PatientHistory[]): PatientHistory {
  const most = new Map<string, PrivacyEvent>();
  for (const event of histories.flat()) {
    const before = most.get(nameOf(event));
    if (before === undefined || !(event.steps <= before.steps)) most.set(nameOf(event), event);
  }
  return [...most.values()];
}
