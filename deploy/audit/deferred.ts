import type { Primitives } from '../../shared/crypto/primitives.ts';
import { verifyInBackground } from '../../shared/platform/primitives.ts';

/** Signatures that are verified beside the reading, on all processors. */
export interface DeferredSignatures {
  /** The same primitives, but a signature is taken for good at once and verified later. */
  readonly primitives: Primitives;
  /** Says which line is being read; resolves when few enough are waiting. */
  readonly reading: (line: number) => Promise<void> | undefined;
  /** When all are verified: the first line (from 0) with a bad one, or undefined; and how many there were. */
  readonly settled: () => Promise<{ readonly badLine: number | undefined; readonly count: number }>;
}

/** Bounds the memory, and keeps the pool busy. */
const MAX_WAITING = 4096;

export function deferSignatures(primitives: Primitives): DeferredSignatures {
  let line = 0;
  let count = 0;
  let waiting = 0;
  let badLine: number | undefined;
  let sleeper: { readonly until: number; readonly wake: () => void } | undefined;
  const until = (few: number): Promise<void> => new Promise((resolve) => (sleeper = { until: few, wake: resolve }));
  const check = (message: Uint8Array, signature: Uint8Array, publicKey: Uint8Array): void => {
    const at = line;
    waiting += 1;
    count += 1;
    verifyInBackground(message, signature, publicKey, (good) => {
      waiting -= 1;
      if (!good) badLine = Math.min(badLine ?? at, at);
      if (sleeper === undefined || waiting > sleeper.until) return;
      const { wake } = sleeper;
      sleeper = undefined;
      wake();
    });
  };
  return {
    primitives: {
      ...primitives,
      verify: (message, signature, publicKey) => {
        check(message, signature, publicKey);
        return true;
      },
    },
    reading: (current) => {
      line = current;
      return waiting < MAX_WAITING ? undefined : until(MAX_WAITING / 2);
    },
    settled: async () => {
      if (waiting > 0) await until(0);
      return { badLine, count };
    },
  };
}
