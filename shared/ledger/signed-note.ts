import { fromBase64, toBase64 } from '../base64.ts';
import { concatBytes, fromHex, fromUtf8, toHex, utf8 } from '../bytes.ts';
import type { Identity } from '../crypto/keys.ts';
import { isLowOrderKey } from '../crypto/low-order.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { invariant } from '../errors.ts';
import { headProblem, isHeadProblem, type HeadProblem } from './head-problem.ts';

/**
 * Signed notes (c2sp.org/signed-note): a text, an empty line, signature lines. Read more strictly than the standard asks: base64 has one
 * spelling and a key has one line, so that a note that parses is the only spelling of its content.
 */

/** What a key signs, and the byte for it in key ids: the text of a note, or a cosignature's message (c2sp.org/tlog-cosignature). */
const TYPE_BYTES = { ed25519: 0x01, 'cosignature/v1': 0x04 } as const;
export type SignatureType = keyof typeof TYPE_BYTES;
const SIGNATURE_TYPES: readonly SignatureType[] = ['ed25519', 'cosignature/v1'];

/** A public key as notes know it: name and id together single it out. */
export interface NoteKey {
  readonly name: string;
  /** 4 bytes in hex: SHA-256(name, newline, type byte, public key), its beginning. Not collision-resistant and not meant to be. */
  readonly id: string;
  readonly type: SignatureType;
  readonly publicKey: Uint8Array;
}

export interface NoteSignature {
  readonly name: string;
  readonly keyId: string;
  /** Without the key id. */
  readonly signature: Uint8Array;
}

