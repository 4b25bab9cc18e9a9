import { fromHex, toHex, utf8 } from '../bytes.ts';
import type { Identity } from '../crypto/keys.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { signDomain, verifyDomain, type Domain } from '../crypto/signature.ts';
import { canonicalJson } from './canonical.ts';
import type { EnrolEntry, ReceiptEntry, Refusal } from './entry.ts';

/** What sites sign: the canonical JSON of the entry without its `signature`, each kind in a domain of its own. */

type Unsigned<T extends { signature: string }> = Omit<T, 'signature'>;

function signStatement<T extends { signature: string }>(domain: Domain, primitives: Primitives, identity: Identity, body: Unsigned<T>): string {
  return toHex(signDomain({ primitives, domain, message: utf8(canonicalJson(body)), secretKey: identity.secretKey }));
}

function verifyStatement(domain: Domain, primitives: Primitives, entry: { readonly signature: string }, publicKey: string): boolean {
  const { signature, ...body } = entry;
  if (!/^[0-9a-f]{64}$/.test(publicKey)) return false;
  return verifyDomain({ primitives, domain, message: utf8(canonicalJson(body)), signature: fromHex(signature, 64), publicKey: fromHex(publicKey, 32) });
}

export function signEnrolment(primitives: Primitives, identity: Identity, body: Unsigned<EnrolEntry>): EnrolEntry {
  return { ...body, signature: signStatement<EnrolEntry>('enrol', primitives, identity, body) };
}

export function signReceipt(primitives: Primitives, identity: Identity, body: Unsigned<ReceiptEntry>): ReceiptEntry {
  return { ...body, signature: signStatement<ReceiptEntry>('receipt', primitives, identity, body) };
}

export function signRefusal(primitives: Primitives, identity: Identity, body: Unsigned<Refusal>): Refusal {
  return { ...body, signature: signStatement<Refusal>('refusal', primitives, identity, body) };
}

export function verifyEnrolment(primitives: Primitives, entry: EnrolEntry, publicKey: string): boolean {
  return verifyStatement('enrol', primitives, entry, publicKey);
}

export function verifyReceipt(primitives: Primitives, entry: ReceiptEntry, publicKey: string): boolean {
  return verifyStatement('receipt', primitives, entry, publicKey);
}

export function verifyRefusal(primitives: Primitives, refusal: Refusal, publicKey: string): boolean {
  return verifyStatement('refusal', primitives, refusal, publicKey);
}
