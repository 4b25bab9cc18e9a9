import { seededUniform } from './initialise.ts';
import type { Layer } from './layer.ts';
import { tf, type Tensor } from './tf.ts';

/**
 * The measurements of the self-check on one layer. Nothing is averaged over many entries: a kernel that is wrong at one edge must show. Every probe
 * is repeatable.
 */

/** Half the distance of a finite difference. Inputs keep 0.1 away from the kink of relu. */
const STEP = 4e-3;
/** Entries probed together. */
const GROUP = 64;
const MAX_GROUPS = 256;
const EXAMPLES = 4;

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The values of some tensors, which do not outlive this call. */
async function read(compute: () => Tensor[]): Promise<ArrayLike<number>[]> {
  const tensors = tf.tidy(compute);
  try {
    return await Promise.all(tensors.map((tensor) => tensor.data()));
  } finally {
    tf.dispose(tensors);
  }
}

/** One record per kind: negative everywhere, then both signs. Values differ by even gaps (no near ties) and are at least 0.1 in size. Tokens as `drawTokens` has them. */
function records(count: number, { vocabulary }: Layer, { shape, uniform }: { readonly shape: readonly number[]; readonly uniform: () => number }): Float32Array[] {
  const size = sizeOf(shape);
  if (vocabulary !== undefined) return Array.from({ length: count }, (_, record) => (record === 2 ? new Float32Array(size) : drawTokens(size, vocabulary, uniform)));
  return Array.from({ length: count }, (_, record) => {
    const order = Array.from({ length: size }, (__, i) => [uniform(), i] as const).sort(([a], [b]) => a - b);
    return Float32Array.from(order, ([draw, i]) => (record === 0 || draw * 7919 % 1 < 0.5 ? -1 : 1) * (0.1 + i / size));
  });
}

/** A record of token numbers: the largest, some padding anywhere, some tokens that repeat. */
export function drawTokens(size: number, vocabulary: number, uniform: () => number): Float32Array {
  const often = Math.min(3, vocabulary - 1);
  return Float32Array.from({ length: size }, (_, i) => {
    const kind = uniform();
    return i === 0 ? vocabulary - 1 : kind < 0.2 ? 0 : 1 + Math.floor(uniform() * (kind < 0.5 ? often : vocabulary - 1));
  });
}

const stack = (rows: readonly Float32Array[], shape: readonly number[]): Tensor => {
  const size = sizeOf(shape);
  const values = new Float32Array(rows.length * size);
  rows.forEach((row, i) => {
    values.set(row, i * size);
  });
  return tf.tensor(values, [rows.length, ...shape]);
};

function drawParameters(layer: Layer, uniform: () => number): Float32Array[] {
  return layer.parameters.map(({ shape, initial }) => Float32Array.from({ length: sizeOf(shape) }, () => uniform() + (initial.type === 'ones' ? 0.5 : -0.5)));
}

const toTensors = (layer: Layer, values: readonly Float32Array[]): Tensor[] => layer.parameters.map(({ shape }, i) => tf.tensor(values[i]!, [...shape]));

function drawGradients(count: number, shape: readonly number[], uniform: () => number): Float32Array[] {
  return Array.from({ length: count }, () => Float32Array.from({ length: sizeOf(shape) }, () => 2 * uniform() - 1));
}

/** |expected - found| relative to the larger of the two and of the typical size of `expected`; the worst one. NaN stays NaN. */
function worstDeviation(expected: readonly number[], found: readonly number[]): number {
  const typical = Math.sqrt(expected.reduce((sum, value) => sum + value * value, 0) / expected.length);
  return Math.max(...expected.map((value, i) => (value === found[i] ? 0 : Math.abs(value - found[i]!) / Math.max(Math.abs(value), Math.abs(found[i]!), typical))));
}

/**
 * <backward(g), v> against <g, f(x + hv) - f(x - hv)> / 2h, where each v moves one group of entries and all groups together move every entry: the rows of one
 * batch are one record moved in different groups, and must all get the same gradient.
 */
