import { toHex } from '../shared/bytes.ts';
import { fromDecimal } from '../shared/ledger/decimal.ts';
import type { PlanEntry } from '../shared/ledger/entry.ts';
import type { LedgerState } from '../shared/ledger/fold.ts';
import { fromLedgerMechanism } from '../shared/ledger/mechanism.ts';
import { failure, type Failure } from '../shared/protocol/failure.ts';
import type { CoordinatorMessage } from '../shared/protocol/messages.ts';
import type { ResolvedStudy, RoundMechanism } from '../shared/study/resolve.ts';

/** What a site allows by its own decision, whatever the study says. */
export interface SiteLimits {
  /** The site refuses a round that would bring the study's epsilon above this. */
  readonly maxEpsilon: number | undefined;
}

type Offer = Extract<CoordinatorMessage, { type: 'offer' }>;

/** The plan must be the study's own: the same mechanism, at least the calibrated noise, no larger budget. */
export function checkPlan(plan: PlanEntry, resolved: ResolvedStudy): Failure | undefined {
  if (fromDecimal(plan.budget.epsilon) > resolved.budget.epsilon) return failure('ledger-invalid', `the ledger's budget is epsilon ${plan.budget.epsilon}, the study's is ${resolved.budget.epsilon}`);
  for (const [name, { mechanism, sitesDisjoint }] of resolved.modalities) {
    const planned = plan.modalities[name];
    if (planned === undefined || planned.sitesDisjoint !== sitesDisjoint || !isAsStrong(fromLedgerMechanism(planned.mechanism), mechanism)) {
      return failure('ledger-invalid', `the ledger's plan for ${name} is not the study's`);
    }
  }
  return undefined;
}

/** Calibration may differ in its last digits between releases; less noise than a thousandth below is another mechanism. */
function isAsStrong(found: RoundMechanism, expected: RoundMechanism): boolean {
  if (found.samplingRate !== expected.samplingRate || found.steps !== expected.steps) return false;
  if (found.protection === 'none' || expected.protection === 'none') return found.protection === expected.protection;
  return found.clipNorm === expected.clipNorm && found.noiseMultiplier >= expected.noiseMultiplier * (1 - 1e-3);
}

/**
 * May this site train the offered round? Decided from its own verified copy of the ledger (whose fold has just recomputed every
 * epsilon) and its own limits, before any data are touched.
 */
export function judgeOffer(offer: Offer, input: { readonly site: string; readonly ledger: LedgerState; readonly limits: SiteLimits }): Failure | undefined {
  const { site, ledger, limits } = input;
  const { open } = ledger;
  if (open === undefined) return failure('ledger-invalid', 'the ledger holds no open reserve for the offered round');
  if (offer.round !== open.reserve.round || toHex(offer.reserve) !== open.hash) return failure('wrong-round', `the ledger reserves round ${open.reserve.round}, the offer is for round ${offer.round}`);
  if (!open.reserve.sites.includes(site)) return failure('wrong-site', 'the reserve does not name this site');
  const after = fromDecimal(open.reserve.epsilonAfter.epsilon);
  if (limits.maxEpsilon !== undefined && after > limits.maxEpsilon) {
    return failure('limits-exceeded', `this site allows epsilon up to ${limits.maxEpsilon}, the round would bring it to ${after.toFixed(4)}`);
  }
  return undefined;
}
