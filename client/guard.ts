import { toHex } from '../shared/bytes.ts';
import { canonicalJson } from '../shared/ledger/canonical.ts';
import { fromDecimal } from '../shared/ledger/decimal.ts';
import type { PlanEntry } from '../shared/ledger/entry.ts';
import { isSigned, type LedgerState } from '../shared/ledger/fold.ts';
import { fromLedgerMechanism } from '../shared/ledger/mechanism.ts';
import { agrees } from '../shared/privacy/accountant.ts';
import { ORDERS_ANTIPHON_1 } from '../shared/privacy/rdp.ts';
import { failure, type Failure } from '../shared/protocol/failure.ts';
import type { CoordinatorMessage } from '../shared/protocol/messages.ts';
import { plannedEpsilonOf } from '../shared/study/resolve.ts';
import { roundBounds } from '../shared/study/adaptive.ts';
import { scheduleOrder } from '../shared/study/schedule.ts';
import type { Study } from '../shared/study/schema.ts';
import { judgeLimits, type Limits, type SpendEntry } from './limits.ts';

type Offer = Extract<CoordinatorMessage, { type: 'offer' }>;

/** What a site was enrolled in, by its invite. Hashes and keys in hex. */
export interface Enrolled {
  readonly study: Study;
  readonly studyHash: string;
  readonly coordinatorKey: string;
}

/** The plan must be the study's own, under its coordinator's key: its mechanisms, accountant and budget, and noise enough for all planned rounds. */
export function checkPlan(plan: PlanEntry, { study, studyHash, coordinatorKey }: Enrolled): Failure | undefined {
  const wrong = (what: string): Failure => failure('ledger-invalid', `the ledger's plan is not the study's: ${what}`);
  const { privacy } = study;
  if (plan.study !== studyHash || plan.coordinatorKey !== coordinatorKey) return wrong('the study or the key of the coordinator');
  const mechanisms = new Map(Object.entries(plan.modalities).map(([name, { mechanism }]) => [name, fromLedgerMechanism(mechanism)]));
  const bounds = roundBounds(study);
  for (const [name, modality] of Object.entries(study.modalities)) {
    const planned = plan.modalities[name];
    const mechanism = mechanisms.get(name);
    if (planned === undefined || mechanism === undefined) return wrong(`it lacks the modality ${name}`);
    if (planned.sitesDisjoint !== modality.sitesDisjoint || planned.rounds !== bounds.get(name)?.most) return wrong(`rounds or disjointness of ${name}`);
    const samplingRate = modality.samplingRate ?? privacy.samplingRate;
    if (mechanism.protection !== privacy.protection || mechanism.samplingRate !== samplingRate || mechanism.steps !== (modality.localSteps ?? study.schedule.localSteps)) return wrong(`the mechanism of ${name}`);
    if (mechanism.protection === 'none' || privacy.protection === 'none') continue;
    if (mechanism.clipNorm !== (modality.clipNorm ?? privacy.clipNorm) || mechanism.noiseMultiplier < (privacy.noiseMultiplier ?? 0)) return wrong(`clip norm or noise of ${name}`);
  }
  if (plan.rounds !== study.schedule.rounds || plan.order.join() !== scheduleOrder(study).join() || (plan.schedule === 'adaptive') !== (study.schedule.adaptive !== undefined)) return wrong('the schedule');
  if (canonicalJson(plan.sites) !== canonicalJson(study.sites.map(({ name, modality, patients }) => ({ name, modality, patients })))) return wrong('the sites');
  if (privacy.protection === 'none') return undefined;
  if (plan.accountant.binding !== privacy.accountant || fromDecimal(plan.budget.delta) !== privacy.delta) return wrong('the accountant or delta');
  // Of orders at 1 and below Renyi DP says nothing: every spending would count as none.
  if (!ORDERS_ANTIPHON_1.includes(fromDecimal(plan.accountant.rdpOrder))) return wrong(`the order ${plan.accountant.rdpOrder} of Renyi DP`);
  // Where the study gives noise and budget it ends with its budget, which the RESERVEs see to. Of the noise alone follows the budget, of the budget alone the noise.
  const budget = fromDecimal(plan.budget.epsilon);
  const planned = plannedEpsilonOf(study, mechanisms);
  const atMost = (a: number, b: number): boolean => a <= b || agrees(privacy.accountant, a, b);
  if (privacy.epsilon === undefined ? !atMost(budget, planned) : budget > privacy.epsilon) return wrong(`a budget of ${budget} instead of ${privacy.epsilon ?? planned}`);
  if (privacy.noiseMultiplier === undefined && !atMost(planned, budget)) return wrong(`its noise gives epsilon ${planned} for all planned rounds, the budget is ${budget}`);
  return undefined;
}

/**
 * May this site, of this key (hex), train the offered round? Decided from its own verified copy of the ledger (whose fold has just recomputed every
 * epsilon) and the data set's own limits and spend log, before any data are touched.
 */
export function judgeOffer(offer: Offer, input: { readonly site: string; readonly key: string; readonly ledger: LedgerState; readonly limits: Limits; readonly log: readonly SpendEntry[]; readonly now: number }): Failure | undefined {
  const { site, key, ledger, limits, log, now } = input;
  const { open, plan } = ledger;
  if (!isSigned(ledger)) return failure('ledger-invalid', 'the last ledger line is not a signed head');
  if (open === undefined || plan === undefined) return failure('ledger-invalid', 'the ledger holds no open reserve for the offered round');
  if (offer.round !== open.reserve.round || toHex(offer.reserve) !== open.hash) return failure('wrong-round', `the ledger reserves round ${open.reserve.round}, the offer is for round ${offer.round}`);
  if (!open.reserve.sites.includes(site)) return failure('wrong-site', 'the reserve does not name this site');
  // Under another key it would be another's word on who shares a patient with it that epsilon was computed from.
  if (ledger.sites.get(site)?.key !== key) return failure('wrong-key', 'the ledger has enrolled this site with another key than its own');
  const reason = judgeLimits(limits, { site, reserve: open.reserve, reserveHash: open.hash, delta: plan.budget.delta, log, now });
  return reason === undefined ? undefined : failure('limits-exceeded', reason);
}
