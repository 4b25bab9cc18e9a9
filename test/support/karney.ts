import { createCipheriv, randomBytes } from 'node:crypto';
import { EXACT_BITS, expNegative } from '../../shared/privacy/exact-exp.ts';

type Bytes = (length: number) => Uint8Array;

const BUFFER_WORDS = 1 << 13;
const MARGIN = 2 ** 13;
const REST = EXACT_BITS - 53n;

/** P(K <= k), P(K = k) proportional to e^{-k^2/2}. */
const masses = Array.from({ length: 26 }, (_, k) => expNegative(BigInt(k * k), 2n));
const total = masses.reduce((a, b) => a + b);
const cumulative = masses.map((_, k) => (masses.slice(0, k + 1).reduce((a, b) => a + b) << EXACT_BITS) / total);
const cumulativeDoubles = cumulative.map((value) => Number(value >> REST));

/**
 * What test/bench/noise.ts measures shared/privacy/discrete-gaussian.ts against, and what was in its place: Karney's rejection (2016, 1303.6257,
 * algorithm D), a draw at a time, closures over a buffer of words, a search for k and two divisions in every draw.
 */
export function createKarneySampler(sigma: number, bytes: Bytes): () => number {
  const uniformLimit = Math.floor(2 ** 53 / sigma) * sigma;
  const buffer = new Uint8Array(4 * BUFFER_WORDS);
  const words = new Uint32Array(buffer.buffer);
  let next = BUFFER_WORDS;
  const uint32 = (): number => {
    if (next === BUFFER_WORDS) {
      buffer.set(bytes(buffer.length));
      next = 0;
    }
    const value = words[next]!;
    next += 1;
    return value;
  };
  const uint53 = (): number => (uint32() >>> 11) * 4294967296 + uint32();
  const refine = (drawn: number): bigint => {
    let u = BigInt(drawn);
    for (let i = 0; i < 7; i += 1) u = (u << 29n) | BigInt(uint32() >>> 3);
    return u;
  };
  const chooseK = (u: number): number => {
    for (let k = 0; k < cumulative.length; k += 1) {
      const difference = u - cumulativeDoubles[k]!;
      if (difference < -MARGIN) return k;
      if (difference <= MARGIN) break;
    }
    const exact = refine(u);
    return cumulative.findIndex((bound) => exact < bound);
  };
  const keep = (k: number, j: number): boolean => {
    const x = j / sigma;
    const u = uint53();
    const difference = u - Math.exp(-0.5 * x * (2 * k + x)) * 2 ** 53;
    if (difference < -MARGIN) return true;
    if (difference > MARGIN) return false;
    return refine(u) < expNegative(BigInt(j) * (2n * BigInt(k) * BigInt(sigma) + BigInt(j)), 2n * BigInt(sigma) ** 2n);
  };
  return () => {
    for (;;) {
      const high = uint32();
      const negative = (high & 1) === 1;
      const k = chooseK((high >>> 11) * 2 ** 32 + uint32());
      const uniform = uint53();
      if (uniform >= uniformLimit) continue;
      const rest = uniform - Math.floor(uniform / sigma) * sigma;
      const j = rest < 0 ? rest + sigma : rest;
      if ((negative && k === 0 && j === 0) || !keep(k, j)) continue;
      return negative ? -(k * sigma + j) : k * sigma + j;
    }
  };
}

/** The key stream as it was: zeros encrypted with a cipher of its own, new memory at every call. */
export function createCipherStream(): Bytes {
  const cipher = createCipheriv('aes-256-ctr', randomBytes(32), randomBytes(16));
  return (length) => cipher.update(new Uint8Array(length));
}
