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

/** `he`: He et al. 2015 (1502.01852), uniform variant. */
export function drawParameter({ initial, shape }: ParameterShape, uniform: () => number): Float32Array {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (initial.type === 'ones') return values.fill(1);
  if (initial.type === 'zeros') return values;
  if (initial.type === 'orthogonal') return orthogonal(shape, initial.length, uniform);
  const limit = Math.sqrt(6 / initial.fanIn);
  return values.map(() => (2 * uniform() - 1) * limit);
}

/** Normal draws, made orthogonal one after the other (Gram and Schmidt): uniformly distributed (Haar). [inputs, outputs] row-major. */
function orthogonal([inputs = 1, outputs = 1]: readonly number[], length: number, uniform: () => number): Float32Array {
  const [size, count] = [Math.max(inputs, outputs), Math.min(inputs, outputs)];
  const vectors: Float64Array[] = [];
  while (vectors.length < count) {
    const vector = Float64Array.from({ length: size }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
    for (const other of vectors) {
      const along = dot(vector, other);
      vector.forEach((value, i) => (vector[i] = value - along * other[i]!));
    }
    const norm = Math.sqrt(dot(vector, vector));
    // A draw in the span of the others has probability zero; a nearly such one would be orthogonal only roughly.
    if (norm > 1e-6) vectors.push(vector.map((value) => value / norm));
  }
  return Float32Array.from({ length: inputs * outputs }, (_, i) => {
    const [row, column] = [Math.floor(i / outputs), i % outputs];
    return length * (inputs >= outputs ? vectors[column]![row]! : vectors[row]![column]!);
  });
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}
