import type { Tensor } from './tf.ts';

/** How a parameter is drawn: uniform in +-sqrt(6 / fanIn); all ones; all zeros; a matrix of orthogonal columns of L2 norm `length` (rows, where it is wide). */
export type InitialValues =
  | { readonly type: 'he'; readonly fanIn: number }
  | { readonly type: 'ones' }
  | { readonly type: 'zeros' }
  | { readonly type: 'orthogonal'; readonly length: number };

/** A trained tensor of a layer; its place in the flat vector is the network's. */
export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
  readonly initial: InitialValues;
}

/**
 * One layer with explicit forward and backward passes, and the two things private training asks of it: the squared norm of every
 * example's own parameter gradient, and the weighted sum of those gradients (book-keeping, Bu et al. 2022, 2210.00038:
 * neither needs a second backward pass). Written with kernels that are right on every backend; TFJS' automatic
 * differentiation is not used (some of its gradient kernels are wrong).
 *
 * All tensors are float32; the first axis is the batch. Callers run a pass inside one tidy.
 */
export interface Layer {
  readonly name: string;
  readonly parameters: readonly ParameterShape[];
  /** The input is token numbers, whole and 0 .. vocabulary - 1, 0 for none, and has no gradient. Omitted: any finite numbers. */
  readonly vocabulary?: number;
  /** Of one example, without the batch axis. */
  readonly outputShape: readonly number[];
  /** The longest float32 sum inside `squaredNorms` (0 without parameters): bounds its error. */
  readonly longestReduction: number;
  /** `saved` is whatever `backward`, `perExample` and `sums` need. */
  readonly forward: (x: Tensor, parameters: readonly Tensor[]) => { readonly output: Tensor; readonly saved: readonly Tensor[] };
  /** Gradient with respect to the input, from the gradient with respect to the output. */
  readonly backward: (saved: readonly Tensor[], parameters: readonly Tensor[], gradient: Tensor) => Tensor;
  /**
   * What `squaredNorms` and `weightedSums` are both made of: the examples' parameter gradients [batch, ...], or factors of them. Computed once, so that what is
   * measured and what is summed are the same numbers.
   */
  readonly perExample: (saved: readonly Tensor[], gradient: Tensor) => readonly Tensor[];
  /** [batch] squared L2 norms of the examples' parameter gradients. */
  readonly squaredNorms: (perExample: readonly Tensor[]) => Tensor;
  /** sum_i factors[i] * (gradient of example i), one tensor per parameter; `factors` [batch]. */
  readonly weightedSums: (perExample: readonly Tensor[], factors: Tensor) => readonly Tensor[];
  /** sum_i (gradient of example i), without the examples' own: for training that is not private. */
  readonly sums: (saved: readonly Tensor[], gradient: Tensor) => readonly Tensor[];
}
