import { AntiphonError } from '../errors.ts';
import { seededUniform } from './initialise.ts';
import type { Layer } from './layer.ts';
import type { Network } from './network.ts';
import { tf, type Tensor } from './tf.ts';

/** What was proven, per layer: the largest relative deviations found. */
export interface SelfCheckReport {
  readonly layers: readonly { readonly layer: string; readonly gradient: number; readonly bookKeeping: number }[];
}

const BATCH = 3;
const GRADIENT_TOLERANCE = 2e-2;
const BOOK_KEEPING_TOLERANCE = 1e-4;

/**
 * Proves, on the current backend and before any training, every layer of the networks: gradients against finite differences, and norms and
 * weighted sums against one example at a time. Inputs hold negative stretches (kernels exist that lose their gradient there, or send it to
 * another example: a privacy breach). Throws AntiphonError('backend-wrong').
 */
export async function proveBackend(networks: readonly Network[]): Promise<SelfCheckReport> {
  const layers: SelfCheckReport['layers'][number][] = [];
  for (const network of networks) {
    let shape = network.spec.shape;
    for (const layer of network.layers) {
      layers.push(await proveLayer(layer, shape));
      shape = layer.outputShape;
    }
  }
  return { layers };
}

/** The same for one layer, whose input has this shape (without the batch axis). */
export async function proveLayer(layer: Layer, inputShape: readonly number[]): Promise<SelfCheckReport['layers'][number]> {
  const uniform = seededUniform(7, layer.name);
  const draw = (shape: readonly number[], low: number, high: number): Tensor => {
    const size = shape.reduce((a, b) => a * b, 1);
    return tf.tensor(Float32Array.from({ length: size }, () => low + (high - low) * uniform()), [...shape]);
  };
  const owned: Tensor[] = [];
  const own = (tensor: Tensor): Tensor => {
    owned.push(tensor);
    return tensor;
  };
  try {
    // Example 0 is negative everywhere, the others have both signs; nothing lies so near to zero that a difference would straddle a kink.
    const size = inputShape.reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length: BATCH * size }, (_, i) => (i < size || uniform() < 0.5 ? -1 : 1) * (0.1 + uniform()));
    const x = own(tf.tensor(values, [BATCH, ...inputShape]));
    const parameters = layer.parameters.map(({ shape, initial }) => own(draw(shape, initial.type === 'ones' ? 0.5 : -0.5, initial.type === 'ones' ? 1.5 : 0.5)));
    const g = own(draw([BATCH, ...layer.outputShape], -1, 1));
    const gradient = await proveGradient(layer, { x, parameters, g });
    const bookKeeping = layer.parameters.length === 0 ? 0 : await proveBookKeeping(layer, { x, parameters, g });
    return { layer: layer.name, gradient, bookKeeping };
  } finally {
    tf.dispose(owned);
  }
}

interface Probe {
  readonly x: Tensor;
  readonly parameters: readonly Tensor[];
  /** Gradient at the output. */
  readonly g: Tensor;
}

/**
 * <backward(g), v> against (<g, f(x + hv)> - <g, f(x - hv)>) / 2h, example by example, in several random directions v. A kink of relu inside one
 * step would be a false alarm, so the median over directions counts; a wrong kernel is wrong in all of them.
 */
async function proveGradient(layer: Layer, { x, parameters, g }: Probe): Promise<number> {
  const STEP = 2e-3;
  const DIRECTIONS = 5;
  const deviations: number[] = [];
  for (let direction = 0; direction < DIRECTIONS; direction += 1) {
    const uniform = seededUniform(direction, `direction/${layer.name}`);
    const [expected, found, scale] = await readAll(() => {
      const v = tf.tensor(Float32Array.from({ length: x.size }, () => 2 * uniform() - 1), x.shape);
      const along = (sign: number): Tensor => layer.forward(tf.add(x, tf.mul(v, sign * STEP)), parameters).output;
      const difference = tf.div(tf.sub(along(1), along(-1)), 2 * STEP);
      const back = layer.backward(layer.forward(x, parameters).saved, parameters, g);
      const perExample = (a: Tensor): Tensor => tf.sum(tf.reshape(a, [BATCH, -1]), 1);
      return [perExample(tf.mul(difference, g)), perExample(tf.mul(back, v)), tf.sqrt(perExample(tf.square(tf.mul(difference, g))))];
    });
    let worst = 0;
    for (let i = 0; i < BATCH; i += 1) worst = Math.max(worst, Math.abs(expected![i]! - found![i]!) / Math.max(scale![i]!, Math.abs(found![i]!), 1e-3));
    deviations.push(Number.isNaN(worst) ? Infinity : worst);
  }
  const median = deviations.sort((a, b) => a - b)[Math.floor(DIRECTIONS / 2)]!;
  if (median > GRADIENT_TOLERANCE) throw wrong(layer, 'the gradient of its input', median);
  return median;
}