export async function inputGradientError(layer: Layer, inputShape: readonly number[]): Promise<number> {
  const uniform = seededUniform(7, `input/${layer.name}`);
  const size = sizeOf(inputShape);
  const groups = Math.min(MAX_GROUPS, Math.ceil(size / GROUP));
  const parameters = drawParameters(layer, uniform);
  let worst = 0;
  for (const record of records(2, layer, { shape: inputShape, uniform })) {
    const [g] = drawGradients(1, layer.outputShape, uniform);
    const expected: number[] = [];
    const found: number[] = [];
    for (let from = 0; from < groups; from += GROUP) {
      const rows = Math.min(GROUP, groups - from);
      const moves = Array.from({ length: rows }, (_, row) => {
        const move = new Float32Array(size);
        for (let j = from + row; j < size; j += groups) move[j] = (uniform() < 0.5 ? -1 : 1) * (0.5 + uniform() / 2);
        return move;
      });
      const [differences, products, spread] = await read(() => {
        const weights = toTensors(layer, parameters);
        const x = stack(Array.from({ length: rows }, () => record), inputShape);
        const gradient = stack(Array.from({ length: rows }, () => g!), layer.outputShape);
        const v = stack(moves, inputShape);
        const along = (sign: number): Tensor => layer.forward(tf.add(x, tf.mul(v, sign * STEP)), weights).output;
        const perRow = (a: Tensor): Tensor => tf.sum(tf.reshape(a, [rows, -1]), 1);
        const back = layer.backward(layer.forward(x, weights).saved, weights, gradient);
        const typical = tf.sqrt(tf.mean(tf.square(back)));
        const apart = tf.max(tf.abs(tf.sub(back, tf.slice(back, inputShape.map(() => 0).concat(0), [1, ...inputShape]))));
        return [perRow(tf.mul(tf.div(tf.sub(along(1), along(-1)), 2 * STEP), gradient)), perRow(tf.mul(back, v)), tf.divNoNan(apart, typical)];
      });
      worst = Math.max(worst, spread![0]!);
      expected.push(...Array.from(differences!));
      found.push(...Array.from(products!));
    }
    worst = Math.max(worst, worstDeviation(expected, found));
  }
  return worst;
}

/** The largest entry of the examples' input gradients when only one has an output gradient, that one's left out: exactly 0. */
export async function leakBetweenExamples(layer: Layer, inputShape: readonly number[]): Promise<number> {
  const uniform = seededUniform(7, `leak/${layer.name}`);
  const parameters = drawParameters(layer, uniform);
  const [g] = drawGradients(1, layer.outputShape, uniform);
  const zeros = new Float32Array(g!.length);
  const [back] = await read(() => {
    const weights = toTensors(layer, parameters);
    const { saved } = layer.forward(stack(records(EXAMPLES, layer, { shape: inputShape, uniform }), inputShape), weights);
    return [layer.backward(saved, weights, stack([zeros, g!, zeros, zeros], layer.outputShape))];
  });
  const size = sizeOf(inputShape);
  let largest = 0;
  for (let i = 0; i < EXAMPLES * size; i += 1) if (Math.floor(i / size) !== 1) largest = Math.max(largest, Math.abs(back![i]!));
  return largest;
}

export interface PerExampleErrors {
  readonly norms: number;
  readonly weightedSums: number;
  readonly sums: number;
}

