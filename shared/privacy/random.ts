/** A cryptographically secure generator (shared/platform/key-stream.ts). In tests only: a scripted one. */
export interface RandomSource {
  /** Overwrites every byte. */
  readonly fill: (target: Uint8Array) => void;
}

/** So many fresh bytes. */
export function freshBytes(random: RandomSource, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  random.fill(bytes);
  return bytes;
}

/** Uniform integers out of a buffer of random bytes. */
export interface RandomIntegers {
  /** 32 bits. */
  readonly uint32: () => number;
  /** 53 bits: 0 .. 2^53 - 1. */
  readonly uint53: () => number;
}

/** `bufferWords`: how many words of 32 bits are asked for at a time. */
export function randomIntegers(random: RandomSource, bufferWords: number): RandomIntegers {
  const words = new Uint32Array(bufferWords);
  const bytes = new Uint8Array(words.buffer);
  let next = bufferWords;
  const uint32 = (): number => {
    if (next === bufferWords) {
      random.fill(bytes);
      next = 0;
    }
    const value = words[next]!;
    next += 1;
    return value;
  };
  return { uint32, uint53: () => (uint32() >>> 11) * 4294967296 + uint32() };
}