/** Norms and weighted sums of the batch against the examples alone, and one parameter direction against finite differences. */
async function proveBookKeeping(layer: Layer, { x, parameters, g }: Probe): Promise<number> {
  const factors = [0.25, 1, 0.5];
  const [norms, sums, alone, aloneNorms, difference, directional] = await readAll(() => {
    const { saved } = layer.forward(x, parameters);
    const flat = (tensors: readonly Tensor[]): Tensor => tf.concat(tensors.map((tensor) => tf.reshape(tensor, [-1])));
    const single = factors.map((_, i) => {
      const one = layer.forward(tf.slice(x, [i, ...x.shape.slice(1).map(() => 0)], [1, ...x.shape.slice(1)]), parameters);
      const gOne = tf.slice(g, [i, ...g.shape.slice(1).map(() => 0)], [1, ...g.shape.slice(1)]);
      return flat(layer.weightedSums(one.saved, gOne, tf.ones([1])));
    });
    const stacked = tf.stack(single);
    // Along the gradient itself, where the slope is largest.
    const STEP = 2e-3;
    const gradients = layer.weightedSums(saved, g, tf.ones([BATCH]));
    const length = tf.sqrt(tf.mean(tf.square(flat(gradients))));
    const direction = gradients.map((each, i) => tf.reshape(tf.div(each, length), parameters[i]!.shape));
    const moved = (sign: number): Tensor => layer.forward(x, parameters.map((p, i) => tf.add(p, tf.mul(direction[i]!, sign * STEP)))).output;
    const slope = tf.sum(tf.mul(tf.div(tf.sub(moved(1), moved(-1)), 2 * STEP), g));
    return [
      layer.squaredNorms(saved, g),
      flat(layer.weightedSums(saved, g, tf.tensor1d(factors))),
      tf.sum(tf.mul(stacked, tf.tensor2d(factors, [BATCH, 1])), 0),
      tf.sum(tf.square(stacked), 1),
      slope,
      tf.sum(tf.mul(flat(gradients), flat(direction))),
    ];
  });
  const sumError = relativeError(sums!, alone!);
  const normError = Math.max(...norms!.map((value, i) => Math.abs(value / aloneNorms![i]! - 1)));
  if (!(sumError <= BOOK_KEEPING_TOLERANCE)) throw wrong(layer, 'the weighted sum of the examples', sumError);
  if (!(normError <= BOOK_KEEPING_TOLERANCE)) throw wrong(layer, "the norms of the examples' gradients", normError);
  const slopeError = Math.abs(difference![0]! / directional![0]! - 1);
  if (!(slopeError <= GRADIENT_TOLERANCE)) throw wrong(layer, 'the gradient of its parameters', slopeError);
  return Math.max(sumError, normError);
}

/** The values of some tensors, which do not outlive this call. */
async function readAll(compute: () => Tensor[]): Promise<number[][]> {
  const tensors = tf.tidy(compute);
  try {
    return await Promise.all(tensors.map(async (tensor) => Array.from(await tensor.data())));
  } finally {
    tf.dispose(tensors);
  }
}

function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i += 1) {
    difference += (found[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

function wrong(layer: Layer, what: string, deviation: number): AntiphonError {
  return new AntiphonError(
    'backend-wrong',
    `the compute backend "${tf.getBackend()}" computes ${what} wrongly in layer ${layer.name} (relative deviation ${deviation.toExponential(1)}); a wrong gradient can break privacy, so nothing is trained: choose another with --backend`,
  );
}
