import { fromHex, toHex, utf8 } from '../bytes.ts';
import type { Identity } from '../crypto/keys.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { signDomain, verifyDomain } from '../crypto/signature.ts';
import { canonicalJson, parseCanonical } from './canonical.ts';
import { lineSchema, type EntryBody, type LedgerLine } from './entry.ts';
import { ledgerProblem, type LedgerProblem } from './problem.ts';

export const FIRST_PREVIOUS = '0'.repeat(64);

export interface SignedLine {
  /** Canonical JSON, without the newline. */
  readonly text: string;
  readonly hash: string;
  readonly line: LedgerLine;
}

export function signLine(input: {
  readonly primitives: Primitives;
  readonly identity: Identity;
  readonly index: number;
  readonly previous: string;
  readonly time: string;
  readonly body: EntryBody;
}): SignedLine {
  const { primitives, identity, index, previous, time, body } = input;
  const unsigned = { antiphon: 1 as const, index, previous, time, body };
  const signature = toHex(signDomain({ primitives, domain: 'ledger-line', message: utf8(canonicalJson(unsigned)), secretKey: identity.secretKey }));
  const line: LedgerLine = { ...unsigned, signature };
  const text = canonicalJson(line);
  return { text, hash: hashLine(primitives, text), line };
}

/** A line from text: canonical, of the schema. Signature, link and order are the fold's. */
export function readLine(text: string): LedgerLine | LedgerProblem {
  const value = parseCanonical(text);
  if (value === undefined) return ledgerProblem('not-canonical', 'expected one line of RFC 8785 canonical JSON, found other text');
  const parsed = lineSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return ledgerProblem('not-an-entry', `not a ledger line: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unknown'}`);
}

export function verifyLineSignature(primitives: Primitives, line: LedgerLine, coordinatorKey: string): boolean {
  const { signature, ...unsigned } = line;
  return verifyDomain({ primitives, domain: 'ledger-line', message: utf8(canonicalJson(unsigned)), signature: fromHex(signature, 64), publicKey: fromHex(coordinatorKey, 32) });
}

export function hashLine(primitives: Pick<Primitives, 'sha256'>, text: string): string {
  return toHex(primitives.sha256(utf8(text)));
}
