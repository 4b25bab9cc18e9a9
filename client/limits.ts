import { z } from 'zod';
import { epsilonFigure } from '../shared/epsilon-text.ts';
import { fromDecimal } from '../shared/ledger/decimal.ts';
import { mechanismSchema, type LedgerMechanism, type ReserveEntry } from '../shared/ledger/entry.ts';
import { fromLedgerMechanism } from '../shared/ledger/mechanism.ts';
import { rdpEpsilon } from '../shared/privacy/accountant.ts';
import type { PrivacyEvent } from '../shared/privacy/event.ts';
import { mergeEqual } from '../shared/privacy/merge.ts';
import { ORDERS_ANTIPHON_1 } from '../shared/privacy/rdp.ts';
import { eventOf } from '../shared/study/resolve.ts';

/** What the custodian of a data set allows, whatever a study says: over all studies that its patients take part in. */
export const limitsSchema = z.strictObject({
  /** Of everything released from this data set, all studies together, at `delta`. */
  maxEpsilon: z.number().positive().optional(),
  /** Default: the smallest delta of the studies. */
  delta: z.number().gt(0).lt(0.1).optional(),
  maxRoundsPerDay: z.int().positive().optional(),
  modalities: z.array(z.string().min(1)).min(1).optional(),
  /** Sites in a round's cohort. */
  minCohort: z.int().positive().optional(),
  minNoiseMultiplier: z.number().positive().optional(),
});
export type Limits = z.output<typeof limitsSchema>;

const time = z.iso.datetime();
const where = { study: z.string(), site: z.string(), round: z.int().positive(), reserve: z.string().regex(/^[0-9a-f]{64}$/), time };

/** One line of a data set's spend log. */
export const spendEntrySchema = z.discriminatedUnion('type', [
  /** Durable before the data are touched: from here it counts as spent. */
  z.strictObject({ type: z.literal('spend'), ...where, modality: z.string(), mechanism: mechanismSchema, delta: z.string() }),
  /** Durable before the sealed update is: there is one release for a reserve, never a second. */
  z.strictObject({ type: z.literal('release'), ...where, update: z.string().regex(/^[0-9a-f]{64}$/) }),
  /** Durable before it is signed: what was refused may be refunded, so it is never trained. */
  z.strictObject({ type: z.literal('refusal'), ...where }),
]);
export type SpendEntry = z.output<typeof spendEntrySchema>;

/** Why the data set's own limits forbid the round; undefined: they allow it. Nothing here comes from the data. */
export function judgeLimits(
  limits: Limits,
  round: { readonly site: string; readonly reserve: ReserveEntry; readonly reserveHash: string; readonly delta: string; readonly log: readonly SpendEntry[]; readonly now: number },
): string | undefined {
  const { site, reserve, reserveHash, log, now } = round;
  const { modality, mechanism, sites } = reserve;
  // Another site of the same round spends these patients' budget like any other round.
  const earlier = log.filter((entry) => entry.type === 'spend' && !(entry.reserve === reserveHash && entry.site === site)) as Extract<SpendEntry, { type: 'spend' }>[];
  if (limits.modalities !== undefined && !limits.modalities.includes(modality)) return `this data set is open to ${limits.modalities.join(', ')}, the round trains ${modality}`;
  if (limits.minCohort !== undefined && sites.length < limits.minCohort) return `a round needs at least ${limits.minCohort} sites here, its cohort has ${sites.length}`;
  if (limits.minNoiseMultiplier !== undefined && noiseOf(mechanism) < limits.minNoiseMultiplier) return `a noise multiplier of at least ${limits.minNoiseMultiplier} is asked here, the round has ${noiseOf(mechanism)}`;
  const today = earlier.filter((entry) => now - Date.parse(entry.time) < 86_400_000).length;
  if (limits.maxRoundsPerDay !== undefined && today >= limits.maxRoundsPerDay) return `at most ${limits.maxRoundsPerDay} rounds a day are allowed here`;
  const { maxEpsilon: cap } = limits;
  if (cap === undefined) return undefined;
  const { delta, epsilonWith } = filterOf(earlier, { cap, given: limits.delta, delta: fromDecimal(round.delta) });
  const epsilon = epsilonWith(mechanism);
  return epsilon <= cap ? undefined : `this data set allows epsilon up to ${cap} (delta ${delta}) over all studies, the round would bring it to ${epsilonFigure(epsilon, 4)} by Rényi DP at one order (larger than the PLD figure of a study, and valid whatever later studies do)`;
}

/** How many further rounds of one mechanism the limit on epsilon allows, at most `planned`; undefined: there is no such limit. */
export function roundsAllowed(limits: Limits, { mechanism, delta, log, planned }: { readonly mechanism: LedgerMechanism; readonly delta: number; readonly log: readonly SpendEntry[]; readonly planned: number }): number | undefined {
  const { maxEpsilon: cap } = limits;
  if (cap === undefined) return undefined;
  const { epsilonWith } = filterOf(log.filter((entry) => entry.type === 'spend'), { cap, given: limits.delta, delta });
  const fits = (rounds: number): boolean => epsilonWith({ ...mechanism, steps: mechanism.steps * rounds }) <= cap;
  let [most, tooMany] = [0, planned + 1];
  while (tooMany - most > 1) {
    const middle = Math.floor((most + tooMany) / 2);
    if (fits(middle)) most = middle;
    else tooMany = middle;
  }
  return most;
}

/** What the limit on epsilon is held against: everything spent before and this, at the custodian's delta (`given`), else at the smallest of all studies'. */
function filterOf(earlier: readonly Extract<SpendEntry, { type: 'spend' }>[], { cap, given, delta: own }: { readonly cap: number; readonly given: number | undefined; readonly delta: number }): { readonly delta: number; readonly epsilonWith: (mechanism: LedgerMechanism) => number } {
  const delta = given ?? Math.min(own, ...earlier.map((entry) => fromDecimal(entry.delta)));
  const spent = earlier.map((entry) => entry.mechanism);
  return { delta, epsilonWith: (mechanism) => filterEpsilon([...spent, mechanism], { cap, delta, orderFor: given ?? USUAL_DELTA }) };
}

function noiseOf(mechanism: LedgerMechanism): number {
  return mechanism.protection === 'none' ? 0 : fromDecimal(mechanism.noiseMultiplier);
}

/** Of which the order is made where the custodian names no delta: no study's own, or a study would choose the order. */
const USUAL_DELTA = 1e-5;

/**
 * RDP at one order that follows from the custodian's limits alone: later studies may depend on earlier ones in any way, and it still holds (2008.11193). The order is near the
 * best one for a history that fills the cap at a delta of `orderFor`.
 */
export function filterEpsilon(mechanisms: readonly LedgerMechanism[], { cap, delta, orderFor }: { readonly cap: number; readonly delta: number; readonly orderFor: number }): number {
  // Where rho grows like alpha c, the best order for c alpha + ln(1/delta) / (alpha - 1) = cap.
  const wanted = 1 + (2 * Math.log(1 / orderFor)) / cap;
  const order = ORDERS_ANTIPHON_1.reduce((best, each) => (Math.abs(each - wanted) < Math.abs(best - wanted) ? each : best));
  const events: readonly PrivacyEvent[] = mergeEqual(mechanisms.map((mechanism) => eventOf(fromLedgerMechanism(mechanism))));
  return rdpEpsilon({ events, delta, orders: [order] }).epsilon;
}
