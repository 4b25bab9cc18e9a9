import { createCipheriv, createDecipheriv, createHash, createPrivateKey, createPublicKey, diffieHellman, hash, hkdfSync, randomBytes, sign, verify, type KeyObject } from 'node:crypto';
import type { Primitives } from '../crypto/primitives.ts';
import { AntiphonError } from '../errors.ts';

// DER prefixes of RFC 8410 keys; what follows is the 32 raw bytes. Byte-compatible with tweetnacl's keys.
const PREFIX = {
  ed25519Public: Buffer.from('302a300506032b6570032100', 'hex'),
  ed25519Secret: Buffer.from('302e020100300506032b657004220420', 'hex'),
  x25519Public: Buffer.from('302a300506032b656e032100', 'hex'),
  x25519Secret: Buffer.from('302e020100300506032b656e04220420', 'hex'),
} as const;

/**
 * Parsing a key costs ten times its use. The last few hundred public keys are kept; a parsed secret key lives as long as the array that
 * holds its bytes, which nobody changes in place, and its bytes are copied into no string.
 */
const publicKeys = new Map<string, KeyObject>();
const secretKeys = { ed25519Secret: new WeakMap<Uint8Array, KeyObject>(), x25519Secret: new WeakMap<Uint8Array, KeyObject>() } as const;

function publicKey(kind: 'ed25519Public' | 'x25519Public', raw: Uint8Array): KeyObject {
  const name = `${kind}:${Buffer.from(raw).toString('hex')}`;
  const known = publicKeys.get(name);
  if (known !== undefined) return known;
  const key = createPublicKey({ key: Buffer.concat([PREFIX[kind], raw]), format: 'der', type: 'spki' });
  if (publicKeys.size >= 500) publicKeys.clear();
  publicKeys.set(name, key);
  return key;
}

function secretKey(kind: 'ed25519Secret' | 'x25519Secret', raw: Uint8Array): KeyObject {
  if (raw.length !== 32) throw new AntiphonError('internal', `expected a secret key of 32 bytes, found ${raw.length}`);
  const known = secretKeys[kind].get(raw);
  if (known !== undefined) return known;
  const key = createPrivateKey({ key: Buffer.concat([PREFIX[kind], raw]), format: 'der', type: 'pkcs8' });
  secretKeys[kind].set(raw, key);
  return key;
}

function copy(buffer: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer);
}

/** The bytes as a plain array of their own; copied only where they lie in a shared pool. */
function own(buffer: Buffer<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return buffer.byteLength === buffer.buffer.byteLength ? new Uint8Array(buffer.buffer) : copy(buffer);
}

const TAG_BYTES = 16;
const SHORT_BYTES = 8192;
const scratch = new Uint8Array(SHORT_BYTES);

/** As text, because a Buffer's 32 bytes would lie outside the heap: a long ledger makes millions of them. */
function shortDigest(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const text = hash('sha256', bytes, 'binary');
  const digest = new Uint8Array(32);
  for (let i = 0; i < 32; i += 1) digest[i] = text.charCodeAt(i);
  return digest;
}

/** The primitives on node:crypto: measured 10 to 50 times faster than tweetnacl and exactly its keys and signatures. */
export const nodePrimitives: Primitives = {
  randomBytes: (length) => copy(randomBytes(length)),
  sha256: shortDigest,
  sha256Parts: (parts) => {
    // One call for what is short: making a hash object costs more than hashing it.
    if (parts.reduce((sum, part) => sum + part.length, 0) <= SHORT_BYTES) {
      let length = 0;
      for (const part of parts) {
        scratch.set(part, length);
        length += part.length;
      }
      return shortDigest(scratch.subarray(0, length));
    }
    const digest = createHash('sha256');
    for (const part of parts) digest.update(part);
    return copy(digest.digest());
  },
  sign: (message, secret) => copy(sign(null, message, secretKey('ed25519Secret', secret))),
  verify: (message, signature, key) => {
    if (signature.length !== 64 || key.length !== 32) return false;
    try {
      return verify(null, message, publicKey('ed25519Public', key), signature);
    } catch {
      return false;
    }
  },
  x25519: (secret, key) => {
    const shared = copy(diffieHellman({ privateKey: secretKey('x25519Secret', secret), publicKey: publicKey('x25519Public', key) }));
    if (shared.every((byte) => byte === 0)) throw new AntiphonError('protocol-violation', 'expected a contributory X25519 key, found a low-order point');
    return shared;
  },
  hkdf: (secret, salt, info, length) => new Uint8Array(hkdfSync('sha256', secret, salt, info, length)),
  aeadSeal: (key, nonce, plaintext, aad) => {
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(aad);
    const body = cipher.update(plaintext);
    const sealed = new Uint8Array(body.length + TAG_BYTES);
    sealed.set(body);
    cipher.final();
    sealed.set(cipher.getAuthTag(), body.length);
    return sealed;
  },
  aeadOpen: (key, nonce, sealed, aad) => {
    if (sealed.length < TAG_BYTES) return undefined;
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(aad);
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const plaintext = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return own(plaintext);
  },
};
