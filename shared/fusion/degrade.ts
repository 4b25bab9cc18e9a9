import type { Inputs, Typical } from './typicality.ts';

/** Ways in which a modality fails some patients: measured, because every fusion rule looks alike where nothing is wrong. */
export const DEGRADATIONS = ['noise', 'blank', 'swap', 'missing'] as const;
export type Degradation = (typeof DEGRADATIONS)[number];

/** Standard deviations of each encoder input; of tokens, all but 2^-strength become others. */
export const NOISE_STRENGTH = 2;

/** Every record degraded. `uniform` in [0, 1): public randomness, these are public records. */
export function degrade(kind: Degradation, inputs: Inputs, { typical, uniform, strength = NOISE_STRENGTH }: { readonly typical: Pick<Typical, 'variance'> | undefined; readonly uniform: () => number; readonly strength?: number }): Inputs {
  const { features, present, size } = inputs;
  switch (kind) {
    case 'noise':
      if (inputs.vocabulary !== undefined) return { ...inputs, features: garbled(features, { vocabulary: inputs.vocabulary, share: 1 - 2 ** -strength, uniform }) };
      return { ...inputs, features: features.map((x, k) => x + strength * Math.sqrt(typical?.variance[k % size] ?? 1) * normal(uniform)) };
    case 'blank':
      return { ...inputs, features: new Float32Array(features.length) };
    case 'missing':
      return { ...inputs, present: new Uint8Array(present.length) };
    case 'swap':
      return { ...inputs, features: swapped(inputs, uniform) };
  }
}

/** Each token, with probability `share`, becomes any token; padding stays. */
function garbled(features: Float32Array, { vocabulary, share, uniform }: { readonly vocabulary: number; readonly share: number; readonly uniform: () => number }): Float32Array {
  return features.map((token) => (token !== 0 && uniform() < share ? 1 + Math.floor(uniform() * (vocabulary - 1)) : token));
}

/** Every record becomes another patient's: the next one's in a random order. */
function swapped({ features, present, size }: Inputs, uniform: () => number): Float32Array {
  const rows = Array.from(present.keys()).filter((i) => present[i] === 1);
  for (let i = rows.length - 1; i > 0; i -= 1) {
    const j = Math.floor(uniform() * (i + 1));
    [rows[i], rows[j]] = [rows[j]!, rows[i]!];
  }
  const result = features.slice();
  rows.forEach((row, k) => {
    const other = rows[(k + 1) % rows.length]!;
    result.set(features.subarray(other * size, (other + 1) * size), row * size);
  });
  return result;
}

/** Box and Muller. */
function normal(uniform: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
