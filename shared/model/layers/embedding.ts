import type { Layer } from '../layer.ts';
import { tf, type Rank, type Tensor, type Tensor1D, type Tensor2D } from '../tf.ts';

export interface EmbeddingShape {
  /** Per record, padding included. */
  readonly tokens: number;
  /** Token numbers are 0 .. vocabulary - 1; 0 is padding. */
  readonly vocabulary: number;
  readonly width: number;
}

/**
 * The mean of the table's rows over a record's tokens; zeros for a record of padding. [batch, tokens] to [batch, width].
 *
 * With b [batch, vocabulary] the tokens' shares of their record (count / number of tokens), the output is b W, so an example's gradient is the outer product b_i g_i' and its norm
 * ||b_i|| ||g_i|| (as in dense.ts; tokens that repeat are one entry of b_i). Nothing of [batch, vocabulary, width] is ever made. Row 0 of the table has no effect and no gradient.
 */
export function embeddingBag(name: string, { tokens, vocabulary, width }: EmbeddingShape): Layer {
  const productSum = (shares: Tensor, gradient: Tensor): readonly Tensor[] => [tf.matMul(tf.transpose(shares as Tensor2D), gradient)];
  return {
    name,
    vocabulary,
    parameters: [{ name: `${name}/table`, shape: [vocabulary, width], initial: EMBEDDING_START }],
    outputShape: [width],
    // Only the tokens that are there are not zero: their sum is no longer than they are many.
    longestReduction: tokens + width,
    forward: (x, [table]) => {
      const shares = tokenShares(x, vocabulary);
      return { output: tf.matMul(shares, table as Tensor2D), saved: [shares] };
    },
    backward: (_saved, _parameters, gradient) => tf.zeros([gradient.shape[0], tokens]),
    perExample: ([shares], gradient) => [shares!, gradient],
    squaredNorms: ([shares, gradient]) => tf.mul(tf.sum(tf.square(shares!), 1), tf.sum(tf.square(gradient!), 1)),
    weightedSums: ([shares, gradient], factors) => productSum(shares!, tf.mul(gradient!, tf.expandDims(factors, 1))),
    sums: ([shares], gradient) => productSum(shares!, gradient),
  };
}

/** Uniform in +-sqrt(3): unit variance, as no sum runs over a table's rows. */
export const EMBEDDING_START = { type: 'he', fanIn: 2 } as const;

/** [batch, vocabulary]: count of each token / number of tokens; padding counts nothing. */
export function tokenShares(x: Tensor, vocabulary: number): Tensor2D {
  const present = tf.step(x as Tensor2D);
  // Divided before they are added up: TFJS' division of all of [batch, vocabulary] by a column takes twenty times as long as everything else here on wasm.
  const each = tf.divNoNan<Tensor2D>(present, tf.sum(present, 1, true));
  return tf.reshape<Rank.R2>(tokenSums(tokenPlaces(x, vocabulary), { each, vocabulary }), [-1, vocabulary]);
}

/** [batch * tokens]: each token's place in a flat [batch * vocabulary]. */
export function tokenPlaces(x: Tensor, vocabulary: number): Tensor1D {
  const starts = tf.mul(tf.expandDims(tf.range(0, x.shape[0], 1, 'int32'), 1), tf.scalar(vocabulary, 'int32'));
  return tf.reshape<Rank.R1>(tf.add(tf.cast(x, 'int32'), starts), [-1]);
}

/** [batch * vocabulary]: the sum of `each` [batch, tokens] at each place. Flat, because TFJS' sums by row are wrong on WebGPU. */
export function tokenSums(places: Tensor1D, { each, vocabulary }: { readonly each: Tensor2D; readonly vocabulary: number }): Tensor1D {
  return tf.denseBincount(places, tf.reshape<Rank.R1>(each, [-1]), each.shape[0] * vocabulary);
}
