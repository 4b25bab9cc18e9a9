import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { generateIdentity, generateRoundKeys } from '../../shared/crypto/keys.ts';
import { createSeal, type SealInput } from '../../shared/crypto/seal.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { isFailure } from '../../shared/protocol/failure.ts';
import { decodeInvite, encodeInvite } from '../../shared/protocol/invite.ts';
import { acceptHello, acceptWelcome, answerChallenge, createChallenge, decodePlain, encodePlain, type CoordinatorSession, type SiteSession } from '../../shared/protocol/session.ts';
import { chunkCount, createInbox, createOutbox, openTransfer, PLAIN_CHUNK_BYTES, sealTransfer } from '../../shared/protocol/transfer.ts';

const study = primitives.randomBytes(32);
const coordinator = generateIdentity(primitives);
const site = generateIdentity(primitives);

function openSessions(): { coordinatorSession: CoordinatorSession; siteSession: SiteSession } {
  const challenge = createChallenge({ primitives, software: 'test', study, coordinatorKey: coordinator.publicKey });
  const pending = answerChallenge({ primitives, identity: site, software: 'test', expectedStudy: study, expectedCoordinatorKey: coordinator.publicKey, challenge });
  if (isFailure(pending)) throw new Error(pending.message);
  const accepted = acceptHello({ primitives, identity: coordinator, challenge, hello: pending.hello });
  if (isFailure(accepted)) throw new Error(accepted.message);
  const siteSession = acceptWelcome({ primitives, pending, welcome: accepted.welcome });
  if (isFailure(siteSession)) throw new Error(siteSession.message);
  return { coordinatorSession: accepted.session, siteSession };
}

const code = (value: unknown): string => (isFailure(value) ? value.code : 'accepted');

describe('a session', () => {
  let sessions: ReturnType<typeof openSessions>;
  beforeEach(() => {
    sessions = openSessions();
  });
  const ack = { type: 'ack', round: 7, nextChunk: 3 } as const;

  it('carries messages and chunks both ways', () => {
    const { coordinatorSession, siteSession } = sessions;
    expect(coordinatorSession.open(siteSession.sealMessage(ack))).toEqual({ type: 'message', message: ack });
    const sealed = primitives.randomBytes(1000);
    expect(siteSession.open(coordinatorSession.sealChunk({ round: 2, index: 5, sealed }))).toEqual({ type: 'chunk', chunk: { round: 2, index: 5, sealed } });
  });

  it('rejects every flipped bit of a signed frame (property)', () => {
    const { coordinatorSession, siteSession } = sessions;
    const frame = siteSession.sealMessage(ack);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: frame.length - 1 }), fc.integer({ min: 0, max: 7 }), (at, bit) => {
        const changed = new Uint8Array(frame);
        changed[at]! ^= 1 << bit;
        // A frame turned into a chunk by its first byte is not authenticated here: its AEAD tag is.
        const opened = coordinatorSession.open(changed);
        expect(isFailure(opened) || (opened.type === 'chunk' && at === 0)).toBe(true);
        if (!isFailure(opened)) sessions = openSessions();
      }),
      { numRuns: 300, endOnFailure: true, examples: [] },
    );
  });

  it('rejects replays, reordering, reflection and frames of another session', () => {
    const { coordinatorSession, siteSession } = sessions;
    const first = siteSession.sealMessage(ack);
    const second = siteSession.sealMessage({ ...ack, nextChunk: 4 });
    expect(code(coordinatorSession.open(second))).toBe('replayed');
    expect(code(coordinatorSession.open(first))).toBe('accepted');
    expect(code(coordinatorSession.open(first))).toBe('replayed');
    expect(code(siteSession.open(second))).toMatch(/replayed|bad-signature/);
    expect(code(openSessions().coordinatorSession.open(first))).toBe('bad-signature');
  });

  it('never opens with the wrong study, key, version or signature', () => {
    const challenge = createChallenge({ primitives, software: 'test', study, coordinatorKey: coordinator.publicKey });
    const answer = (changes: object) => answerChallenge({ primitives, identity: site, software: 'test', expectedStudy: study, expectedCoordinatorKey: coordinator.publicKey, challenge, ...changes });
    expect(code(answer({ expectedStudy: primitives.randomBytes(32) }))).toBe('wrong-study');
    expect(code(answer({ expectedCoordinatorKey: site.publicKey }))).toBe('wrong-key');
    const pending = answer({});
    if (isFailure(pending)) throw new Error(pending.message);
    const stranger = { ...pending.hello, siteKey: generateIdentity(primitives).publicKey as Uint8Array<ArrayBuffer> };
    expect(code(acceptHello({ primitives, identity: coordinator, challenge, hello: stranger }))).toBe('bad-signature');
    const impostor = acceptHello({ primitives, identity: generateIdentity(primitives), challenge, hello: pending.hello });
    if (isFailure(impostor)) throw new Error(impostor.message);
    expect(code(acceptWelcome({ primitives, pending, welcome: impostor.welcome }))).toBe('bad-signature');
    expect(code(decodePlain('coordinator', encodePlain({ ...challenge, version: 2 })))).toBe('version-mismatch');
  });

  it('survives any bytes (property)', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => isFailure(decodePlain('site', bytes)) && isFailure(sessions.coordinatorSession.open(bytes))));
  });
});

