/** Random bytes from a cryptographically secure generator (shared/platform/key-stream.ts). In tests only: a scripted one. */
export interface RandomSource {
  /** Fresh bytes; the caller may keep them. */
  readonly bytes: (length: number) => Uint8Array;
}

const BUFFER_BYTES = 1 << 15;

/** Uniform integers out of a buffer of random bytes. */
export interface RandomIntegers {
  /** 32 bits. */
  readonly uint32: () => number;
  /** 53 bits: 0 .. 2^53 - 1. */
  readonly uint53: () => number;
}

export function randomIntegers(random: RandomSource): RandomIntegers {
  let view: DataView = new DataView(new ArrayBuffer(0));
  let offset = 0;
  const uint32 = (): number => {
    if (offset + 4 > view.byteLength) {
      const bytes = random.bytes(BUFFER_BYTES);
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      offset = 0;
    }
    const value = view.getUint32(offset, true);
    offset += 4;
    return value;
  };
  return { uint32, uint53: () => (uint32() >>> 11) * 4294967296 + uint32() };
}
