import { stat, truncate } from 'node:fs/promises';
import { equalBytes, toHex, utf8 } from '../shared/bytes.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { AntiphonError, invariant } from '../shared/errors.ts';
import type { Identity } from '../shared/crypto/keys.ts';
import { cosign, witnessKey } from '../shared/ledger/cosignature.ts';
import { emptyLedger, foldLine, isSigned, type LedgerState } from '../shared/ledger/fold.ts';
import { isHeadProblem } from '../shared/ledger/head-problem.ts';
import { readLine } from '../shared/ledger/line.ts';
import { leafHash } from '../shared/ledger/merkle.ts';
import { appendDurably } from '../shared/platform/append-durably.ts';
import { fileLines, wholeLines } from '../shared/platform/lines.ts';
import { isLedgerProblem, ledgerProblem, type LedgerProblem } from '../shared/ledger/problem.ts';
import { formatSignature, parseNote } from '../shared/ledger/signed-note.ts';

/** The site's own verified copy of the ledger: it believes nothing that does not fold, and remembers what it saw. */
export interface LedgerCopy {
  readonly state: () => LedgerState;
  /** The last line: a signed head, where `isSigned(state())`. */
  readonly lastLine: () => string | undefined;
  /** Is there a RESERVE line of this leaf hash (hex)? */
  readonly holdsReserve: (hash: string) => boolean;
  /** Lines from index `from` on; lines already known must be the same, and all of them must still be there. The first problem stops everything. */
  readonly extend: (from: number, lines: readonly string[]) => Promise<LedgerProblem | undefined>;
}

export async function openLedgerCopy(path: string, primitives: Primitives): Promise<LedgerCopy> {
  // The lines themselves are on disk; their leaf hashes are enough to know them again.
  const known: Uint8Array[] = [];
  const reserves = new Set<string>();
  let last: string | undefined;
  let state = emptyLedger();
  const fold = (text: string, leaf: Uint8Array): LedgerProblem | undefined => {
    const line = readLine(text);
    const next = isLedgerProblem(line) ? line : foldLine({ state, line, leaf, primitives });
    if (isLedgerProblem(next)) return next;
    state = next;
    known.push(leaf);
    if (!isLedgerProblem(line) && line.body.type === 'reserve') reserves.add(toHex(leaf));
    last = text;
    return undefined;
  };
  const leafOf = (text: string): Uint8Array => leafHash(primitives, utf8(text));

  if (await exists(path)) {
    let bytes = 0;
    for await (const text of wholeLines(fileLines(path, { notLines: 'ledger-tampered', unreadable: 'storage-failed' }))) {
      const problem = fold(text, leafOf(text));
      if (problem !== undefined) throw new AntiphonError('ledger-tampered', `${path}, line ${known.length + 1}: ${problem.message}; restore the file, or remove it to fetch the ledger again (and compare it with another site's)`);
      bytes += utf8(text).length + 1;
    }
    // A torn tail is only a copy's: the coordinator sends the line again.
    if ((await stat(path)).size > bytes) await truncate(path, bytes);
  }

  return {
    state: () => state,
    lastLine: () => last,
    holdsReserve: (hash) => reserves.has(hash),
    extend: async (from, lines) => {
      if (from > known.length) return ledgerProblem('wrong-index', `expected lines from line ${known.length + 1} on, found them from line ${from + 1} on`);
      if (from + lines.length < known.length) {
        return ledgerProblem('rolled-back', `the coordinator's ledger ends after line ${from + lines.length}, this site has seen ${known.length}: lines were removed, or an older copy was put in place`);
      }
      const fresh: string[] = [];
      for (const [i, text] of lines.entries()) {
        const seen = known[from + i];
        const leaf = leafOf(text);
        if (seen !== undefined) {
          if (!equalBytes(seen, leaf)) return ledgerProblem('forked', `line ${from + i + 1} is not the one this site saw before: the ledger was rewritten or forked`);
          continue;
        }
        const problem = fold(text, leaf);
        if (problem?.code === 'wrong-root') return ledgerProblem('forked', `${problem.message}, as this site saw them: the ledger was rewritten or forked`);
        if (problem !== undefined) return problem;
        fresh.push(`${text}\n`);
      }
      if (fresh.length > 0) await appendDurably(path, fresh.join(''));
      return undefined;
    },
  };
}

/** How the study ended, where this copy holds its END under a signed head: nothing is left to do for a site that starts. */
export function endOf(ledger: LedgerCopy): { readonly reason: string; readonly detail: string } | undefined {
  return isBelievable(ledger) ? ledger.state().ended : undefined;
}

/** What every act of the site asks first: is the last line it knows a head that the coordinator has signed? */
export function isBelievable({ state }: LedgerCopy): boolean {
  return state().length > 0 && isSigned(state());
}

/** This site's cosignature of the last head it knows, as a signature line of a C2SP note. Durable first: a witness does not forget what it signed. */
export function cosignLastHead(ledger: LedgerCopy, witness: { readonly primitives: Primitives; readonly identity: Identity; readonly site: string; readonly now: number }): { readonly size: number; readonly cosignature: string } {
  const { primitives, identity, site, now } = witness;
  const { plan } = ledger.state();
  const line = readLine(ledger.lastLine() ?? '');
  invariant(plan !== undefined && !isLedgerProblem(line) && line.body.type === 'head', 'a signed head to cosign');
  const note = parseNote(line.body.note);
  invariant(!isHeadProblem(note), 'a head that the fold has read');
  const key = witnessKey({ primitives, study: plan.study, site, publicKey: identity.publicKey });
  return { size: line.index, cosignature: formatSignature(cosign({ primitives, identity, key, text: note.text, time: Math.floor(now / 1000) })) };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, (error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw new AntiphonError('storage-failed', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}; without it this site does not know what it has seen`, { cause: error });
  });
}
