import type { ConnectionEvent } from './connection.ts';

/** Between two notes that the coordinator cannot be reached. */
const BETWEEN_MS = 30_000;

export interface RetryNotes {
  /** What to tell of a lost connection or a failed attempt: the first at once, and then one in half a minute, for a coordinator may be away all night. */
  readonly closed: (event: Extract<ConnectionEvent, { type: 'closed' }>) => string | undefined;
  readonly open: () => void;
}

export function createRetryNotes(now: () => number): RetryNotes {
  let attempts = 0;
  let toldAt = -Infinity;
  return {
    closed: ({ reason, retryWithinMs }) => {
      attempts += 1;
      if (now() - toldAt < BETWEEN_MS) return undefined;
      toldAt = now();
      return `${attempts === 1 ? '' : `${attempts} times without a session: `}${reason}; trying again within ${(retryWithinMs / 1000).toFixed(1)} s`;
    },
    open: () => {
      attempts = 0;
      toldAt = -Infinity;
    },
  };
}
