import { z } from 'zod';
import { equalBytes, fromHex } from '../../shared/bytes.ts';
import type { Primitives } from '../../shared/crypto/primitives.ts';
import { openCheckpoint, originOf, parseCheckpoint } from '../../shared/ledger/checkpoint.ts';
import { verifiedCosignature, witnessKey } from '../../shared/ledger/cosignature.ts';
import type { LedgerState } from '../../shared/ledger/fold.ts';
import { isCutShort, parseJson } from '../../shared/json.ts';
import { isHeadProblem } from '../../shared/ledger/head-problem.ts';
import { parseNote, parseVerifierKey } from '../../shared/ledger/signed-note.ts';
import { rootOf } from '../../shared/ledger/merkle.ts';
import { wholeLines } from '../../shared/platform/lines.ts';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import type { LineSource } from './source.ts';

export interface WitnessCheck {
  readonly site: string;
  /** Lines of the largest ledger that it has cosigned. */
  readonly size: number;
  /** By its own clock. */
  readonly time: string | undefined;
}

interface WitnessProblem {
  readonly verdict: 'tampered' | 'forked';
  readonly message: string;
}

export interface WitnessReading {
  readonly line: (state: LedgerState) => void;
  readonly finish: (state: LedgerState, primitives: Primitives) => readonly WitnessProblem[];
  readonly checks: () => readonly WitnessCheck[];
}

/** A head that a site has cosigned with its enrolled key, or a witness from outside (deploy/witness) with a key of its own. */
const noteSchema = z.union([
  z.strictObject({ note: z.string(), site: z.string(), size: z.int().min(0) }),
  z.strictObject({ note: z.string(), witness: z.string(), key: z.string(), size: z.int().min(0) }),
  /** One that a witness was shown and did not cosign, because it contradicts what it had seen. */
  z.strictObject({ note: z.string(), refusedBy: z.string(), size: z.int().min(0) }),
]);

/** The cosigned heads of `witnesses.jsonl` and of witnesses' `heads.jsonl` against the ledger's own tree at their sizes. */
export async function readWitnesses(sources: readonly LineSource[]): Promise<WitnessReading> {
  const notes: z.output<typeof noteSchema>[] = [];
  const problems: WitnessProblem[] = [];
  for (const source of sources) {
    for await (const text of wholeLines(source.lines())) {
      if (isCutShort(text)) continue;
      const parsed = noteSchema.safeParse(parseJson(text));
      // Where the stated size is not the signed one, the line would be compared with another head than its own.
      if (parsed.success && signedSize(parsed.data.note) === parsed.data.size) notes.push(parsed.data);
      else problems.push({ verdict: 'tampered', message: `${source.name} holds a line that is no cosigned head` });
    }
  }
  const sizes = new Set(notes.map(({ size }) => size));
  const roots = new Map<number, Uint8Array>();
  const checks: WitnessCheck[] = [];
  return {
    line: ({ length, tree }) => {
      if (sizes.has(length)) roots.set(length, rootOf(nodePrimitives, tree));
    },
    finish: ({ plan, sites }, primitives) => {
      for (const entry of notes) {
        const { note, size } = entry;
        const name = 'site' in entry ? entry.site : 'witness' in entry ? entry.witness : entry.refusedBy;
        const enrolled = sites.get(name);
        if (plan === undefined || ('site' in entry && enrolled === undefined)) {
          problems.push({ verdict: 'tampered', message: `a cosigned head of "${name}", which is not enrolled` });
          continue;
        }
        const opened = openCheckpoint({ primitives, note, origin: originOf(plan.study), publicKey: fromHex(plan.coordinatorKey, 32) });
        if (isHeadProblem(opened)) {
          problems.push({ verdict: 'tampered', message: `the head that "${name}" has kept: ${opened.message}` });
          continue;
        }
        const contradictions = contradiction(opened.checkpoint, { name, root: roots.get(opened.checkpoint.size) });
        if ('refusedBy' in entry) {
          problems.push(...contradictions);
          continue;
        }
        const key = 'site' in entry ? witnessKey({ primitives, study: plan.study, site: name, publicKey: fromHex(enrolled?.key ?? '', 32) }) : parseVerifierKey(primitives, entry.key);
        const time = isHeadProblem(key) ? key : verifiedCosignature(primitives, opened.note, key);
        if (isHeadProblem(time)) problems.push({ verdict: 'tampered', message: `the cosignature of "${name}": ${time.message}` });
        else problems.push(...contradictions);
        checks.push({ site: name, size, time: isHeadProblem(time) ? undefined : new Date(1000 * time).toISOString() });
      }
      return problems;
    },
    checks: () => checks,
  };
}

/** As the note's text says; undefined of what is no head. */
function signedSize(note: string): number | undefined {
  const parsed = parseNote(note);
  const checkpoint = isHeadProblem(parsed) ? parsed : parseCheckpoint(parsed.text);
  return isHeadProblem(checkpoint) ? undefined : checkpoint.size;
}

function contradiction({ size, root: signed }: { readonly size: number; readonly root: Uint8Array }, { name, root }: { readonly name: string; readonly root: Uint8Array | undefined }): readonly WitnessProblem[] {
  if (root === undefined) return [{ verdict: 'forked', message: `"${name}" has seen a signed ledger of ${size} lines, this one has fewer: lines were removed` }];
  if (equalBytes(root, signed)) return [];
  return [{ verdict: 'forked', message: `the coordinator has signed, and "${name}" has seen, another ledger of ${size} lines than this one: it was forked or rewritten` }];
}
