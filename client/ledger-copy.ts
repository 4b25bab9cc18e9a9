import { appendFile, readFile, writeFile } from 'node:fs/promises';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { AntiphonError } from '../shared/errors.ts';
import { emptyLedger, foldLine, type LedgerState } from '../shared/ledger/fold.ts';
import { hashLine, readLine } from '../shared/ledger/line.ts';
import { isLedgerProblem, ledgerProblem, type LedgerProblem } from '../shared/ledger/problem.ts';

/** The site's own verified copy of the ledger: it believes nothing that does not fold, and remembers what it saw. */
export interface LedgerCopy {
  readonly state: () => LedgerState;
  /** Lines from index `from` on; lines already known must be the same. The first problem stops everything. */
  readonly extend: (from: number, lines: readonly string[]) => Promise<LedgerProblem | undefined>;
}

export async function openLedgerCopy(path: string, primitives: Primitives): Promise<LedgerCopy> {
  const known: string[] = [];
  let state = emptyLedger();
  const fold = (text: string): LedgerProblem | undefined => {
    const line = readLine(text);
    const next = isLedgerProblem(line) ? line : foldLine({ state, line, hash: hashLine(primitives, text), primitives });
    if (isLedgerProblem(next)) return next;
    state = next;
    known.push(text);
    return undefined;
  };

  const stored = await readFile(path, 'utf8').catch(() => '');
  const whole = stored.slice(0, stored.lastIndexOf('\n') + 1);
  // A torn tail is only a copy's: the coordinator sends the line again.
  if (whole.length < stored.length) await writeFile(path, whole);
  for (const text of whole.split('\n').slice(0, -1)) {
    const problem = fold(text);
    if (problem !== undefined) throw new AntiphonError('ledger-tampered', `${path}, line ${known.length}: ${problem.message}; restore the file, or remove it to fetch the ledger again (and compare it with another site's)`);
  }

  return {
    state: () => state,
    extend: async (from, lines) => {
      if (from > known.length) return ledgerProblem('wrong-index', `expected lines from ${known.length} on, found ${from}`);
      const fresh: string[] = [];
      for (const [i, text] of lines.entries()) {
        const seen = known[from + i];
        if (seen !== undefined) {
          if (seen !== text) return ledgerProblem('broken-link', `line ${from + i} is not the one this site saw before: the ledger was rewritten or forked`);
          continue;
        }
        const problem = fold(text);
        if (problem !== undefined) return problem;
        fresh.push(`${text}\n`);
      }
      if (fresh.length > 0) await appendFile(path, fresh.join(''));
      return undefined;
    },
  };
}
