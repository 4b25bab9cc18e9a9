import { equalBytes, utf8 } from '../bytes.ts';
import { failure, type Failure } from '../protocol/failure.ts';
import { lengthPrefixed } from './framing.ts';
import type { RoundKeys } from './keys.ts';
import type { Primitives } from './primitives.ts';

export type Direction = 'to-site' | 'to-coordinator';

/** Everything a sealed transfer is bound to: a chunk opens with exactly these, or not at all. */
export interface SealInput {
  readonly primitives: Primitives;
  /** Mine: one of the two below. */
  readonly own: RoundKeys;
  readonly coordinatorRoundKey: Uint8Array;
  readonly siteRoundKey: Uint8Array;
  /** Study hash, 32 bytes. */
  readonly study: Uint8Array;
  readonly round: number;
  readonly site: string;
  readonly direction: Direction;
  /** Chunks of the whole transfer. */
  readonly chunks: number;
}

export interface SealContext {
  readonly primitives: Primitives;
  readonly key: Uint8Array;
  readonly binding: Uint8Array;
  readonly chunks: number;
}

/**
 * X25519 between the round's two fresh keys -> HKDF-SHA-256 -> one AES-256-GCM key per (study, round, site, direction). Fresh keys
 * each round, so the nonce (the chunk's index) never repeats under a key. Throws on a low-order peer key, which the codec lets nobody send.
 */
export function createSeal(input: SealInput): SealContext {
  const { primitives, own, coordinatorRoundKey, siteRoundKey, study, round, site, direction, chunks } = input;
  const peer = equalBytes(own.publicKey, coordinatorRoundKey) ? siteRoundKey : coordinatorRoundKey;
  const binding = lengthPrefixed('antiphon/v1/seal', study, round, site, direction, coordinatorRoundKey, siteRoundKey, chunks);
  const key = primitives.hkdf(primitives.x25519(own.secretKey, peer), utf8('antiphon/v1/round-key'), binding, 32);
  return { primitives, key, binding, chunks };
}

function nonceOf(index: number): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setUint32(8, index, false);
  return nonce;
}

export function sealChunk(context: SealContext, index: number, plaintext: Uint8Array): Uint8Array<ArrayBuffer> {
  return context.primitives.aeadSeal(context.key, nonceOf(index), plaintext, lengthPrefixed(context.binding, index));
}

export function openChunk(context: SealContext, index: number, sealed: Uint8Array): Uint8Array | Failure {
  const opened = context.primitives.aeadOpen(context.key, nonceOf(index), sealed, lengthPrefixed(context.binding, index));
  return opened ?? failure('bad-seal', `chunk ${index} does not open: changed bits, or sealed for another round, site, direction or place`);
}
