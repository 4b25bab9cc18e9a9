import type { Primitives } from '../shared/crypto/primitives.ts';
import type { LedgerMechanism, ReceiptEntry, Refusal } from '../shared/ledger/entry.ts';
import { sameMechanism } from '../shared/ledger/mechanism.ts';
import { verifyReceipt, verifyRefusal } from '../shared/ledger/statements.ts';
import { failure, type Failure } from '../shared/protocol/failure.ts';

/** The round that a site's signed word must be about. */
export interface StatementScope {
  readonly primitives: Primitives;
  readonly study: string;
  readonly round: number;
  /** Hash of the RESERVE line. */
  readonly reserve: string;
  readonly mechanism: LedgerMechanism;
  /** Ed25519 keys, hex. */
  readonly siteKeys: ReadonlyMap<string, string>;
}

export function judgeRefusal(scope: StatementScope, refusal: Refusal, site: string): Failure | undefined {
  if (refusal.site !== site) return failure('wrong-site', `the refusal speaks for "${refusal.site}"`);
  if (refusal.study !== scope.study) return failure('wrong-study', 'the refusal belongs to another study');
  if (refusal.round !== scope.round || refusal.reserve !== scope.reserve) return failure('wrong-round', 'the refusal belongs to another round');
  return verifyRefusal(scope.primitives, refusal, scope.siteKeys.get(site) ?? '') ? undefined : failure('bad-signature', 'the refusal is not signed by the enrolled key');
}

/** A receipt of this round (its number is the caller's to check). */
export function judgeReceipt(scope: StatementScope, receipt: ReceiptEntry, site: string): Failure | undefined {
  if (receipt.site !== site) return failure('wrong-site', `the receipt speaks for "${receipt.site}"`);
  if (receipt.study !== scope.study) return failure('wrong-study', 'the receipt belongs to another study');
  if (receipt.reserve !== scope.reserve) return failure('wrong-round', 'the receipt belongs to another reserve');
  if (!sameMechanism(receipt.mechanism, scope.mechanism)) return failure('malformed', 'the receipt names another mechanism than the reserve');
  return verifyReceipt(scope.primitives, receipt, scope.siteKeys.get(site) ?? '') ? undefined : failure('bad-signature', 'the receipt is not signed by the enrolled key');
}
