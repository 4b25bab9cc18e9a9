import { utf8 } from '../bytes.ts';
import type { ParameterShape } from './layer.ts';

/**
 * Seeded generator for initial weights ONLY (splitmix32 steps over a hashed seed): public randomness that every party can repeat. Never
 * a source of noise or sampling.
 */
export function seededUniform(seed: number, stream: string): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0;
  for (const byte of utf8(stream)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 4294967296;
  };
}

/** He et al. 2015 (1502.01852), uniform variant. */
export function drawParameter({ initial, shape }: ParameterShape, uniform: () => number): Float32Array {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (initial.type === 'ones') return values.fill(1);
  if (initial.type === 'zeros') return values;
  const limit = Math.sqrt(6 / initial.fanIn);
  return values.map(() => (2 * uniform() - 1) * limit);
}