/** Norms and sums of a batch against its examples alone, added up in float64. */
export async function perExampleErrors(layer: Layer, inputShape: readonly number[]): Promise<PerExampleErrors> {
  const uniform = seededUniform(7, `examples/${layer.name}`);
  const parameters = drawParameters(layer, uniform);
  const xs = records(EXAMPLES, layer, { shape: inputShape, uniform });
  const gs = drawGradients(EXAMPLES, layer.outputShape, uniform);
  const factors = [0.25, 1, 0.625, 0.875];
  const flat = (tensors: readonly Tensor[]): Tensor => tf.concat(tensors.map((tensor) => tf.reshape(tensor, [-1])));
  const of = (from: number, to: number): { saved: readonly Tensor[]; g: Tensor } => {
    const { saved } = layer.forward(stack(xs.slice(from, to), inputShape), toTensors(layer, parameters));
    return { saved, g: stack(gs.slice(from, to), layer.outputShape) };
  };
  const [norms, weighted, sums] = await read(() => {
    const { saved, g } = of(0, EXAMPLES);
    const own = layer.perExample(saved, g);
    return [layer.squaredNorms(own), flat(layer.weightedSums(own, tf.tensor1d(factors))), flat(layer.sums(saved, g))];
  });
  const expectedWeighted = new Float64Array(weighted!.length);
  const expectedSums = new Float64Array(weighted!.length);
  let normError = 0;
  for (let i = 0; i < EXAMPLES; i += 1) {
    const [alone] = await read(() => {
      const { saved, g } = of(i, i + 1);
      return [flat(layer.weightedSums(layer.perExample(saved, g), tf.ones([1])))];
    });
    let squared = 0;
    for (let j = 0; j < alone!.length; j += 1) {
      squared += alone![j]! ** 2;
      expectedWeighted[j]! += factors[i]! * alone![j]!;
      expectedSums[j]! += alone![j]!;
    }
    // A record of padding has no gradient.
    normError = Math.max(normError, squared === 0 ? norms![i]! : Math.abs(Math.sqrt(norms![i]! / squared) - 1));
  }
  return { norms: normError, weightedSums: distance(weighted!, expectedWeighted), sums: distance(sums!, expectedSums) };
}

function distance(found: ArrayLike<number>, expected: Float64Array): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i += 1) {
    difference += (found[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

/** The same finite differences for the parameters, group by group. */
export async function parameterGradientError(layer: Layer, inputShape: readonly number[]): Promise<number> {
  const uniform = seededUniform(7, `parameters/${layer.name}`);
  const parameters = drawParameters(layer, uniform);
  const size = parameters.reduce((sum, { length }) => sum + length, 0);
  // Every probe is a forward pass and a copy of the parameters: fewer probes, of more entries, for large layers.
  const groups = Math.max(2, Math.min(Math.ceil(size / GROUP), 48, Math.floor(2e6 / size)));
  const xs = records(2, layer, { shape: inputShape, uniform });
  const gs = drawGradients(2, layer.outputShape, uniform);
  const [gradient] = await read(() => {
    const { saved } = layer.forward(stack(xs, inputShape), toTensors(layer, parameters));
    return [tf.concat(layer.sums(saved, stack(gs, layer.outputShape)).map((sum) => tf.reshape(sum, [-1])))];
  });
  const expected: number[] = [];
  const found: number[] = [];
  for (let group = 0; group < groups; group += 1) {
    const [up, down] = [parameters.map((values) => values.slice()), parameters.map((values) => values.slice())];
    let product = 0;
    let offset = 0;
    for (const [p, values] of parameters.entries()) {
      for (let j = (group + groups - (offset % groups)) % groups; j < values.length; j += groups) {
        const move = (uniform() < 0.5 ? -1 : 1) * (0.5 + uniform() / 2);
        up[p]![j]! += STEP * move;
        down[p]![j]! -= STEP * move;
        // What float32 made of the move.
        product += (gradient![offset + j]! * (up[p]![j]! - down[p]![j]!)) / (2 * STEP);
      }
      offset += values.length;
    }
    const [difference] = await read(() => {
      const x = stack(xs, inputShape);
      const along = (values: readonly Float32Array[]): Tensor => layer.forward(x, toTensors(layer, values)).output;
      return [tf.sum(tf.mul(tf.div(tf.sub(along(up), along(down)), 2 * STEP), stack(gs, layer.outputShape)))];
    });
    expected.push(difference![0]!);
    found.push(product);
  }
  return worstDeviation(expected, found);
}
