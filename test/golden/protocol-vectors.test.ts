import { createCipheriv, createHash, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import nacl from 'tweetnacl';
import { describe, expect, it } from 'vitest';
import { concatBytes, floatsToBytes, fromHex, toHex, utf8 } from '../../shared/bytes.ts';
import { roundKeysFromSecret } from '../../shared/crypto/keys.ts';
import { createSeal, type SealInput } from '../../shared/crypto/seal.ts';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import { FAILURE_CODES } from '../../shared/protocol/failure.ts';
import { encodeInvite } from '../../shared/protocol/invite.ts';
import { encodePlain } from '../../shared/protocol/session.ts';
import { hashChunks, openTransfer, sealTransfer } from '../../shared/protocol/transfer.ts';
import { countingBytes, identityOf, openSessionPair } from '../support/session-pair.ts';

const page = readFileSync(new URL('../../shared/spec/protocol.md', import.meta.url), 'utf8');

/** The lines `name  hex` of the page's worked example; a line that begins with a space continues the one before. */
const vectors = new Map<string, string>();
let last = '';
for (const line of /```vectors\n([\s\S]*?)```/.exec(page)?.[1]?.split('\n') ?? []) {
  const [, name, hex] = /^(.*?) +([0-9a-f]+)$/.exec(line) ?? [];
  if (name === undefined || hex === undefined) continue;
  if (name !== '') last = name;
  vectors.set(last, (name === '' ? (vectors.get(last) ?? '') : '') + hex);
}
const of = (name: string): Uint8Array<ArrayBuffer> => {
  const hex = vectors.get(name);
  if (hex === undefined) throw new Error(`the page has no vector "${name}"`);
  return fromHex(hex);
};

const ROUND = 7;
const [coordinatorIdentity, siteIdentity] = [identityOf(0x00), identityOf(0x20)];
const study = countingBytes(0x40);
const [coordinatorRound, siteRound] = [roundKeysFromSecret(countingBytes(0xa0)), roundKeysFromSecret(countingBytes(0xc0))];
const weights = floatsToBytes(Float32Array.of(1.5, -0.25));
const ready = { type: 'ready', site: 'clinic-a', ledgerLength: 300 } as const;
const sealInput: SealInput = { primitives: nodePrimitives, own: coordinatorRound, coordinatorRoundKey: coordinatorRound.publicKey, siteRoundKey: siteRound.publicKey, study, round: ROUND, site: 'clinic-a', direction: 'to-site', chunks: 1 };

/** The example as this implementation does it, with counting bytes for randomness. */
function computed(): Record<string, Uint8Array> {
  const { coordinator, site, challenge, hello, welcome } = openSessionPair({
    coordinatorIdentity,
    siteIdentity,
    study,
    software: 'example/1',
    coordinatorPrimitives: { ...nodePrimitives, randomBytes: () => countingBytes(0x60) },
    sitePrimitives: { ...nodePrimitives, randomBytes: () => countingBytes(0x80) },
  });
  const seal = createSeal(sealInput);
  const chunks = sealTransfer(seal, weights);
  return {
    'coordinator key': coordinatorIdentity.publicKey,
    'site key': siteIdentity.publicKey,
    challenge: encodePlain(challenge),
    hello: encodePlain(hello),
    welcome: encodePlain(welcome),
    ready: site.sealMessage(ready),
    "coordinator's round key": coordinatorRound.publicKey,
    "site's round key": siteRound.publicKey,
    B: seal.binding,
    'AEAD key': seal.key,
    'sealed chunk': chunks[0]!,
    'chunk frame': coordinator.sealChunk({ round: ROUND, index: 0, sealed: chunks[0]! }),
    'transfer hash': hashChunks(nodePrimitives, chunks),
  };
}

/* ---- the page's words, put together from tweetnacl and node:crypto alone ---- */

const uint32 = (value: number): Uint8Array => Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
const L = (value: Uint8Array | string | number): Uint8Array => {
  const bytes = typeof value === 'number' ? uint32(value) : typeof value === 'string' ? utf8(value) : value;
  return concatBytes(uint32(bytes.length), bytes);
};
const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest());
const signed = (domain: string, message: Uint8Array, seed: Uint8Array): Uint8Array =>
  nacl.sign.detached(concatBytes(utf8(`antiphon/v1/${domain}\0`), message), nacl.sign.keyPair.fromSeed(seed).secretKey);
