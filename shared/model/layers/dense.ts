import type { InitialValues, Layer } from '../layer.ts';
import { tf, type Tensor, type Tensor2D } from '../tf.ts';

/** What the square of a float32 loses at most where it is too small for one, on hardware without subnormal numbers. */
const LOST_SQUARE = 2 ** -126;

/**
 * y = x W + b; x [batch, inputs], W [inputs, outputs]. Norms without gradients: ||a g'||_F = ||a|| ||g|| (Goodfellow 2015, 1510.01799). A product of norms makes much of little: g of
 * 1e-23, whose squares are 0, times a of 1e19 is a gradient of 1e-4. What the squares of g may have lost is counted as there; those of a are less than rounding beside the bias's 1.
 */
export function dense(name: string, inputs: number, outputs: number, initial: InitialValues = { type: 'he', fanIn: inputs }): Layer {
  // The transpose is explicit and the bias a product: a transposed matMul misses the fast path on wasm, a sum over the batch is slow there.
  const productSum = (x: Tensor, gradient: Tensor): readonly Tensor[] => [
    tf.matMul(tf.transpose(x as Tensor2D), gradient),
    tf.reshape(tf.matMul(tf.ones([1, gradient.shape[0]]), gradient), [outputs]),
  ];
  return {
    name,
    parameters: [
      { name: `${name}/kernel`, shape: [inputs, outputs], initial },
      { name: `${name}/bias`, shape: [outputs], initial: { type: 'zeros' } },
    ],
    outputShape: [outputs],
    longestReduction: inputs + outputs,
    forward: (x, [kernel, bias]) => ({ output: tf.add(tf.matMul(x as Tensor2D, kernel as Tensor2D), bias!), saved: [x] }),
    backward: (_saved, [kernel], gradient) => tf.matMul(gradient, tf.transpose(kernel as Tensor2D)),
    perExample: ([x], gradient) => [x!, gradient],
    squaredNorms: ([x, gradient]) => tf.mul(tf.add(tf.sum(tf.square(x!), 1), 1), tf.add(tf.sum(tf.square(gradient!), 1), outputs * LOST_SQUARE)),
    weightedSums: ([x, gradient], factors) => productSum(x!, tf.mul(gradient!, tf.expandDims(factors, 1))),
    sums: ([x], gradient) => productSum(x!, gradient),
  };
}
