import nacl from 'tweetnacl';
import { toHex } from '../bytes.ts';
import type { Primitives } from './primitives.ts';

/** A party's Ed25519 identity. `secretKey` is the 32-byte seed: sensitive, owner-only on disk, never in a log. */
export interface Identity {
  readonly publicKey: Uint8Array;
  readonly secretKey: Uint8Array;
}

/** X25519 keys that live for one round. */
export interface RoundKeys {
  readonly publicKey: Uint8Array;
  readonly secretKey: Uint8Array;
}

export function identityFromSeed(seed: Uint8Array): Identity {
  return { publicKey: nacl.sign.keyPair.fromSeed(seed).publicKey, secretKey: seed };
}

export function generateIdentity(primitives: Pick<Primitives, 'randomBytes'>): Identity {
  return identityFromSeed(primitives.randomBytes(32));
}

export function roundKeysFromSecret(secretKey: Uint8Array): RoundKeys {
  return { publicKey: nacl.box.keyPair.fromSecretKey(secretKey).publicKey, secretKey };
}

export function generateRoundKeys(primitives: Pick<Primitives, 'randomBytes'>): RoundKeys {
  return roundKeysFromSecret(primitives.randomBytes(32));
}

/** For people to compare over the telephone: the first 16 bytes of SHA-256 of the key, in groups of four digits. */
export function fingerprint(publicKey: Uint8Array, primitives: Pick<Primitives, 'sha256'>): string {
  return (toHex(primitives.sha256(publicKey)).slice(0, 32).match(/.{4}/g) ?? []).join(' ');
}
