import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Primitives } from '../../shared/crypto/primitives.ts';
import { createBatch, firstBadLine } from './signature-batch.ts';

/** Signatures that are verified beside the reading, on all processors. */
export interface DeferredSignatures {
  /** The same primitives, but a signature is taken for good at once and verified later. */
  readonly primitives: Primitives;
  /** Says which line is being read. */
  readonly reading: (line: number) => void;
  /** When all are verified: the first line (from 0) with a bad one, or undefined; and how many there were. */
  readonly settled: () => Promise<{ readonly badLine: number | undefined; readonly count: number }>;
}

/** Signatures that go to a thread together. A ledger with fewer needs no other thread. */
const BATCH = 1024;
/** Batches that may wait for a thread; what comes above is verified by the reader itself, which bounds the memory and leaves no processor idle. */
const MAX_WAITING = 3;

export function deferSignatures(primitives: Primitives): DeferredSignatures {
  const batch = createBatch();
  const threads: Thread[] = [];
  let line = 0;
  let count = 0;
  let badLine: number | undefined;
  const found = (bad: number | undefined): void => {
    if (bad !== undefined) badLine = Math.min(badLine ?? bad, bad);
  };
  const hand = (bytes: Uint8Array<ArrayBuffer>): void => {
    while (threads.length < Math.max(1, availableParallelism() - 1)) threads.push(startThread(found));
    const freest = threads.reduce((a, b) => (b.waiting() < a.waiting() ? b : a));
    if (freest.waiting() < MAX_WAITING) freest.post(bytes);
    else found(firstBadLine(primitives, bytes));
  };
  return {
    primitives: {
      ...primitives,
      verify: (message, signature, publicKey) => {
        if (signature.length !== 64 || publicKey.length !== 32) return false;
        count += 1;
        batch.add(line, message, signature, publicKey);
        if (batch.size() === BATCH) hand(batch.take());
        return true;
      },
    },
    reading: (current) => {
      line = current;
    },
    settled: async () => {
      found(firstBadLine(primitives, batch.take()));
      await Promise.all(threads.map(({ finish }) => finish()));
      return { badLine, count };
    },
  };
}

interface Thread {
  readonly post: (batch: Uint8Array<ArrayBuffer>) => void;
  readonly waiting: () => number;
  /** Resolves when all that was posted is verified; rejects when the thread could not. */
  readonly finish: () => Promise<void>;
}

function startThread(found: (bad: number | undefined) => void): Thread {
  const worker = new Worker(new URL('./signature-worker.js', import.meta.url));
  let waiting = 0;
  let failed: Error | undefined;
  let wake: () => void = () => undefined;
  worker.on('message', (bad: number | undefined) => {
    waiting -= 1;
    found(bad);
    wake();
  });
  worker.on('error', (error) => {
    failed = error;
    wake();
  });
  return {
    post: (bytes) => {
      waiting += 1;
      worker.postMessage(bytes, [bytes.buffer]);
    },
    waiting: () => waiting,
    finish: async () => {
      while (waiting > 0 && failed === undefined) await new Promise<void>((resolve) => (wake = resolve));
      await worker.terminate();
      if (failed !== undefined) throw failed;
    },
  };
}
