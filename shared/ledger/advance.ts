import { equalBytes } from '../bytes.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { openCheckpoint, type OpenedCheckpoint } from './checkpoint.ts';
import { isHeadProblem } from './head-problem.ts';
import { verifyConsistency, type Proof, type TreeHead } from './merkle.ts';
import { ledgerProblem, type LedgerProblem } from './problem.ts';

/**
 * A witness that keeps one head and not the ledger: the newer head, if the coordinator has signed it and it extends the one that is known (shared/spec/heads.md).
 * `proof` is that of consistency from the smaller of the two sizes to the larger one. Never throws on a note or proof.
 */
export function advanceHead(input: {
  readonly primitives: Primitives;
  readonly origin: string;
  /** The coordinator's. */
  readonly publicKey: Uint8Array;
  readonly known: TreeHead | undefined;
  readonly note: string;
  readonly proof: Proof;
}): OpenedCheckpoint | LedgerProblem {
  const { primitives, origin, publicKey, known, note, proof } = input;
  const opened = openCheckpoint({ primitives, note, origin, publicKey });
  if (isHeadProblem(opened)) return ledgerProblem('bad-head', opened.message);
  const { checkpoint: head } = opened;
  if (known === undefined) return opened;
  if (head.size < known.size) {
    // An older head contradicts nothing by itself: whoever stands between may give old answers.
    if (verifyConsistency({ primitives, from: head, to: known, proof })) return ledgerProblem('stale', `the head that was given signs ${head.size} lines, a beginning of the ${known.size} that this witness has seen: an old answer; ask again`);
    return ledgerProblem('rolled-back', `the coordinator's head signs ${head.size} lines, this witness has seen one that signs ${known.size}, and the coordinator does not show that it still has them: lines were removed`);
  }
  if (head.size === known.size && !equalBytes(head.root, known.root)) return ledgerProblem('forked', `the coordinator has signed two ledgers of ${head.size} lines`);
  if (!verifyConsistency({ primitives, from: known, to: head, proof })) return ledgerProblem('forked', `the head over ${head.size} lines does not extend the one over ${known.size} that this witness has seen, or no proof of it was given: the ledger was rewritten or forked`);
  return opened;
}
