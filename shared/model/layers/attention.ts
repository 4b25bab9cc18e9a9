import type { Layer } from '../layer.ts';
import { tf, type Rank, type Tensor, type Tensor2D, type Tensor3D } from '../tf.ts';
import { convolutionGradients } from './conv2d-gradients.ts';
import { convolutionPlan } from './conv2d-plan.ts';
import { EMBEDDING_START, tokenSums, tokenPlaces, type EmbeddingShape } from './embedding.ts';

/**
 * Attention over a record's tokens, padding left out (after Yang et al. 2016, "Hierarchical attention networks for document classification"): with e_t the table's row of token t,
 * k_t = tanh(W e_t + b), head h has the weights softmax_t(q_h' k_t) and the output sum_t weight_t e_t; zeros for a record of padding. [batch, tokens] to [batch, heads * width].
 *
 * The examples' own gradients: of W and b, those of a 1 x 1 convolution; of the queries, [batch, heads, width]; of the table, the gradients d_t at the rows that were looked up, [batch, tokens,
 * width], never [batch, vocabulary, width]. Nothing tells where a token stands, so equal tokens of a record have equal d_t: a token that is there c times has the gradient c d_t, and
 * the squared norm c^2 ||d_t||^2 is c ||d_t||^2 summed over its places; where rounding sets these apart, that is no less than the norm of their sum (Cauchy and Schwarz).
 */
export function attentionPool(name: string, { tokens, vocabulary, width, heads }: EmbeddingShape & { readonly heads: number }): Layer {
  const key = convolutionGradients({ plan: convolutionPlan({ input: [1, tokens, width], filters: width, kernel: 1, stride: 1 }), channels: width, filters: width });
  const asImage = (x: Tensor): Tensor => tf.reshape(x, [-1, 1, tokens, width]);
  const asRows = (x: Tensor): Tensor3D => tf.reshape(x, [-1, tokens, width]);

  /** Gradients at the looked-up rows [batch * tokens, width], at the keys before tanh (the same) and of each example's queries [batch, heads * width]. */
  const gradients = ([, rows, keys, weights, kernel, queries]: readonly Tensor[], gradient: Tensor): { readonly atRows: Tensor; readonly atKeys: Tensor; readonly ofQueries: Tensor2D } => {
    const g = tf.reshape<Rank.R3>(gradient, [-1, heads, width]);
    const atWeights = tf.matMul(g, tf.transpose(asRows(rows!), [0, 2, 1]));
    const atScores = tf.mul(weights!, tf.sub(atWeights, tf.sum(tf.mul(weights!, atWeights), 2, true)));
    const perToken = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 1]);
    const atKeys = tf.mul(tf.matMul(tf.reshape<Rank.R2>(perToken(atScores), [-1, heads]), queries as Tensor2D), tf.sub(1, tf.square(keys!)));
    const asValues = tf.reshape(tf.matMul(perToken(weights!), g), [-1, width]);
    return {
      atRows: tf.add(asValues, tf.matMul(atKeys as Tensor2D, tf.transpose(kernel as Tensor2D))),
      atKeys,
      ofQueries: tf.reshape(tf.matMul(atScores, asRows(keys!)), [-1, heads * width]),
    };
  };
  const tableSum = (x: Tensor, atRows: Tensor): Tensor => tf.scatterND(tf.reshape(tf.cast(x, 'int32'), [-1, 1]), tf.reshape(atRows, [-1, width]), [vocabulary, width]);
  const querySum = (factors: Tensor, ofQueries: Tensor): Tensor => tf.reshape(tf.matMul(tf.expandDims(factors, 0), ofQueries as Tensor2D), [heads, width]);
  const ofKey = ([kernel, bias]: readonly Tensor[]): readonly Tensor[] => [tf.reshape(kernel!, [width, width]), bias!];

  return {
    name,
    vocabulary,
    parameters: [
      { name: `${name}/table`, shape: [vocabulary, width], initial: EMBEDDING_START },
      { name: `${name}/key/kernel`, shape: [width, width], initial: { type: 'he', fanIn: width } },
      { name: `${name}/key/bias`, shape: [width], initial: { type: 'zeros' } },
      { name: `${name}/queries`, shape: [heads, width], initial: { type: 'he', fanIn: width } },
    ],
    outputShape: [heads * width],
    longestReduction: (width + 1) * width + heads * width + width + 2 * tokens,
    forward: (x, [table, kernel, bias, queries]) => {
      const rows = tf.gather(table as Tensor2D, tf.reshape<Rank.R1>(tf.cast(x, 'int32'), [-1]));
      const keys = tf.tanh(tf.add(tf.matMul(rows, kernel as Tensor2D), bias!));
      const scores = tf.transpose(tf.reshape(tf.matMul(keys as Tensor2D, tf.transpose(queries as Tensor2D)), [-1, tokens, heads]), [0, 2, 1]);
      const weights = weightsOf(scores, tf.expandDims(tf.step(x), 1));
      return { output: tf.reshape(tf.matMul(weights as Tensor3D, asRows(rows)), [-1, heads * width]), saved: [x, rows, keys, weights, kernel!, queries!] };
    },
    backward: (_saved, _parameters, gradient) => tf.zeros([gradient.shape[0], tokens]),
    perExample: (saved, gradient) => {
      const { atRows, atKeys, ofQueries } = gradients(saved, gradient);
      const [x, rows] = saved;
      return [x!, tf.reshape(atRows, [-1, tokens, width]), ofQueries, ...key.perExample([asImage(rows!)], asImage(atKeys))];
    },
    squaredNorms: ([x, atRows, ofQueries, ...ofKeys]) => {
      const ofTable = tf.sum(tf.mul(occurrences(x!, vocabulary), tf.sum(tf.square(atRows!), 2)), 1);
      return tf.add(tf.add(ofTable, tf.sum(tf.square(ofQueries!), 1)), key.squaredNorms(ofKeys));
    },
    weightedSums: ([x, atRows, ofQueries, ...ofKeys], factors) => [
      tableSum(x!, tf.mul(atRows!, tf.reshape(factors, [-1, 1, 1]))),
      ...ofKey(key.weightedSums(ofKeys, factors)),
      querySum(factors, ofQueries!),
    ],
    sums: (saved, gradient) => {
      const { atRows, atKeys, ofQueries } = gradients(saved, gradient);
      const [x, rows] = saved;
      return [tableSum(x!, atRows), ...ofKey(key.sums([asImage(rows!)], asImage(atKeys))), querySum(tf.ones([gradient.shape[0]]), ofQueries)];
    },
  };
}

/** Softmax along the last axis over what is present ([batch, 1, tokens] of 0 and 1), 0 elsewhere. The largest term is 1, so that the sum is at least 1 wherever anything is present. */
function weightsOf(scores: Tensor, present: Tensor): Tensor {
  const largest = tf.max(tf.add(scores, tf.mul(tf.sub(present, 1), 1e9)), 2, true);
  const terms = tf.mul(tf.exp(tf.minimum(tf.sub(scores, largest), 0)), present);
  return tf.div(terms, tf.maximum(tf.sum(terms, 2, true), 1));
}

/** [batch, tokens]: how often the token at each place is in its record. */
function occurrences(x: Tensor, vocabulary: number): Tensor {
  const places = tokenPlaces(x, vocabulary);
  return tf.reshape(tf.gather(tokenSums(places, { each: tf.onesLike(x as Tensor2D), vocabulary }), places), x.shape);
}
