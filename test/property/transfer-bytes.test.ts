import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { generateRoundKeys } from '../../shared/crypto/keys.ts';
import { createSeal, type SealInput } from '../../shared/crypto/seal.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { failure, isFailure, type Failure } from '../../shared/protocol/failure.ts';
import { LIMITS } from '../../shared/protocol/messages.ts';
import type { CoordinatorSession } from '../../shared/protocol/session.ts';
import { chunkCount, createInbox, createOutbox, hashChunks, openTransfer, PLAIN_CHUNK_BYTES, sealTransfer, type Inbox } from '../../shared/protocol/transfer.ts';
import { codeOf, expected, openSessionPair } from '../support/session-pair.ts';

const ROUND = 300;
const [coordinatorKeys, siteKeys] = [generateRoundKeys(primitives), generateRoundKeys(primitives)];
const study = primitives.randomBytes(32);
const sealInput = (chunks: number): SealInput => ({ primitives, own: siteKeys, coordinatorRoundKey: coordinatorKeys.publicKey, siteRoundKey: siteKeys.publicKey, study, round: ROUND, site: 'north', direction: 'to-coordinator', chunks });
const opening = (chunks: number) => createSeal({ ...sealInput(chunks), own: coordinatorKeys });

/** One plaintext, read from its beginning, and what it is sealed into for each number of chunks. */
const source = primitives.randomBytes(7 * PLAIN_CHUNK_BYTES);
const plaintextOf = (chunks: number): Uint8Array => source.subarray(0, (chunks - 1) * PLAIN_CHUNK_BYTES + 1000 * chunks + 4);
const sealedOf = [1, 2, 3, 5, 7].map((chunks) => sealTransfer(createSeal(sealInput(chunks)), plaintextOf(chunks)));

/** A frame's way into the inbox, as the coordinator takes it. */
function receive(session: CoordinatorSession, inbox: Inbox, frame: Uint8Array): Failure | undefined {
  const opened = session.open(frame);
  if (isFailure(opened)) return opened;
  if (opened.type === 'message') return failure('out-of-order', 'a message');
  return opened.chunk.round === ROUND ? inbox.accept(opened.chunk.index, opened.chunk.sealed) : failure('wrong-round', 'another round');
}

