import { utf8 } from '../shared/bytes.ts';
import { LIMITS, type CoordinatorMessage } from '../shared/protocol/messages.ts';

/** Lines `from` to the present end as messages of at most LIMITS.ledgerLines lines and LIMITS.ledgerBytes bytes; one at least. The ledger may grow meanwhile. */
export function* ledgerMessages(lines: readonly string[], from: number): Generator<CoordinatorMessage> {
  const end = lines.length;
  let start = from;
  do {
    let next = start;
    let bytes = 0;
    while (next < end && next - start < LIMITS.ledgerLines) {
      bytes += utf8(lines[next] ?? '').length;
      // A line alone never exceeds it: the ledger accepts none that does.
      if (bytes > LIMITS.ledgerBytes && next > start) break;
      next += 1;
    }
    yield { type: 'ledger', from: start, lines: lines.slice(start, next) };
    start = next;
  } while (start < end);
}

/** Lines as text of some 64 kB a piece, up to the present end: a ledger may be longer than any string. */
export function* linePieces(lines: readonly string[]): Generator<string> {
  const end = lines.length;
  let piece = '';
  for (let i = 0; i < end; i += 1) {
    piece += `${lines[i] ?? ''}\n`;
    if (piece.length < PIECE_CHARACTERS) continue;
    yield piece;
    piece = '';
  }
  if (piece !== '') yield piece;
}
const PIECE_CHARACTERS = 65_536;
