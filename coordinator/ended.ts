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

/** Sites that have not said that they know the end, and call meanwhile, get the whole ledger, cosign it, and are told. */
export async function farewell(input: { readonly server: CoordinatorServer; readonly witnesses: Witnesses; readonly sites: readonly string[]; readonly reason: StudyEnd['reason']; readonly signal: AbortSignal }): Promise<void> {
  const { server, witnesses, sites, reason, signal } = input;
  const aborted = (listener: () => void): (() => void) => {
    signal.addEventListener('abort', listener);
    return () => { signal.removeEventListener('abort', listener); };
  };
  await whenever(() => signal.aborted || witnesses.behind(sites).length === 0, [witnesses.subscribe, aborted], RETURN_MS);
  for (const site of server.ready()) server.send(site, { type: 'study-ended', reason });
  await whenever(() => signal.aborted || server.ready().size === 0, [server.subscribe, aborted], FAREWELL_MS);
}
