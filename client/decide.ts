import { toHex } from '../shared/bytes.ts';
import { AntiphonError, invariant } from '../shared/errors.ts';
import type { ReserveEntry } from '../shared/ledger/entry.ts';
import { MAX_REASON_BYTES, shorten } from '../shared/lengths.ts';
import { failure, type Failure } from '../shared/protocol/failure.ts';
import type { CoordinatorMessage } from '../shared/protocol/messages.ts';
import { judgeOffer } from './guard.ts';
import type { LedgerCopy } from './ledger-copy.ts';
import type { SpendEntry } from './limits.ts';
import type { Vault } from './vault.ts';

export type Decision =
  | { readonly type: 'accepted'; readonly reserve: ReserveEntry }
  | { readonly type: 'refused'; readonly reason: Failure }
  /** Neither trained nor refunded: it stays charged. */
  | { readonly type: 'barred'; readonly why: string };

/**
 * On one reserve a site goes one way: it refuses, which may be refunded, and never trains; or it counts the round as spent, and never refuses. Either is durable when
 * this resolves, and `vault` is this caller's alone until then. Throws AntiphonError('ledger-tampered') where the data set remembers a RESERVE that the ledger does not hold.
 */
export async function decideOffer(
  offer: Extract<CoordinatorMessage, { type: 'offer' }>,
  input: {
    readonly site: string;
    /** Hash, hex. */
    readonly study: string;
    /** Hex. */
    readonly key: string;
    readonly vault: Pick<Vault, 'limits' | 'entries' | 'append'>;
    readonly ledger: LedgerCopy;
    /** Why the offered weights cannot be received. */
    readonly unreceivable: Failure | undefined;
    readonly now: number;
  },
): Promise<Decision> {
  const { site, study, key, vault, ledger, unreceivable, now } = input;
  const reserve = toHex(offer.reserve);
  const log = await vault.entries();
  const own = log.filter((entry) => entry.study === study && entry.site === site);
  const lost = own.find((entry) => entry.type === 'spend' && entry.reserve !== reserve && !ledger.holdsReserve(entry.reserve));
  if (lost !== undefined) throw unbelievable(`this data set has been spent on round ${lost.round} of this study under a RESERVE that the ledger does not hold: it was rewritten, or the study begun anew (then give it another name or seed)`);
  const decided = (type: SpendEntry['type']): boolean => own.some((entry) => entry.type === type && entry.reserve === reserve);
  // Released before, and what was staged is gone: never a second release, and no refund either.
  if (decided('release')) return { type: 'barred', why: 'it has been released before' };
  if (decided('refusal')) return { type: 'refused', reason: failure('out-of-order', 'this site has refused this round before (its output of then says why), and what it has refused it never trains') };
  const problem = unreceivable ?? judgeOffer(offer, { site, key, ledger: ledger.state(), limits: await vault.limits(), log, now });
  const where = { study, site, round: offer.round, reserve, time: new Date(now).toISOString() };
  if (problem !== undefined) {
    // Nothing to refund, and nothing to remember, where the ledger reserves nothing: whoever invents reserves writes nothing here.
    if (decided('spend') || !ledger.holdsReserve(reserve)) return { type: 'barred', why: `${problem.code}: ${problem.message}` };
    await vault.append({ type: 'refusal', ...where });
    return { type: 'refused', reason: problem };
  }
  const { open, plan } = ledger.state();
  invariant(open !== undefined && plan !== undefined, 'a judged offer has an open reserve');
  // From here the data set counts it as spent, whatever crashes; once, however often it is offered.
  if (!decided('spend')) await vault.append({ type: 'spend', ...where, modality: open.reserve.modality, mechanism: open.reserve.mechanism, delta: plan.budget.delta });
  return { type: 'accepted', reserve: open.reserve };
}

/** What the ledger will say to everybody. Of a data set's own limits only that they forbid the round: their numbers tell of other studies. */
export function publicReason({ code, message }: Failure): string {
  return code === 'limits-exceeded' ? `${code}: the data set's own limits forbid it` : shorten(`${code}: ${message}`, MAX_REASON_BYTES);
}

export function unbelievable(message: string): AntiphonError {
  return new AntiphonError('ledger-tampered', `the coordinator's ledger does not verify: ${message}; this site stops, nothing of its data was sent: ask the study lead`);
}