export interface SignedNote {
  /** Ends with a newline. Nobody's word until a signature is verified. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** Bytes of a note: room for a cosignature of each of the 5000 sites that a study may have. */
export const MAX_NOTE_LENGTH = 2 ** 21;

const ID_BYTES = 4;

/** Key names are not empty and hold no Unicode space, no control character and no plus. */
export function isKeyName(name: string): boolean {
  return name.isWellFormed() && /^[^\p{White_Space}\p{Cc}+]+$/u.test(name);
}

export function noteKey(input: { readonly primitives: Pick<Primitives, 'sha256'>; readonly name: string; readonly type: SignatureType; readonly publicKey: Uint8Array }): NoteKey {
  const { primitives, name, type, publicKey } = input;
  invariant(isKeyName(name) && publicKey.length === 32, `expected a key name without spaces and plus, and 32 bytes, found ${quote(name)} and ${publicKey.length} bytes`);
  const id = primitives.sha256(concatBytes(utf8(`${name}\n`), Uint8Array.of(TYPE_BYTES[type]), publicKey)).subarray(0, ID_BYTES);
  return { name, id: toHex(id), type, publicKey };
}

/** `name+id+base64(type byte, public key)`: what a verifier is configured with. */
export function formatVerifierKey({ name, id, type, publicKey }: NoteKey): string {
  return `${name}+${id}+${toBase64(concatBytes(Uint8Array.of(TYPE_BYTES[type]), publicKey))}`;
}

export function parseVerifierKey(primitives: Pick<Primitives, 'sha256'>, text: string): NoteKey | HeadProblem {
  const malformed = (found: string): HeadProblem => headProblem('malformed-key', `expected a verifier key, name+id+base64, found ${found}`);
  const [, name = '', id = '', base64 = ''] = /^([^+]*)\+([^+]*)\+([^]*)$/.exec(text) ?? [];
  const bytes = fromBase64(base64);
  if (!isKeyName(name) || bytes === undefined) return malformed(quote(text));
  const type = SIGNATURE_TYPES.find((each) => TYPE_BYTES[each] === bytes[0]);
  if (type === undefined || bytes.length !== 33) return malformed('a key that is neither Ed25519 (type 1) nor an Ed25519 cosigner (type 4)');
  const key = noteKey({ primitives, name, type, publicKey: bytes.slice(1) });
  if (key.id !== id) return malformed(`the id ${quote(id)} where name and key give ${key.id}`);
  return isLowOrderKey('ed25519', key.publicKey) ? malformed('a key of small order, under which anybody can sign') : key;
}

/** One signature line, without its newline. */
export function formatSignature({ name, keyId, signature }: NoteSignature): string {
  return `— ${name} ${toBase64(concatBytes(fromHex(keyId, ID_BYTES), signature))}`;
}

export function parseSignature(line: string): NoteSignature | HeadProblem {
  const [, name = '', base64 = ''] = /^— ([^ ]*) ([^ ]*)$/.exec(line) ?? [];
  const bytes = fromBase64(base64);
  if (!isKeyName(name) || bytes === undefined || bytes.length <= ID_BYTES) return headProblem('malformed-note', `expected a signature line "— name base64", found ${quote(line)}`);
  return { name, keyId: toHex(bytes.subarray(0, ID_BYTES)), signature: bytes.slice(ID_BYTES) };
}

export function formatNote({ text, signatures }: SignedNote): string {
  invariant(text.endsWith('\n') && signatures.length > 0, "expected a note's text to end with a newline and to be signed");
  return `${text}\n${signatures.map((each) => `${formatSignature(each)}\n`).join('')}`;
}

/** Splits a note and verifies nothing. `formatNote` of the result gives back exactly these characters. Never throws. */
export function parseNote(note: string | Uint8Array): SignedNote | HeadProblem {
  const malformed = (found: string): HeadProblem => headProblem('malformed-note', `expected a text, an empty line and signature lines, found ${found}`);
  if (note.length > MAX_NOTE_LENGTH) return malformed(`more than ${MAX_NOTE_LENGTH} bytes`);
  const whole = typeof note === 'string' ? note : decode(note);
  if (whole === undefined || !whole.isWellFormed() || /[\u0000-\u0009\u000b-\u001f]/.test(whole)) return malformed('bytes that are not UTF-8, or a control character');
  const end = whole.lastIndexOf('\n\n') + 1;
  if (end === 0 || !whole.endsWith('\n')) return malformed('no empty line, or no newline at the end');
  const signatures: NoteSignature[] = [];
  const keys = new Set<string>();
  for (const line of whole.slice(end + 1, -1).split('\n')) {
    const signature = parseSignature(line);
    if (isHeadProblem(signature)) return signature;
    if (keys.has(`${signature.name}+${signature.keyId}`)) return malformed(`a second signature of ${quote(signature.name)}`);
    keys.add(`${signature.name}+${signature.keyId}`);
    signatures.push(signature);
  }
  return { text: whole.slice(0, end), signatures };
}

/** The note with one more signature, or another one of a key that had signed. */
export function withSignature({ text, signatures }: SignedNote, added: NoteSignature): SignedNote {
  return { text, signatures: [...signatures.filter(({ name, keyId }) => name !== added.name || keyId !== added.keyId), added] };
}

export function signText(input: { readonly primitives: Pick<Primitives, 'sha256' | 'sign'>; readonly identity: Identity; readonly name: string; readonly text: string }): NoteSignature {
  const { primitives, identity, name, text } = input;
  const { id } = noteKey({ primitives, name, type: 'ed25519', publicKey: identity.publicKey });
  return { name, keyId: id, signature: primitives.sign(utf8(text), identity.secretKey) };
}

/** The key's signature of the note's text, verified. Lines of other keys are not looked at. */
export function verifiedSignature(primitives: Pick<Primitives, 'verify'>, note: SignedNote, key: NoteKey): NoteSignature | HeadProblem {
  const line = signatureOf(note, key);
  if (isHeadProblem(line)) return line;
  const good = key.type === 'ed25519' && verifyEd25519(primitives, key, utf8(note.text), line.signature);
  return good ? line : headProblem('bad-signature', `the signature of ${quote(key.name)} is not over this text`);
}

/** The key's line, not verified. */
export function signatureOf(note: SignedNote, key: NoteKey): NoteSignature | HeadProblem {
  const line = note.signatures.find(({ name, keyId }) => name === key.name && keyId === key.id);
  return line ?? headProblem('unsigned', `expected a signature of ${quote(key.name)} (key ${key.id}), found ${note.signatures.length} of others`);
}

/** False under a key of small order, whatever the signature: anybody could have made it. */
export function verifyEd25519(primitives: Pick<Primitives, 'verify'>, { publicKey }: NoteKey, message: Uint8Array, signature: Uint8Array): boolean {
  return !isLowOrderKey('ed25519', publicKey) && primitives.verify(message, signature, publicKey);
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return fromUtf8(bytes);
  } catch {
    return undefined;
  }
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
