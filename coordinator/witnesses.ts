import { fromHex } from '../shared/bytes.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { verifiedCosignature, witnessKey } from '../shared/ledger/cosignature.ts';
import type { LedgerState } from '../shared/ledger/fold.ts';
import { isHeadProblem } from '../shared/ledger/head-problem.ts';
import { readLine } from '../shared/ledger/line.ts';
import { isLedgerProblem } from '../shared/ledger/problem.ts';
import { formatNote, parseNote, parseSignature, withSignature } from '../shared/ledger/signed-note.ts';
import { failure, type Failure } from '../shared/protocol/failure.ts';

/** Every site's word on the largest ledger it has seen. */
export interface Witnesses {
  /** Keeps a cosignature that verifies, of a head of this ledger, unless a later one of the site is known. */
  readonly receive: (site: string, cosigned: { readonly size: number; readonly cosignature: string }) => Failure | undefined;
  /** One JSON line per site: {"note", "site", "size"}, the note being the head, signed by the coordinator and cosigned by the site. */
  readonly lines: () => readonly string[];
  /** Called after every cosignature that was kept; returns how to stop that. */
  readonly subscribe: (listener: () => void) => () => void;
  /** Which of these sites have not cosigned the newest head. */
  readonly behind: (sites: Iterable<string>) => readonly string[];
}

export function createWitnesses({ primitives, ledger }: { readonly primitives: Primitives; readonly ledger: { readonly state: () => LedgerState; readonly lines: () => readonly string[] } }): Witnesses {
  const latest = new Map<string, { readonly size: number; readonly note: string }>();
  const listeners = new Set<() => void>();
  return {
    receive: (site, { size, cosignature }) => {
      const head = readLine(ledger.lines()[size] ?? '');
      const { plan, sites } = ledger.state();
      const enrolled = sites.get(site);
      if (isLedgerProblem(head) || head.body.type !== 'head' || plan === undefined || enrolled === undefined) return failure('ledger-invalid', `expected a cosignature of a head of this ledger, found one of size ${size}`);
      const note = parseNote(head.body.note);
      const signature = parseSignature(cosignature);
      if (isHeadProblem(note) || isHeadProblem(signature)) return failure('malformed', 'expected one signature line of a C2SP note');
      const cosigned = withSignature(note, signature);
      const key = witnessKey({ primitives, study: plan.study, site, publicKey: fromHex(enrolled.key, 32) });
      if (isHeadProblem(verifiedCosignature(primitives, cosigned, key))) return failure('bad-signature', `the cosignature of "${site}" does not verify`);
      if (size >= (latest.get(site)?.size ?? 0)) latest.set(site, { size, note: formatNote(cosigned) });
      for (const listener of [...listeners]) listener();
      return undefined;
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    behind: (sites) => [...sites].filter((site) => (latest.get(site)?.size ?? -1) < ledger.lines().length - 1),
    lines: () => [...latest].map(([site, { size, note }]) => JSON.stringify({ note, site, size })),
  };
}
