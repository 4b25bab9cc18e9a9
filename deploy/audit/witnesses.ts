import { z } from 'zod';
import { equalBytes, fromHex } from '../../shared/bytes.ts';
import type { Primitives } from '../../shared/crypto/primitives.ts';
import { openCheckpoint, originOf } from '../../shared/ledger/checkpoint.ts';
import { verifiedCosignature, witnessKey } from '../../shared/ledger/cosignature.ts';
import type { LedgerState } from '../../shared/ledger/fold.ts';
import { parseJson } from '../../shared/json.ts';
import { isHeadProblem } from '../../shared/ledger/head-problem.ts';
import { rootOf } from '../../shared/ledger/merkle.ts';
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

const noteSchema = z.strictObject({ note: z.string(), site: z.string(), size: z.int().min(0) });

/** The cosigned heads of `witnesses.jsonl` against the ledger's own tree at their sizes. */
export async function readWitnesses(source: LineSource | undefined): Promise<WitnessReading> {
  const notes: z.output<typeof noteSchema>[] = [];
  const problems: WitnessProblem[] = [];
  if (source !== undefined) {
    for await (const text of source.lines()) {
      const parsed = noteSchema.safeParse(parseJson(text));
      if (parsed.success) notes.push(parsed.data);
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
      for (const { note, site, size } of notes) {
        const enrolled = sites.get(site);
        if (plan === undefined || enrolled === undefined) {
          problems.push({ verdict: 'tampered', message: `a cosigned head of "${site}", which is not enrolled` });
          continue;
        }
        const opened = openCheckpoint({ primitives, note, origin: originOf(plan.study), publicKey: fromHex(plan.coordinatorKey, 32) });
        if (isHeadProblem(opened)) {
          problems.push({ verdict: 'tampered', message: `the head that "${site}" cosigned: ${opened.message}` });
          continue;
        }
        const time = verifiedCosignature(primitives, opened.note, witnessKey({ primitives, study: plan.study, site, publicKey: fromHex(enrolled.key, 32) }));
        if (isHeadProblem(time)) problems.push({ verdict: 'tampered', message: `the cosignature of "${site}": ${time.message}` });
        else problems.push(...contradiction(opened.checkpoint, { site, root: roots.get(opened.checkpoint.size) }));
        checks.push({ site, size, time: isHeadProblem(time) ? undefined : new Date(1000 * time).toISOString() });
      }
      return problems;
    },
    checks: () => checks,
  };
}

function contradiction({ size, root: signed }: { readonly size: number; readonly root: Uint8Array }, { site, root }: { readonly site: string; readonly root: Uint8Array | undefined }): readonly WitnessProblem[] {
  if (root === undefined) return [{ verdict: 'forked', message: `"${site}" has cosigned a ledger of ${size} lines, this one has fewer: lines were removed` }];
  if (equalBytes(root, signed)) return [];
  return [{ verdict: 'forked', message: `the coordinator has signed, and "${site}" cosigned, another ledger of ${size} lines than this one: it was forked or rewritten` }];
}
