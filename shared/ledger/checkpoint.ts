import { fromBase64, toBase64 } from '../base64.ts';
import { equalBytes } from '../bytes.ts';
import type { Identity } from '../crypto/keys.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { invariant } from '../errors.ts';
import { headProblem, isHeadProblem, type HeadProblem } from './head-problem.ts';
import { emptyRoot, HASH_BYTES, type TreeHead } from './merkle.ts';
import { formatNote, isKeyName, noteKey, parseNote, signText, verifiedSignature, type SignedNote } from './signed-note.ts';

/** A log's word on its tree (c2sp.org/tlog-checkpoint). */
export interface Checkpoint extends TreeHead {
  /** Which log. */
  readonly origin: string;
}

/**
 * The log of a study: `antiphon/` and its hash, 64 hex digits. The study alone: a ledger begun anew, by whatever coordinator, is then the same
 * log and contradicts its earlier heads. The whole hash: two studies with one beginning of a hash cost only 2^32 tries if it has 64 bits.
 */
export function originOf(study: string): string {
  invariant(/^[0-9a-f]{64}$/.test(study), 'expected a study hash of 64 hex digits');
  return `antiphon/${study}`;
}

/** Three lines: origin, size, root in base64. */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  invariant(isKeyName(origin) && Number.isSafeInteger(size) && size >= 0 && root.length === HASH_BYTES, 'expected an origin without spaces, a size and a root of 32 bytes');
  return `${origin}\n${size}\n${toBase64(root)}\n`;
}

/** Reads the text of a note. Extension lines, which no auditor can check, are refused. */
export function parseCheckpoint(text: string): Checkpoint | HeadProblem {
  const [, origin, size, base64] = /^([^\n]+)\n(0|[1-9][0-9]{0,15})\n([^\n]+)\n$/.exec(text) ?? [];
  const root = fromBase64(base64 ?? '');
  if (origin === undefined || !Number.isSafeInteger(Number(size)) || root?.length !== HASH_BYTES) {
    return headProblem('malformed-checkpoint', `expected three lines, an origin, a size and a root of 32 bytes in base64, found ${JSON.stringify(text.slice(0, 120))}`);
  }
  return { origin, size: Number(size), root };
}

/** The checkpoint as a note, signed under the name of its origin. */
export function signCheckpoint(input: { readonly primitives: Primitives; readonly identity: Identity; readonly checkpoint: Checkpoint }): string {
  const { primitives, identity, checkpoint } = input;
  const text = formatCheckpoint(checkpoint);
  return formatNote({ text, signatures: [signText({ primitives, identity, name: checkpoint.origin, text })] });
}

export interface OpenedCheckpoint {
  readonly checkpoint: Checkpoint;
  /** With the signatures of others, not verified. */
  readonly note: SignedNote;
}

/** The checkpoint of a note that the log of this origin and key has signed. Whether it is consistent with others is not known yet. Never throws on a note. */
export function openCheckpoint(input: { readonly primitives: Primitives; readonly note: string | Uint8Array; readonly origin: string; readonly publicKey: Uint8Array }): OpenedCheckpoint | HeadProblem {
  const { primitives, origin, publicKey } = input;
  const note = parseNote(input.note);
  if (isHeadProblem(note)) return note;
  const signature = verifiedSignature(primitives, note, noteKey({ primitives, name: origin, type: 'ed25519', publicKey }));
  if (isHeadProblem(signature)) return signature;
  const checkpoint = parseCheckpoint(note.text);
  if (isHeadProblem(checkpoint)) return checkpoint;
  if (checkpoint.origin !== origin) return headProblem('wrong-origin', `expected a checkpoint of ${origin}, found one of ${JSON.stringify(checkpoint.origin.slice(0, 80))}`);
  if (checkpoint.size === 0 && !equalBytes(checkpoint.root, emptyRoot(primitives))) return headProblem('malformed-checkpoint', 'expected the root of no leaves, SHA-256 of nothing, at size 0');
  return { checkpoint, note };
}
