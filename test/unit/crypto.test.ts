import nacl from 'tweetnacl';
import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, utf8 } from '../../shared/bytes.ts';
import { fingerprint, generateIdentity, generateRoundKeys, identityFromSeed } from '../../shared/crypto/keys.ts';
import { isLowOrderKey } from '../../shared/crypto/low-order.ts';
import { createSeal, openChunk, sealChunk, type SealInput } from '../../shared/crypto/seal.ts';
import { signDomain, verifyDomain, type Domain } from '../../shared/crypto/signature.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { codeOf, countingBytes } from '../support/session-pair.ts';

const message = utf8('a message of some length');

describe('keys and signatures', () => {
  it('are those of RFC 8032: test 2 of section 7.1', () => {
    const { publicKey } = identityFromSeed(fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb', 32));
    expect(publicKey).toEqual(fromHex('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c', 32));
    const signature = primitives.sign(fromHex('72'), fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb', 32));
    expect(signature).toEqual(fromHex('92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00'));
  });

  it('interoperate with tweetnacl both ways', () => {
    const { publicKey, secretKey } = generateIdentity(primitives);
    const theirs = nacl.sign.keyPair.fromSeed(secretKey);
    expect(theirs.publicKey).toEqual(publicKey);
    const ours = primitives.sign(message, secretKey);
    expect(nacl.sign.detached(message, theirs.secretKey)).toEqual(ours);
    expect(nacl.sign.detached.verify(message, ours, publicKey)).toBe(true);
    expect(primitives.verify(message, nacl.sign.detached(message, theirs.secretKey), publicKey)).toBe(true);
  });

  it('give the same shared secret as tweetnacl, from either side', () => {
    const [a, b] = [generateRoundKeys(primitives), generateRoundKeys(primitives)];
    const secret = primitives.x25519(a.secretKey, b.publicKey);
    expect(primitives.x25519(b.secretKey, a.publicKey)).toEqual(secret);
    expect(nacl.scalarMult(a.secretKey, b.publicKey)).toEqual(secret);
    expect(nacl.scalarMult(b.secretKey, a.publicKey)).toEqual(secret);
  });

  it('two arrays with the same secret bytes are the same key, a different one is another', () => {
    const seed = primitives.randomBytes(32);
    expect(primitives.sign(message, new Uint8Array(seed))).toEqual(primitives.sign(message, seed));
    expect(primitives.sign(message, primitives.randomBytes(32))).not.toEqual(primitives.sign(message, seed));
  });

  it('a signature of one domain verifies in no other', () => {
    const domains: readonly Domain[] = ['ledger-line', 'enrol', 'receipt', 'refusal', 'session', 'frame'];
    const { publicKey, secretKey } = generateIdentity(primitives);
    for (const signed of domains) {
      const signature = signDomain({ primitives, domain: signed, message, secretKey });
      expect(domains.filter((domain) => verifyDomain({ primitives, domain, message, signature, publicKey }))).toEqual([signed]);
      expect(nacl.sign.detached.verify(concatBytes(utf8(`antiphon/v1/${signed}`), Uint8Array.of(0), message), signature, publicKey)).toBe(true);
    }
  });

  it('verification refuses malformed keys and signatures without a throw', () => {
    const { publicKey, secretKey } = generateIdentity(primitives);
    const signature = primitives.sign(message, secretKey);
    for (const length of [0, 1, 31, 33, 64]) expect(primitives.verify(message, signature, countingBytes(1, length))).toBe(false);
    for (const length of [0, 1, 63, 65]) expect(primitives.verify(message, countingBytes(1, length), publicKey)).toBe(false);
    expect(primitives.verify(message, signature, new Uint8Array(32).fill(255))).toBe(false);
  });

  it('a fingerprint is 8 groups of 4 hexadecimal digits and differs between keys', () => {
    const first = fingerprint(countingBytes(3), primitives);
    expect(first).toMatch(/^(?:[0-9a-f]{4} ){7}[0-9a-f]{4}$/);
    expect(fingerprint(countingBytes(4), primitives)).not.toBe(first);
  });
});

const SHARED_LOW_ORDER = ['00'.repeat(32), `01${'00'.repeat(31)}`, `ec${'ff'.repeat(30)}7f`, `ed${'ff'.repeat(30)}7f`, `ee${'ff'.repeat(30)}7f`];

describe('points of small order', () => {
  it.each([...SHARED_LOW_ORDER, 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800', '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157'])('give no X25519 secret: %s', (hex) => {
    for (const top of [0, 0x80]) {
      const point = fromHex(hex, 32);
      point[31] = point[31]! | top;
      expect(isLowOrderKey('x25519', point)).toBe(true);
      expect(() => primitives.x25519(primitives.randomBytes(32), point)).toThrow();
      expect(nacl.scalarMult(countingBytes(7), point)).toEqual(new Uint8Array(32));
    }
  });

  it('make no Ed25519 key, although a signature that anyone can make verifies under them', () => {
    const publicKey = fromHex(`01${'00'.repeat(31)}`, 32);
    const forged = concatBytes(publicKey, new Uint8Array(32)); // R = A = the neutral element, S = 0
    // OpenSSL before 3.5 agrees; Node 22 and 24 have a later one, which refuses such keys itself.
    expect(nacl.sign.detached.verify(message, forged, publicKey)).toBe(true);
    expect(verifyDomain({ primitives, domain: 'receipt', message, signature: forged, publicKey })).toBe(false);
  });

  it('of Ed25519 are listed with either sign: eight times each is neutral', () => {
    for (const hex of [...SHARED_LOW_ORDER, '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a']) {
      expect(timesEight(fromHex(hex, 32))).toBe(true);
      for (const top of [0, 0x80]) {
        const point = fromHex(hex, 32);
        point[31] = point[31]! | top;
        expect(isLowOrderKey('ed25519', point)).toBe(true);
      }
    }
    expect(isLowOrderKey('ed25519', generateIdentity(primitives).publicKey)).toBe(false);
    expect(timesEight(generateIdentity(primitives).publicKey)).toBe(false);
    expect(isLowOrderKey('x25519', generateRoundKeys(primitives).publicKey)).toBe(false);
  });
});

const P = 2n ** 255n - 19n;
const mod = (value: bigint): bigint => ((value % P) + P) % P;
const power = (base: bigint, exponent: bigint): bigint => (exponent === 0n ? 1n : mod(power(mod(base * base), exponent >> 1n) * (exponent & 1n ? base : 1n)));
const inverse = (value: bigint): bigint => power(value, P - 2n);
const D = mod(-121665n * inverse(121666n));

/** Does doubling the point three times give the neutral element? Only y is needed: y(2P) = (y^2 + x^2) / (2 + x^2 - y^2), x^2 = (y^2 - 1) / (d y^2 + 1). */
function timesEight(encoded: Uint8Array): boolean {
  let y = mod(BigInt(`0x${Buffer.from(encoded).reverse().toString('hex')}`) & (2n ** 255n - 1n));
  for (let i = 0; i < 3; i += 1) {
    const yy = mod(y * y);
    const xx = mod((yy - 1n) * inverse(mod(D * yy + 1n)));
    y = mod((yy + xx) * inverse(mod(2n + xx - yy)));
  }
  return y === 1n;
}

describe('a sealed chunk', () => {
  const [coordinator, site] = [generateRoundKeys(primitives), generateRoundKeys(primitives)];
  const input: SealInput = { primitives, own: coordinator, coordinatorRoundKey: coordinator.publicKey, siteRoundKey: site.publicKey, study: countingBytes(2), round: 7, site: 'clinic-a', direction: 'to-site', chunks: 3 };
  const open = (changes: Partial<SealInput>, index = 2, chunk = sealed): string => codeOf(openChunk(createSeal({ ...input, own: site, ...changes }), index, chunk));
  const sealed = sealChunk(createSeal(input), 2, message);

  it('opens for the other side of the same transfer only', () => {
    expect(openChunk(createSeal({ ...input, own: site }), 2, sealed)).toEqual(message);
    expect(open({ round: 8 })).toBe('bad-seal');
    expect(open({ site: 'clinic-b' })).toBe('bad-seal');
    expect(open({ direction: 'to-coordinator' })).toBe('bad-seal');
    expect(open({ study: countingBytes(3) })).toBe('bad-seal');
    expect(open({ chunks: 4 })).toBe('bad-seal');
    expect(open({ siteRoundKey: coordinator.publicKey, coordinatorRoundKey: site.publicKey })).toBe('bad-seal');
    expect(open({}, 1)).toBe('bad-seal');
  });

  it('does not open with any bit flipped, cut or lengthened', () => {
    for (let bit = 0; bit < 8 * sealed.length; bit += 1) {
      const changed = new Uint8Array(sealed);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(open({}, 2, changed), `bit ${bit}`).toBe('bad-seal');
    }
    for (const length of [0, 1, 15, 16, sealed.length - 1]) expect(open({}, 2, sealed.subarray(0, length))).toBe('bad-seal');
    expect(open({}, 2, concatBytes(sealed, Uint8Array.of(0)))).toBe('bad-seal');
  });
});
