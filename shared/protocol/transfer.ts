import { equalBytes } from '../bytes.ts';
import { invariant } from '../errors.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { openChunk, sealChunk, type SealContext } from '../crypto/seal.ts';
import { failure, isFailure, type Failure } from './failure.ts';
import { LIMITS } from './messages.ts';

const TAG_BYTES = 16;
/** Plaintext bytes of a chunk; sealed, it is LIMITS.chunkBytes. */
export const PLAIN_CHUNK_BYTES = LIMITS.chunkBytes - TAG_BYTES;

export function chunkCount(totalBytes: number): number {
  return Math.ceil(totalBytes / PLAIN_CHUNK_BYTES);
}

export function sealTransfer(context: SealContext, plaintext: Uint8Array): Uint8Array<ArrayBuffer>[] {
  invariant(chunkCount(plaintext.length) === context.chunks, `${context.chunks} chunks for ${plaintext.length} bytes`);
  return Array.from({ length: chunkCount(plaintext.length) }, (_, i) => sealChunk(context, i, plaintext.subarray(i * PLAIN_CHUNK_BYTES, (i + 1) * PLAIN_CHUNK_BYTES)));
}

/** Whole or not at all: a missing chunk, or the first that does not open, ends it. */
export function openTransfer(context: SealContext, chunks: readonly Uint8Array[]): Uint8Array | Failure {
  if (chunks.length !== context.chunks) return failure('bad-seal', `sealed as ${context.chunks} chunks, found ${chunks.length}`);
  const whole = new Uint8Array(chunks.reduce((sum, sealed) => sum + Math.max(0, sealed.length - TAG_BYTES), 0));
  let offset = 0;
  for (const [i, sealed] of chunks.entries()) {
    const plaintext = openChunk(context, i, sealed);
    if (isFailure(plaintext)) return plaintext;
    whole.set(plaintext, offset);
    offset += plaintext.length;
  }
  return whole;
}

/** SHA-256 of the sealed chunks, one after the other: what a receipt names. */
export function hashChunks(primitives: Pick<Primitives, 'sha256Parts'>, chunks: readonly Uint8Array[]): Uint8Array {
  return primitives.sha256Parts(chunks);
}

/** The sending half: at most `window` chunks beyond the last acknowledged one. */
export interface Outbox {
  /** Indices to send now; each is given once unless `resumeAt` goes back. */
  readonly next: () => number[];
  readonly acknowledge: (nextChunk: number) => void;
  readonly resumeAt: (nextChunk: number) => void;
  readonly done: () => boolean;
}

export function createOutbox({ chunks, window }: { readonly chunks: number; readonly window: number }): Outbox {
  let acknowledged = 0;
  let sent = 0;
  return {
    next: () => {
      const indices: number[] = [];
      while (sent < chunks && sent < acknowledged + window) indices.push(sent++);
      return indices;
    },
    acknowledge: (nextChunk) => {
      acknowledged = Math.min(Math.max(acknowledged, nextChunk), sent);
    },
    resumeAt: (nextChunk) => {
      acknowledged = Math.min(Math.max(0, nextChunk), chunks);
      sent = acknowledged;
    },
    done: () => acknowledged >= chunks,
  };
}

/** The receiving half, in order and idempotent. */
export interface Inbox {
  /** A repeated chunk is ignored (its acknowledgement was lost), but only with the same bytes; a gap or a wrong size is refused. */
  readonly accept: (index: number, sealed: Uint8Array) => Failure | undefined;
  readonly nextChunk: () => number;
  readonly complete: () => boolean;
  readonly chunks: () => readonly Uint8Array[];
}

/** `totalBytes` is the declared plaintext size; nothing is allocated before it is checked. */
export function createInbox(totalBytes: number): Inbox | Failure {
  if (!Number.isInteger(totalBytes) || totalBytes < 1 || totalBytes > LIMITS.transferBytes) {
    return failure('too-large', `expected a transfer of 1 to ${LIMITS.transferBytes} bytes, ${totalBytes} declared`);
  }
  const total = chunkCount(totalBytes);
  const received: Uint8Array[] = [];
  return {
    accept: (index, sealed) => {
      const former = received[index];
      if (former !== undefined) return equalBytes(former, sealed) ? undefined : failure('hash-mismatch', `chunk ${index} came again with other bytes`);
      if (index !== received.length || index >= total) return failure('out-of-order', `expected chunk ${received.length} of ${total}, found ${index}`);
      const expected = Math.min(PLAIN_CHUNK_BYTES, totalBytes - index * PLAIN_CHUNK_BYTES) + TAG_BYTES;
      if (sealed.length !== expected) return failure('wrong-length', `expected ${expected} bytes in chunk ${index}, found ${sealed.length}`);
      received.push(sealed);
      return undefined;
    },
    nextChunk: () => received.length,
    complete: () => received.length === total,
    chunks: () => received,
  };
}
