import { createCipheriv } from 'node:crypto';
import type { RandomSource } from '../../shared/privacy/random.ts';

/** The same bytes every time, other ones for every key from 0 to 255. */
export function repeatableRandom(key: number): RandomSource {
  const cipher = createCipheriv('aes-256-ctr', new Uint8Array(32).fill(key), new Uint8Array(16));
  return { fill: (target) => target.set(cipher.update(new Uint8Array(target.length))) };
}

/** Different bytes for different lengths asked for: the discrete Gaussian draws, decides and decides exactly by requests of three lengths. */
export function randomByLength(sources: Readonly<Record<number, RandomSource>>): RandomSource {
  return {
    fill: (target) => {
      const source = sources[target.length];
      if (source === undefined) throw new Error(`no script for requests of ${target.length} bytes`);
      source.fill(target);
    },
  };
}

/** These words of 32 bits, and zeros behind them, at every request. */
export function fixedWords(words: readonly number[]): RandomSource {
  return { fill: (target) => new Uint32Array(target.fill(0).buffer, target.byteOffset, target.length / 4).set(words) };
}