/** MessagePack by hand: short texts, byte strings below 256, numbers. */
const pack = (fields: Record<string, string | number | Uint8Array>): Uint8Array =>
  concatBytes(
    Uint8Array.of(0x80 + Object.keys(fields).length),
    ...Object.entries(fields).flatMap(([key, value]) => [
      Uint8Array.of(0xa0 + key.length),
      utf8(key),
      typeof value === 'string'
        ? concatBytes(Uint8Array.of(0xa0 + value.length), utf8(value))
        : typeof value === 'number'
          ? value < 128
            ? Uint8Array.of(value)
            : Uint8Array.of(0xcd, value >> 8, value & 255)
          : concatBytes(Uint8Array.of(0xc4, value.length), value),
    ]),
  );

function independent(): Record<string, Uint8Array> {
  const [coordinatorSeed, siteSeed] = [countingBytes(0x00), countingBytes(0x20)];
  const coordinatorKey = nacl.sign.keyPair.fromSeed(coordinatorSeed).publicKey;
  const siteKey = nacl.sign.keyPair.fromSeed(siteSeed).publicKey;
  const facts = concatBytes(L(1), L(study), L(coordinatorKey), L(siteKey), L(countingBytes(0x60)), L(countingBytes(0x80)));
  const sessionId = sha256(facts);
  const plain = (fields: Parameters<typeof pack>[0]): Uint8Array => concatBytes(Uint8Array.of(1), pack(fields));
  const readyBytes = pack(ready);
  const [mine, theirs] = [nacl.scalarMult.base(countingBytes(0xa0)), nacl.scalarMult.base(countingBytes(0xc0))];
  const B = concatBytes(L('antiphon/v1/seal'), L(study), L(ROUND), L('clinic-a'), L('to-site'), L(mine), L(theirs), L(1));
  const key = new Uint8Array(hkdfSync('sha256', nacl.scalarMult(countingBytes(0xc0), mine), utf8('antiphon/v1/round-key'), B, 32));
  const cipher = createCipheriv('aes-256-gcm', key, new Uint8Array(12)).setAAD(concatBytes(L(B), L(0)));
  const body = cipher.update(Uint8Array.of(0, 0, 0xc0, 0x3f, 0, 0, 0x80, 0xbe));
  cipher.final();
  const sealed = concatBytes(body, cipher.getAuthTag());
  return {
    'coordinator key': coordinatorKey,
    'site key': siteKey,
    facts,
    'session id': sessionId,
    challenge: plain({ type: 'challenge', version: 1, software: 'example/1', study, coordinatorKey, nonce: countingBytes(0x60) }),
    hello: plain({ type: 'hello', version: 1, software: 'example/1', siteKey, nonce: countingBytes(0x80), signature: signed('session', concatBytes(L('site'), L(facts)), siteSeed) }),
    welcome: plain({ type: 'welcome', signature: signed('session', concatBytes(L('coordinator'), L(facts)), coordinatorSeed) }),
    ready: concatBytes(Uint8Array.of(2), uint32(0), signed('frame', concatBytes(L(sessionId), L('site'), L(0), L(readyBytes)), siteSeed), readyBytes),
    "coordinator's round key": mine,
    "site's round key": theirs,
    B,
    'AEAD key': key,
    'sealed chunk': sealed,
    'chunk frame': concatBytes(Uint8Array.of(3), uint32(0), uint32(ROUND), uint32(0), sealed),
    'transfer hash': sha256(sealed),
  };
}

describe('the worked example of shared/spec/protocol.md', () => {
  it.each(Object.entries(independent()))('%s: the page says what its words give with other libraries', (name, bytes) => {
    expect(toHex(bytes)).toBe(toHex(of(name)));
  });

  it.each(Object.entries(computed()))('%s: this implementation makes these bytes', (name, bytes) => {
    expect(toHex(bytes)).toBe(toHex(of(name)));
  });

  it('names no vector that is not checked', () => {
    expect([...vectors.keys()].sort()).toEqual(Object.keys({ ...independent(), ...computed() }).sort());
  });

  it('the sealed chunk of the page opens at the site', () => {
    expect(openTransfer(createSeal({ ...sealInput, own: siteRound }), [of('sealed chunk')])).toEqual(weights);
  });

  it('the invite of the page is the one of its fields', () => {
    const [printed] = /antiphon-invite-1\.[A-Za-z0-9_\n-]{100,}/.exec(page) ?? [];
    const text = encodeInvite(nodePrimitives, { url: 'https://lead.example:7400', study: toHex(study), coordinatorKey: toHex(of('coordinator key')), site: 'clinic-a', modality: 'image', secret: countingBytes(0xe0), expiresAt: 1_800_000_000_000 });
    expect(printed?.replaceAll('\n', '')).toBe(text);
  });

  it('the page has a row for every failure code, and no other', () => {
    const rows = [...page.slice(page.indexOf('## Failures')).matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code);
    expect(rows).toEqual([...FAILURE_CODES]);
  });
});
