import { toHex, utf8 } from '../bytes.ts';
import { isWithin, MAX_LINE_BYTES } from '../lengths.ts';
import { canonicalJson, parseCanonical } from './canonical.ts';
import { lineSchema, type LedgerLine } from './entry.ts';
import { leafHash, type Hashing } from './merkle.ts';
import { ledgerProblem, type LedgerProblem } from './problem.ts';

/** Canonical JSON, without the newline: the bytes of a leaf. */
export function formatLine({ index, time, body }: Omit<LedgerLine, 'antiphon'>): string {
  return canonicalJson({ antiphon: 1, index, time, body });
}

/** A line from text: short enough to be sent, canonical, of the schema. Place, order and signatures are the fold's. */
export function readLine(text: string): LedgerLine | LedgerProblem {
  if (!isWithin(text, MAX_LINE_BYTES)) return ledgerProblem('not-an-entry', `not a ledger line: longer than ${MAX_LINE_BYTES} bytes`);
  const value = parseCanonical(text);
  if (value === undefined) return ledgerProblem('not-canonical', 'expected one line of RFC 8785 canonical JSON, found other text');
  const parsed = lineSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return ledgerProblem('not-an-entry', `not a ledger line: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unknown'}`);
}

/** The line's name in the ledger: its Merkle leaf hash, hex. */
export function hashLine(primitives: Hashing, text: string): string {
  return toHex(leafHash(primitives, utf8(text)));
}
