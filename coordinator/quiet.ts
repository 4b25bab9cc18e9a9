import type { EventSink, StudyEvent } from './events.ts';

type FailureEvent = Extract<StudyEvent, { type: 'failure' }>;

export interface QuietSink {
  readonly emit: EventSink;
  /** Says what is still untold. */
  readonly flush: () => void;
}

const WINDOW_MS = 60_000;
const MOST_PER_WINDOW = 100;

/**
 * Whoever can reach the coordinator can make it report failures, and each is written down: of every site, and of all strangers together, 100 a minute are told one by one, the
 * rest as a number. Everything that is no failure passes.
 */
export function quietFailures({ emit, now }: { readonly emit: EventSink; readonly now: () => number }): QuietSink {
  const windows = new Map<string, { readonly since: number; told: number; untold: number; last: FailureEvent }>();
  const close = (name: string): void => {
    const window = windows.get(name);
    windows.delete(name);
    if (window === undefined || window.untold === 0) return;
    const { last, untold } = window;
    emit({ ...last, time: new Date(now()).toISOString(), message: `${untold} more failures within a minute are left out here; the last: ${last.code}: ${last.message}` });
  };
  return {
    emit: (event) => {
      if (event.type !== 'failure') return void emit(event);
      const name = event.site ?? '';
      if (now() - (windows.get(name)?.since ?? -Infinity) >= WINDOW_MS) close(name);
      const window = windows.get(name) ?? { since: now(), told: 0, untold: 0, last: event };
      windows.set(name, window);
      if (window.told < MOST_PER_WINDOW) {
        window.told += 1;
        emit(event);
      } else {
        window.untold += 1;
        window.last = event;
      }
    },
    flush: () => {
      for (const name of [...windows.keys()]) close(name);
    },
  };
}
