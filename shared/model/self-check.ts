import { AntiphonError } from '../errors.ts';
import { clippedGradientSum, gradientSum } from './gradients.ts';
import { seededUniform } from './initialise.ts';
import type { Layer } from './layer.ts';
import type { Network } from './network.ts';
import { predictLogits } from './predict.ts';
import { drawTokens, inputGradientError, leakBetweenExamples, parameterGradientError, perExampleErrors, type PerExampleErrors } from './self-check-layer.ts';
import { tf } from './tf.ts';
import { disposeWeights, loadWeights } from './weights.ts';

/** The largest relative deviations found in one layer (0 where there is nothing to compare). */
export interface LayerReport {
  readonly layer: string;
  /** Gradients of input and parameters, explicit against finite differences. */
  readonly gradient: number;
  /** Norms and weighted sums of a batch against its examples alone. */
  readonly bookKeeping: number;
}

/** What was proven. */
export interface SelfCheckReport {
  readonly layers: readonly LayerReport[];
}

/** Finite differences in float32 agree to some 1e-4; one wrong entry among a probe's sixty-four shows as 1e-1. */
const GRADIENT_TOLERANCE = 1e-2;
const BOOK_KEEPING_TOLERANCE = 1e-5;
const UNIT_ROUNDOFF = 2 ** -24;

/**
 * Proves, on the current backend and before any training, every layer of the networks and then each network as a whole: gradients against finite
 * differences, norms and weighted sums against one example at a time. Inputs hold negative stretches (kernels exist that lose their
 * gradient there, or send it to another example: a privacy breach). Throws AntiphonError('backend-wrong'). Well below a second for small networks.
 */
export async function proveBackend(networks: readonly Network[]): Promise<SelfCheckReport> {
  const layers: LayerReport[] = [];
  for (const network of networks) {
    let shape = network.spec.shape;
    for (const [i, layer] of network.layers.entries()) {
      // Training never asks the first layer for the gradient of the data.
      layers.push(await proveLayer(layer, shape, { ofInput: i > 0 }));
      shape = layer.outputShape;
    }
    layers.push(await proveNetwork(network));
  }
  return { layers };
}

/** The same for one layer, whose input has this shape (without the batch axis). */
export async function proveLayer(layer: Layer, inputShape: readonly number[], { ofInput = true } = {}): Promise<LayerReport> {
  const worst = (found: number, tolerance: number, what: string): number => {
    // Written so that NaN is refused.
    if (!(found <= tolerance)) throw wrong(`layer ${layer.name}`, what, found);
    return found;
  };
  const gradients: number[] = [0];
  if (ofInput && layer.vocabulary === undefined) {
    worst(await leakBetweenExamples(layer, inputShape), 0, "one example's gradient apart from another's");
    gradients.push(worst(await inputGradientError(layer, inputShape), GRADIENT_TOLERANCE, 'the gradient of its input'));
  }
  if (layer.parameters.length === 0) return { layer: layer.name, gradient: Math.max(...gradients), bookKeeping: 0 };
  const found: PerExampleErrors = await perExampleErrors(layer, inputShape);
  worst(found.weightedSums, BOOK_KEEPING_TOLERANCE, 'the weighted sum of the examples');
  worst(found.sums, BOOK_KEEPING_TOLERANCE, 'the sum of the examples');
  // A float32 sum of many squares may err by this; the mechanism's margin pays for it (shared/privacy/mechanism.ts).
  worst(found.norms, BOOK_KEEPING_TOLERANCE + UNIT_ROUNDOFF * layer.longestReduction, "the norms of the examples' gradients");
  gradients.push(worst(await parameterGradientError(layer, inputShape), GRADIENT_TOLERANCE, 'the gradient of its parameters'));
  return { layer: layer.name, gradient: Math.max(...gradients), bookKeeping: Math.max(found.weightedSums, found.sums, found.norms) };
}

/** The whole: clipped sums of a batch against examples clipped one by one in float64, and the loss's gradient against float64 softmax. */
async function proveNetwork(network: Network): Promise<LayerReport> {
  const COUNT = 5;
  const { spec, inputSize, headSize, encoderSize, vocabulary } = network;
  const uniform = seededUniform(11, 'self-check');
  const features =
    vocabulary === undefined
      ? Float32Array.from({ length: COUNT * inputSize }, (_, i) => (i < inputSize ? -uniform() : 2 * uniform() - 1))
      : Float32Array.from(Array.from({ length: COUNT }, () => [...drawTokens(inputSize, vocabulary, uniform)]).flat());
  const labels = Int32Array.from({ length: COUNT }, (_, i) => i % spec.classes);
  // Off the initial values, which may be zeros: a layer behind zeros has no gradient to compare.
  const weights = loadWeights(network, network.initialise(11, 'self-check').map((value) => value + 0.2 * (2 * uniform() - 1)));
  try {
    const batch = { network, weights, microBatch: 3 };
    const alone: Float64Array[] = [];
    for (let i = 0; i < COUNT; i += 1) {
      alone.push(await gradientSum({ ...batch, features: features.subarray(i * inputSize, (i + 1) * inputSize), labels: labels.subarray(i, i + 1) }));
    }
    const norms = alone.map(length);
    const clipThreshold = norms.toSorted((a, b) => a - b)[COUNT >> 1]!;
    const expected = new Float64Array(network.size);
    alone.forEach((gradient, i) => {
      const factor = Math.min(1, clipThreshold / norms[i]!);
      gradient.forEach((value, j) => (expected[j]! += factor * value));
    });
    const found = await clippedGradientSum({ ...batch, features, labels, clipThreshold });
    const bookKeeping = length(found.map((value, j) => value - expected[j]!)) / length(expected);
    const tolerance = BOOK_KEEPING_TOLERANCE + UNIT_ROUNDOFF * network.longestReduction;
    if (!(bookKeeping <= tolerance)) throw wrong(`the whole network (${spec.encoder.type})`, 'the clipped sum of the examples', bookKeeping);

    // The head's bias sits right behind the logits: its gradient is softmax(z) - onehot(label).
    const logits = await predictLogits({ network, weights, features });
    const biasAt = encoderSize + headSize - spec.classes;
    let gradient = 0;
    alone.forEach((each, i) => {
      const z = logits.slice(i * spec.classes, (i + 1) * spec.classes);
      const highest = Math.max(...z);
      const total = z.reduce((sum, value) => sum + Math.exp(value - highest), 0);
      z.forEach((value, c) => (gradient = Math.max(gradient, Math.abs(each[biasAt + c]! - (Math.exp(value - highest) / total - (labels[i] === c ? 1 : 0))))));
    });
    if (!(gradient <= BOOK_KEEPING_TOLERANCE)) throw wrong(`the whole network (${spec.encoder.type})`, 'the gradient of the loss', gradient);
    return { layer: 'network', gradient, bookKeeping };
  } finally {
    disposeWeights(weights);
  }
}

function length(vector: Float64Array): number {
  return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
}

function wrong(where: string, what: string, deviation: number): AntiphonError {
  return new AntiphonError(
    'backend-wrong',
    `the compute backend "${tf.getBackend()}" computes ${what} wrongly in ${where} (relative deviation ${deviation.toExponential(1)}); a wrong gradient can break privacy, so nothing is trained: choose another with --backend`,
  );
}