describe('a sealed transfer', () => {
  const [own, peer] = [generateRoundKeys(primitives), generateRoundKeys(primitives)];
  const plaintext = primitives.randomBytes(PLAIN_CHUNK_BYTES + 1234);
  const base: SealInput = { primitives, own, coordinatorRoundKey: own.publicKey, siteRoundKey: peer.publicKey, study, round: 3, site: 'north', direction: 'to-site', chunks: chunkCount(plaintext.length) };
  const chunks = sealTransfer(createSeal(base), plaintext);

  it('opens at the other side, and nowhere else', () => {
    expect(openTransfer(createSeal({ ...base, own: peer }), chunks)).toEqual(plaintext);
    const others: Partial<SealInput>[] = [{ round: 4 }, { site: 'south' }, { direction: 'to-coordinator' }, { study: primitives.randomBytes(32) }, { chunks: 3 }, { own: generateRoundKeys(primitives) }];
    for (const other of others) expect(code(openTransfer(createSeal({ ...base, own: peer, ...other }), chunks))).toBe('bad-seal');
    expect(code(openTransfer(createSeal({ ...base, own: peer }), [chunks[1]!, chunks[0]!]))).toBe('bad-seal');
  });

  it('notices every flipped bit (property)', () => {
    const small = sealTransfer(createSeal({ ...base, chunks: 1 }), plaintext.subarray(0, 64));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: small[0]!.length - 1 }), fc.integer({ min: 0, max: 7 }), (at, bit) => {
        const changed = new Uint8Array(small[0]!);
        changed[at]! ^= 1 << bit;
        return isFailure(openTransfer(createSeal({ ...base, own: peer, chunks: 1 }), [changed]));
      }),
    );
  });

  it('arrives whole under lost, repeated and interrupted deliveries (property)', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('deliver', 'repeat', 'lose-ack', 'reconnect'), { minLength: 1, maxLength: 60 }), (script) => {
        const total = 5 * PLAIN_CHUNK_BYTES + 9;
        const inbox = createInbox(total);
        if (isFailure(inbox)) throw new Error(inbox.message);
        const count = chunkCount(total);
        const outbox = createOutbox({ chunks: count, window: 3 });
        const size = (i: number): Uint8Array => new Uint8Array(Math.min(PLAIN_CHUNK_BYTES, total - i * PLAIN_CHUNK_BYTES) + 16);
        const wire: number[] = [];
        for (const action of [...script, ...new Array<string>(40).fill('finish')]) {
          if (action === 'reconnect') {
            wire.length = 0;
            outbox.resumeAt(inbox.nextChunk());
          }
          wire.push(...outbox.next());
          const index = wire.shift();
          if (index === undefined) {
            outbox.acknowledge(inbox.nextChunk());
            continue;
          }
          expect(inbox.accept(index, size(index))).toBeUndefined();
          if (action === 'repeat') expect(inbox.accept(index, size(index))).toBeUndefined();
          if (action !== 'lose-ack') outbox.acknowledge(inbox.nextChunk());
        }
        expect(inbox.complete()).toBe(true);
        expect(outbox.done()).toBe(true);
      }),
    );
  });

  it('refuses gaps, wrong sizes and absurd declarations', () => {
    expect(code(createInbox(2 ** 40))).toBe('too-large');
    expect(code(createInbox(-1))).toBe('too-large');
    const inbox = createInbox(100);
    if (isFailure(inbox)) throw new Error(inbox.message);
    expect(code(inbox.accept(1, new Uint8Array(116)))).toBe('out-of-order');
    expect(code(inbox.accept(0, new Uint8Array(115)))).toBe('wrong-length');
  });
});

it('an invite survives its text form, and a damaged one says so', () => {
  const invite = { url: 'https://lead.example:7400', study: 'ab'.repeat(32), coordinatorKey: 'cd'.repeat(32), site: 'north', modality: 'image', secret: primitives.randomBytes(32), expiresAt: 1_800_000_000_000 };
  const text = encodeInvite(primitives, invite);
  expect(decodeInvite(primitives, `  ${text}\n`)).toEqual(invite);
  expect(() => decodeInvite(primitives, text.slice(0, -2))).toThrow(/damaged or truncated/);
  expect(() => decodeInvite(primitives, 'hello')).toThrow(/does not begin/);
});