describe('a transfer over sessions', () => {
  it('is sealed into chunks of the limit, the last one shorter, and restored to its bytes', () => {
    for (const chunks of sealedOf) {
      expect(chunks.slice(0, -1).every(({ length }) => length === LIMITS.chunkBytes)).toBe(true);
      expect(chunks).toHaveLength(chunkCount(plaintextOf(chunks.length).length));
      expect(Buffer.compare(expected(openTransfer(opening(chunks.length), chunks)), plaintextOf(chunks.length))).toBe(0);
    }
  });

  it('ends with the same bytes under any losses, repetitions and reconnections (property)', () => {
    const action = fc.constantFrom('send', 'deliver', 'deliver', 'acknowledge', 'cut', 'resume-early');
    fc.assert(
      fc.property(fc.constantFrom(...sealedOf), fc.integer({ min: 1, max: 5 }), fc.array(action, { maxLength: 50 }), fc.nat(), (chunks, window, script, early) => {
        const inbox = expected(createInbox(plaintextOf(chunks.length).length));
        const outbox = createOutbox({ chunks: chunks.length, window });
        let pair = openSessionPair();
        const [toCoordinator, toSite]: [Uint8Array[], number[]] = [[], []];
        const resumeAt = (next: number): void => {
          // A cut loses what is under way in both directions; a new session begins.
          pair = openSessionPair();
          toCoordinator.length = 0;
          toSite.length = 0;
          outbox.resumeAt(next);
        };
        const act: Record<'send' | 'deliver' | 'acknowledge' | 'cut' | 'resume-early', () => void> = {
          send: () => {
            const indices = outbox.next();
            expect(indices.length).toBeLessThanOrEqual(window);
            for (const index of indices) toCoordinator.push(pair.site.sealChunk({ round: ROUND, index, sealed: chunks[index]! }));
          },
          deliver: () => {
            const frame = toCoordinator.shift();
            if (frame === undefined) return;
            expect(receive(pair.coordinator, inbox, frame)).toBeUndefined();
            toSite.push(inbox.nextChunk());
          },
          acknowledge: () => {
            const next = toSite.shift();
            if (next !== undefined) outbox.acknowledge(next);
          },
          cut: () => {
            resumeAt(inbox.nextChunk());
          },
          // An old word of where to continue: chunks that are there already come again.
          'resume-early': () => {
            resumeAt(early % (inbox.nextChunk() + 1));
          },
        };
        for (const step of script) act[step]();
        act.cut();
        for (let i = 0; !outbox.done() && i < 100; i += 1) {
          act.send();
          while (toCoordinator.length > 0) act.deliver();
          while (toSite.length > 0) act.acknowledge();
        }
        expect(outbox.done() && inbox.complete()).toBe(true);
        expect(hashChunks(primitives, inbox.chunks())).toEqual(hashChunks(primitives, chunks));
        expect(Buffer.compare(expected(openTransfer(opening(chunks.length), inbox.chunks())), plaintextOf(chunks.length))).toBe(0);
      }),
      { numRuns: 25 },
    );
  });

  it('a chunk that comes again with other bytes is named, and changes nothing', () => {
    const [chunks] = sealedOf.filter(({ length }) => length === 3);
    const inbox = expected(createInbox(plaintextOf(3).length));
    expect(inbox.accept(0, chunks![0]!)).toBeUndefined();
    const other = new Uint8Array(chunks![0]!);
    other[1000]! ^= 4;
    expect(codeOf(inbox.accept(0, other))).toBe('hash-mismatch');
    expect(codeOf(inbox.accept(0, chunks![2]!))).toBe('hash-mismatch');
    expect(inbox.chunks()).toHaveLength(1);
    expect(inbox.chunks()[0]).toBe(chunks![0]);
  });

  it('is not opened with a chunk missing, repeated or exchanged', () => {
    const chunks = sealedOf[2]!;
    const [a, b, c] = chunks as [Uint8Array, Uint8Array, Uint8Array];
    for (const wrong of [[a, b], [a, b, c, c], [b, a, c], [a, a, c], []]) expect(codeOf(openTransfer(opening(3), wrong))).toBe('bad-seal');
  });

  it('refuses to be sealed as another number of chunks than it fills', () => {
    expect(() => sealTransfer(createSeal(sealInput(2)), source.subarray(0, 10))).toThrow(/2 chunks for 10 bytes/);
  });
});

describe('every single flipped bit', () => {
  it('of a chunk frame is found, with a name: by the session, the inbox or the seal', () => {
    const plaintext = source.subarray(0, 48);
    const [first] = sealTransfer(createSeal(sealInput(1)), plaintext);
    const pair = openSessionPair();
    let frame = pair.site.sealChunk({ round: ROUND, index: 0, sealed: first! });
    const codes = new Map<string, number>();
    for (let bit = 0; bit < 8 * frame.length; bit += 1) {
      const changed = new Uint8Array(frame);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      const inbox = expected(createInbox(plaintext.length));
      const problem = receive(pair.coordinator, inbox, changed) ?? openTransfer(opening(1), inbox.chunks());
      // Kind and sequence are the session's to refuse; what comes after them passes it, and takes a number.
      if (bit >= 8 * 5) frame = pair.site.sealChunk({ round: ROUND, index: 0, sealed: first! });
      const code = codeOf(problem);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    // kind (8 bits, one of them makes it a signed message), sequence, round, index, sealed bytes
    expect(Object.fromEntries(codes)).toEqual({ malformed: 7, 'bad-signature': 1, replayed: 32, 'wrong-round': 32, 'out-of-order': 32, 'bad-seal': 8 * first!.length });
  });

  it('of a signed frame is found, with a name', () => {
    const pair = openSessionPair();
    const frame = pair.site.sealMessage({ type: 'ack', round: ROUND, nextChunk: 3 });
    const codes = new Map<string, number>();
    for (let bit = 0; bit < 8 * frame.length; bit += 1) {
      const changed = new Uint8Array(frame);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      // One bit makes it a chunk, of a round that the signature's first bytes happen to spell.
      const isChunk = bit === 0;
      const session = isChunk ? openSessionPair().coordinator : pair.coordinator;
      const code = codeOf(receive(session, expected(createInbox(48)), changed));
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    expect(Object.fromEntries(codes)).toEqual({ malformed: 7, 'wrong-round': 1, replayed: 32, 'bad-signature': 8 * (frame.length - 5) });
    expect(codeOf(pair.coordinator.open(frame))).toBe('accepted');
  });
});
