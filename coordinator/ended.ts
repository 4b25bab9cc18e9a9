import type { AbortEntry } from '../shared/ledger/entry.ts';
import { MAX_REASON_BYTES, shorten } from '../shared/lengths.ts';
import { readLine } from '../shared/ledger/line.ts';
import { isLedgerProblem } from '../shared/ledger/problem.ts';
import type { Book } from './book.ts';
import type { StudyEvent } from './events.ts';
import type { StudyEnd } from './run.ts';
import type { CoordinatorServer } from './server.ts';
import { whenever } from './timing.ts';
import type { Witnesses } from './witnesses.ts';

/** So long the end waits for the sites' word on the whole ledger. */
export const FAREWELL_MS = 5000;
/** And so long a study that has ended before waits for those that have not said it: sites that call try again within 15 s. */
const RETURN_MS = 20_000;

/** What a study was told to have come to: its last start, its test part and its end; undefined where the end was not told. Nothing is added to it. */
export function lastTold(events: readonly StudyEvent[], folder: string): readonly StudyEvent[] | undefined {
  const ended = events.findLast((event) => event.type === 'ended' && event.reason !== 'interrupted');
  if (ended?.type !== 'ended') return undefined;
  const started = events.findLast((event) => event.type === 'started');
  const test = events.findLast((event) => event.type === 'evaluated' && event.split === 'test');
  return [
    ...(started?.type === 'started' ? [{ ...started, folder, resumedAfterRound: 0 }] : []),
    ...(test === undefined ? [] : [test]),
    { ...ended, detail: `${ended.detail}; it had ended before, so nothing was trained or evaluated again` },
  ];
}

/**
 * All planned rounds have been used. Without a single commit there is no model but the initial one: that is no success. A function of the ledger alone, so that a coordinator that was started
 * again closes it with the same words.
 */
export function endOfSchedule(rounds: number, book: Pick<Book, 'state' | 'lines'>): StudyEnd {
  const { committedRounds } = book.state();
  const aborted = rounds - committedRounds;
  if (aborted === 0) return { reason: 'completed', detail: `all ${rounds} rounds of the schedule` };
  const last = lastAbort(book.lines());
  const why = last === undefined ? 'for reasons that the ledger does not give' : `round ${last.round}: ${abortText(last)}`;
  if (committedRounds === 0) return { reason: 'failed', detail: rounds === 1 ? `the only round did not commit: ${why}` : `none of the ${rounds} rounds committed: the last, ${why}` };
  return { reason: 'completed', detail: `${committedRounds} of ${rounds} rounds committed, ${aborted} aborted (${aborted === 1 ? '' : 'the last, '}${why})` };
}

function lastAbort(lines: readonly string[]): AbortEntry | undefined {
  for (let i = lines.length - 1; i >= 0; i -= 1) {
    const line = readLine(lines[i] ?? '');
    if (!isLedgerProblem(line) && line.body.type === 'abort') return line.body;
  }
  return undefined;
}

/** Refusals that are named, of possibly thousands. */
const NAMED = 5;

/** Why a round aborted: the coordinator's reason, and what its sites signed. */
export function abortText({ reason, refusals }: Pick<AbortEntry, 'reason' | 'refusals'>): string {
  const named = refusals.slice(0, NAMED).map((refusal) => `; ${refusal.site} refused: ${refusal.reason}`);
  const more = refusals.length - named.length;
  return `${reason}${named.join('')}${more > 0 ? `; ${more} more refused` : ''}`;
}

/** What a site is told, and prints, at most as long as the protocol allows; the ledger, which every site has by then, says it in full. */
export function farewellText({ reason, detail }: StudyEnd): string {
  return shorten(`${reason}: ${detail}`, MAX_REASON_BYTES);
}

/** Sites that have not said that they know the end, and call meanwhile, get the whole ledger, cosign it, and are told. */
export async function farewell(input: { readonly server: CoordinatorServer; readonly witnesses: Witnesses; readonly sites: readonly string[]; readonly end: StudyEnd; readonly signal: AbortSignal }): Promise<void> {
  const { server, witnesses, sites, end, signal } = input;
  const aborted = (listener: () => void): (() => void) => {
    signal.addEventListener('abort', listener);
    return () => { signal.removeEventListener('abort', listener); };
  };
  await whenever(() => signal.aborted || witnesses.behind(sites).length === 0, [witnesses.subscribe, aborted], RETURN_MS);
  for (const site of server.ready()) server.send(site, { type: 'study-ended', reason: farewellText(end) });
  await whenever(() => signal.aborted || server.ready().size === 0, [server.subscribe, aborted], FAREWELL_MS);
}
