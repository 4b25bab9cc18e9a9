import { invariant } from '../errors.ts';
import { addGram, cholesky, inversePositive, solveCholesky, symmetricProduct } from './positive-matrix.ts';

/**
 * How an auditor who sees every update and every model scores a site's canaries. In one round the site releases, up to a known factor,
 *   y = sum_i s_i c_i g_i + noise,
 * s_i the coin of canary i (1: it takes part), g_i its clipped gradient at the model the round started from, c_i how often it was sampled (mean `signal`, variance
 * `coinVariance`). Gradients of canaries overlap, so the inner product <y, g_i> alone also sees the others' coins. The score is the linear estimate of s_i - 1/2
 * with the least mean squared error over all rounds, coins and sampling as random effects:
 *   y - signal/2 sum_i g_i = signal sum_i (s_i - 1/2) g_i + e,   Cov(e) = t I + coinVariance/2 sum_i g_i g_i'.
 * How loud the canaries are against t is taken from the claim, or louder where that makes the round likelier, and so is whether gradients were clipped at all: a
 * mechanism that noises or clips less than it says is seen as sharply as it is. The score tends to the inner product where the noise is large. One that models the release badly loses power, never
 * validity: the audit's theorem takes any function of what was released.
 */
export interface CanaryObservation {
  /** [canaries, parameters] row-major: g_i. */
  readonly gradients: Float32Array;
  /** [canaries]: how many times longer each was before it was clipped, >= 1. */
  readonly lengths: Float64Array;
  /** [parameters]: y. */
  readonly released: Float64Array;
  readonly signal: number;
  readonly coinVariance: number;
  /** Claimed noise variance per coordinate of y, >= 0. */
  readonly noiseVariance: number;
}

export interface CanaryScorer {
  readonly observe: (observation: CanaryObservation) => void;
  /** [canaries]: the higher, the likelier that it took part. */
  readonly scores: () => Float64Array;
}

/** 1 / Var(s_i - 1/2). */
const PRIOR_PRECISION = 4;
/** Steps of the search for the loudness, and how far beyond the claim it goes. */
const STEP = 4;
const FURTHEST = 4 ** 14;

/** Memory: canaries^2 doubles, a few times. Time per round: canaries^2 (parameters + a few canaries) operations. */
export function createCanaryScorer(canaries: number): CanaryScorer {
  const n = canaries;
  /** Lower triangles, row-major [canaries, canaries]. */
  const precision = new Float64Array(n * n);
  const evidence = new Float64Array(n);
  for (let i = 0; i < n; i += 1) precision[i * n + i] = PRIOR_PRECISION;
  return {
    observe: (observation) => {
      const { round, noise, signal, coinVariance } = likeliest(observation, n);
      // Without sampling coins the limit is taken at a variance that is too small to matter.
      const coins = Math.max(coinVariance / 2, 1e-6 * noise);
      // With S = noise I + coins G'G: G S^-1 G' = (I - M) / coins and G S^-1 y = M G y / noise, M = (I + coins / noise G G')^-1.
      const inverse = inversePositive(cholesky(shifted(round.gram, coins / noise, n), n), n);
      const seen = symmetricProduct(inverse, round.products);
      for (let i = 0; i < n; i += 1) for (let j = 0; j <= i; j += 1) precision[i * n + j]! += (signal ** 2 / coins) * ((i === j ? 1 : 0) - inverse[i * n + j]!);
      for (let i = 0; i < n; i += 1) evidence[i]! += (signal / noise) * seen[i]!;
    },
    scores: () => solveCholesky(cholesky(precision, n), evidence),
  };
}

/** A round in the unknowns' own space: what is left of the parameters are inner products. */
interface Round {
  /** G G', lower triangle. */
  readonly gram: Float64Array;
  /** G r and r'r, r the release with every canary taken off at its mean. */
  readonly products: Float64Array;
  readonly squares: number;
  readonly size: number;
}

