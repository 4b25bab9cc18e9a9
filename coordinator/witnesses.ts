import { z } from 'zod';
import { fromHex } from '../shared/bytes.ts';
import { AntiphonError } from '../shared/errors.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { verifiedCosignature, witnessKey } from '../shared/ledger/cosignature.ts';
import type { LedgerState } from '../shared/ledger/fold.ts';
import { isHeadProblem } from '../shared/ledger/head-problem.ts';
import { parseJson } from '../shared/json.ts';
import { readLine } from '../shared/ledger/line.ts';
import { isLedgerProblem } from '../shared/ledger/problem.ts';
import { formatNote, formatSignature, parseNote, parseSignature, withSignature } from '../shared/ledger/signed-note.ts';
import { failure, type Failure } from '../shared/protocol/failure.ts';

const keptSchema = z.strictObject({ note: z.string(), site: z.string(), size: z.int().nonnegative() });

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

/**
 * Takes up what an earlier start has kept, each line verified like a fresh cosignature. One that is not of this ledger's heads is what a fork or a rollback leaves: the coordinator
 * does not go on over it (AntiphonError('ledger-tampered')), and the file stays as it is, for an audit to show.
 */
export function restoreWitnesses(witnesses: Pick<Witnesses, 'receive'>, { path, lines }: { readonly path: string; readonly lines: readonly string[] }): void {
  lines.forEach((text, i) => {
    const problem = receiveKept(witnesses, text);
    if (problem === undefined) return;
    throw new AntiphonError('ledger-tampered', `${path}, line ${i + 1}: ${problem}; the ledger was rewritten or is an older copy, or the file is another run's: run "npx antiphon audit" on the folder, and put the newest intact copy of both back`);
  });
}

function receiveKept(witnesses: Pick<Witnesses, 'receive'>, text: string): string | undefined {
  const kept = keptSchema.safeParse(parseJson(text));
  const note = kept.success ? parseNote(kept.data.note) : undefined;
  if (!kept.success || note === undefined || isHeadProblem(note)) return 'expected a site\'s cosignature of a head, found something else';
  const { site, size } = kept.data;
  // The coordinator's own signature is in the ledger; what counts is the site's, under the text that the ledger has there.
  const problems = note.signatures.map((signature) => witnesses.receive(site, { size, cosignature: formatSignature(signature) }));
  return problems.includes(undefined) ? undefined : `"${site}" cosigned a ledger of ${size} lines, which is not this one (${problems.at(-1)?.message ?? 'no signature'})`;
}
