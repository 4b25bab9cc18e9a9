import { concatBytes, utf8 } from '../bytes.ts';
import type { Identity } from '../crypto/keys.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { invariant } from '../errors.ts';
import { originOf } from './checkpoint.ts';
import { headProblem, isHeadProblem, type HeadProblem } from './head-problem.ts';
import { noteKey, signatureOf, verifyEd25519, type NoteKey, type NoteSignature, type SignedNote } from './signed-note.ts';

/**
 * Cosignatures of checkpoints by witnesses (c2sp.org/tlog-cosignature, Ed25519, version 1): at this time, this was the largest tree of the log that
 * the witness had seen, and an extension of every earlier one. Times are in seconds since 1970, UTC.
 */

const TIME_BYTES = 8;

/** A site as a witness: `antiphon/<study hash>/<site>`. Its key is one site's of one study, as the standard demands of Ed25519 cosigners. */
export function witnessKey(input: { readonly primitives: Pick<Primitives, 'sha256'>; readonly study: string; readonly site: string; readonly publicKey: Uint8Array }): NoteKey {
  const { primitives, study, site, publicKey } = input;
  return noteKey({ primitives, name: `${originOf(study)}/${site}`, type: 'cosignature/v1', publicKey });
}

/** Signs the text of a checkpoint. Only for a checkpoint whose consistency with all earlier ones has just been verified. */
export function cosign(input: { readonly primitives: Pick<Primitives, 'sign'>; readonly identity: Identity; readonly key: NoteKey; readonly text: string; readonly time: number }): NoteSignature {
  const { primitives, identity, key, text, time } = input;
  invariant(isTime(time), `expected a time in whole seconds, found ${time}`);
  const signature = primitives.sign(cosignedBytes(text, time), identity.secretKey);
  const timestamp = new Uint8Array(TIME_BYTES);
  new DataView(timestamp.buffer).setBigUint64(0, BigInt(time), false);
  return { name: key.name, keyId: key.id, signature: concatBytes(timestamp, signature) };
}

/** When this witness cosigned the note's checkpoint, by its own clock; verified. Never throws on a note. */
export function verifiedCosignature(primitives: Pick<Primitives, 'verify'>, note: SignedNote, key: NoteKey): number | HeadProblem {
  const line = signatureOf(note, key);
  if (isHeadProblem(line)) return line;
  const { signature } = line;
  const time = signature.length === TIME_BYTES + 64 ? Number(new DataView(signature.buffer, signature.byteOffset).getBigUint64(0, false)) : NaN;
  const good = key.type === 'cosignature/v1' && isTime(time) && verifyEd25519(primitives, key, cosignedBytes(note.text, time), signature.subarray(TIME_BYTES));
  return good ? time : headProblem('bad-signature', `the cosignature of "${key.name}" is not over this checkpoint`);
}

/** The last second that ECMAScript has a date for, in the year 275760. */
const LAST_SECOND = 8.64e12;

/** Witnesses never leave the time out, so zero is none. */
function isTime(seconds: number): boolean {
  return Number.isSafeInteger(seconds) && seconds > 0 && seconds <= LAST_SECOND;
}

function cosignedBytes(text: string, time: number): Uint8Array {
  return utf8(`cosignature/v1\ntime ${time}\n${text}`);
}