/** The round if gradients are as given, and if they are so many times longer. */
function roundsOf({ gradients, lengths, released, signal }: CanaryObservation, n: number): readonly Round[] {
  const size = released.length;
  invariant(gradients.length === n * size && lengths.length === n && signal > 0, 'a gradient and a length per canary, and a signal');
  const given = new Float64Array(n * n);
  addGram(given, { rows: gradients, count: n, size });
  const products = Float64Array.from({ length: n }, (_, i) => {
    let dot = 0;
    for (let k = 0; k < size; k += 1) dot += gradients[i * size + k]! * released[k]!;
    return dot;
  });
  const squares = released.reduce((sum, value) => sum + value * value, 0);
  const ofLengths = (factors: Float64Array): Round => {
    const gram = given.map((value, at) => value * factors[Math.floor(at / n)]! * factors[at % n]!);
    const own = products.map((value, i) => value * factors[i]!);
    const sums = symmetricProduct(gram, new Float64Array(n).fill(1));
    const half = signal / 2;
    return { gram, size, products: own.map((value, i) => value - half * sums[i]!), squares: squares + own.reduce((total, value, i) => total + half * (half * sums[i]! - 2 * value), 0) };
  };
  return lengths.every((length) => length === 1) ? [ofLengths(lengths)] : [ofLengths(new Float64Array(n).fill(1)), ofLengths(lengths)];
}

interface Likeliest {
  readonly round: Round;
  readonly noise: number;
  readonly signal: number;
  readonly coinVariance: number;
}

/**
 * The round and the levels that are likeliest, coins of inclusion and of sampling taken together as Gaussian: the ratio of canaries to noise goes up from the claim by
 * factors as long as that helps; the level of both follows from the ratio in closed form.
 */
function likeliest(observation: CanaryObservation, n: number): Likeliest {
  const { signal, coinVariance, noiseVariance } = observation;
  const variance = signal ** 2 / 4 + coinVariance / 2;
  const [first, ...others] = roundsOf(observation, n).map((round) => {
    let energy = 0;
    for (let i = 0; i < n; i += 1) energy += round.gram[i * n + i]!;
    return { round, ...likeliestRatio(round, noiseVariance > 0 ? variance / noiseVariance : round.size / energy) };
  });
  invariant(first !== undefined, 'a round');
  const { round, ratio, noise } = others.reduce((best, next) => (next.logLikelihood > best.logLikelihood ? next : best), first);
  const louder = (ratio * noise) / variance;
  return { round, noise, signal: signal * Math.sqrt(louder), coinVariance: coinVariance * louder };
}

interface Fit {
  readonly ratio: number;
  readonly noise: number;
  readonly logLikelihood: number;
}

function likeliestRatio({ gram, products, squares, size }: Round, claimed: number): Fit {
  const n = products.length;
  const at = (ratio: number): Fit => {
    const factor = cholesky(shifted(gram, ratio, n), n);
    const explained = solveCholesky(factor, products);
    let logDeterminant = 0;
    let fit = 0;
    for (let i = 0; i < n; i += 1) {
      logDeterminant += 2 * Math.log(factor[i * n + i]!);
      fit += products[i]! * explained[i]!;
    }
    const noise = (squares - ratio * fit) / size;
    return { ratio, noise, logLikelihood: -(size * Math.log(noise) + logDeterminant) / 2 };
  };
  let best = at(claimed);
  while (best.ratio < FURTHEST * claimed) {
    const next = at(best.ratio * STEP);
    // Written so that NaN ends the search.
    if (!(next.logLikelihood > best.logLikelihood)) break;
    best = next;
  }
  return best;
}

/** I + factor A, lower triangle. */
function shifted(a: Float64Array, factor: number, n: number): Float64Array {
  const result = a.map((value) => factor * value);
  for (let i = 0; i < n; i += 1) result[i * n + i]! += 1;
  return result;
}

/** Weights of the K releases of one round in the update they add up to: the release of step k is in the velocities of steps k .. K-1, momentum^j as strong in the j-th after it. */
export function releaseWeights(steps: number, momentum: number): Float64Array {
  return Float64Array.from({ length: steps }, (_, k) => Array.from({ length: steps - k }, (__, j) => momentum ** j).reduce((a, b) => a + b, 0));
}
