import { invariant } from '../errors.ts';

/** Random bytes from a cryptographically secure generator (shared/platform/key-stream.ts). In tests only: a scripted one. */
export interface RandomSource {
  /** Fresh bytes; the caller may keep them. */
  readonly bytes: (length: number) => Uint8Array;
}

const BUFFER_WORDS = 1 << 13;

/** Uniform integers out of a buffer of random bytes. */
export interface RandomIntegers {
  /** 32 bits. */
  readonly uint32: () => number;
  /** 53 bits: 0 .. 2^53 - 1. */
  readonly uint53: () => number;
}

export function randomIntegers(random: RandomSource): RandomIntegers {
  // A copy of one's own: aligned, and nobody else's.
  const buffer = new Uint8Array(4 * BUFFER_WORDS);
  const words = new Uint32Array(buffer.buffer);
  let next = BUFFER_WORDS;
  const uint32 = (): number => {
    if (next === BUFFER_WORDS) {
      const fresh = random.bytes(buffer.length);
      invariant(fresh.length === buffer.length, `${buffer.length} random bytes, found ${fresh.length}`);
      buffer.set(fresh);
      next = 0;
    }
    const value = words[next]!;
    next += 1;
    return value;
  };
  return { uint32, uint53: () => (uint32() >>> 11) * 4294967296 + uint32() };
}
