import type { EpsilonSpent, PrivacyEvent } from './event.ts';
import { epsilonOfRdp, ORDERS_ANTIPHON_1, rdpOfEvent } from './rdp.ts';

/** What one site has released of its patients. */
export interface SiteHistory {
  readonly site: string;
  readonly modality: string;
  readonly events: readonly PrivacyEvent[];
}

/**
 * Epsilon of the patient who is worst off. A patient may be at one site of every modality, so modalities add up (sequential composition).
 * Within a modality they are at one site only where the sites are known to be disjoint (parallel composition: the worst
 * site counts, per RDP order); otherwise they may be at all of its sites, which then add up too. That is the maximum over
 * cliques of the may-overlap graph whose missing edges are the disjoint pairs; a graph with single edges missing has its
 * place here. ONE conversion at the end: epsilons are never added or subtracted.
 */
export function globalEpsilon(input: {
  readonly sites: readonly SiteHistory[];
  readonly disjointModalities: ReadonlySet<string>;
  readonly delta: number;
  readonly orders?: readonly number[];
}): EpsilonSpent & { readonly order: number } {
  const { sites, disjointModalities, delta, orders = ORDERS_ANTIPHON_1 } = input;
  const byModality = new Map<string, Float64Array>();
  for (const { modality, events } of sites) {
    const own = sumOfEvents(events, orders);
    const before = byModality.get(modality);
    const combine = disjointModalities.has(modality) ? Math.max : (a: number, b: number) => a + b;
    byModality.set(modality, before === undefined ? own : own.map((rdp, i) => combine(rdp, before[i]!)));
  }
  const total = new Float64Array(orders.length);
  for (const rdp of byModality.values()) rdp.forEach((value, i) => (total[i]! += value));
  if (total.every((rdp) => rdp === 0)) return { epsilon: 0, delta, order: orders[0] ?? NaN };
  return { ...epsilonOfRdp(orders, total, delta), delta };
}

function sumOfEvents(events: readonly PrivacyEvent[], orders: readonly number[]): Float64Array {
  const sum = new Float64Array(orders.length);
  for (const event of events) rdpOfEvent(event, orders).forEach((rdp, i) => (sum[i]! += rdp));
  return sum;
}
