import { invariant } from '../errors.ts';

/**
 * Privacy audit with one training run (Steinke, Nasr, Jagielski 2023, 2305.08846). m canaries are each included by a fair coin of their own;
 * from what is released an auditor guesses the coins of r of them (r fixed in advance) and abstains on the others. For an (epsilon, delta)-DP
 * release (add-or-remove-one canary), whatever the auditor knows besides the coins, theorem 5.2 there bounds, for every v,
 *   P[correct >= v] <= f(v) + 2 m delta max_{1 <= i <= m} (f(v - i) - f(v)) / i,   f(v) = P[Binomial(r, e^epsilon / (1 + e^epsilon)) >= v].
 */
export interface AuditOutcome {
  /** m, all canaries, whether guessed or not. */
  readonly canaries: number;
  /** r, at most m. */
  readonly guesses: number;
  /** v, at most r. */
  readonly correct: number;
  readonly delta: number;
}

/** The bound above at `correct`: how likely so many right guesses are, at most, if the claim holds; in [0, 1]. */
export function auditPValue({ canaries, guesses, correct, delta }: AuditOutcome, epsilon: number): number {
  invariant(Number.isInteger(canaries) && Number.isInteger(guesses) && Number.isInteger(correct) && 0 <= correct && correct <= guesses && guesses <= canaries, `0 <= correct <= guesses <= canaries, found ${correct}, ${guesses}, ${canaries}`);
  invariant(delta >= 0 && delta <= 1 && epsilon >= 0, `epsilon from 0 and delta in [0, 1], found ${epsilon}, ${delta}`);
  const mass = binomialMasses(guesses, epsilon);
  let tail = 0;
  for (let k = guesses; k >= correct; k -= 1) tail += mass[k]!;
  // f(v - i) - f(v) is the mass from v - i to v - 1; from i = v on it grows no more, so larger i need not be looked at.
  let below = 0;
  let steepest = 0;
  for (let i = 1; i <= correct; i += 1) {
    below += mass[correct - i]!;
    steepest = Math.max(steepest, below / i);
  }
  return Math.min(1, tail + 2 * canaries * delta * steepest);
}

/**
 * The largest epsilon (to 1e-9, rounded down; 0 if none) that the outcome rejects at this confidence: if the release were (epsilon, delta)-DP, so many
 * guesses were right with probability at most 1 - confidence. A smaller epsilon makes the stronger claim, so it is rejected too: with this confidence the
 * true epsilon at this delta is not smaller.
 */
export function epsilonLowerBound(outcome: AuditOutcome, confidence: number): number {
  invariant(confidence > 0 && confidence < 1, `a confidence between 0 and 1, found ${confidence}`);
  const rejected = (epsilon: number): boolean => auditPValue(outcome, epsilon) <= 1 - confidence;
  if (!rejected(0)) return 0;
  let low = 0;
  let high = 1;
  while (rejected(high)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1e-9) {
    const middle = (low + high) / 2;
    if (rejected(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** How many canaries are guessed as included and as left out; fixed before a coin is tossed. */
export interface GuessPlan {
  readonly included: number;
  readonly excluded: number;
}

/** Beyond the claim, so that a few wrong guesses do not save a broken mechanism. */
const ROOM = 0.25;

/**
 * A third of the canaries, half to each side (near the best for a weak signal); more where a third of them, all guessed right, could not refute the
 * claim; a third again where not even all of them could.
 */
export function planGuesses(input: { readonly canaries: number; readonly claim: number; readonly delta: number; readonly confidence: number }): GuessPlan {
  const { canaries, claim, delta, confidence } = input;
  const sides = [1 / 3, 1 / 2, 2 / 3, 1].map((share) => Math.max(1, Math.floor((share * canaries) / 2)));
  const refutes = (side: number): boolean => epsilonLowerBound({ canaries, guesses: 2 * side, correct: 2 * side, delta }, confidence) >= claim + ROOM;
  const side = sides.find(refutes) ?? sides[0]!;
  return { included: side, excluded: side };
}

/**
 * Guesses of the highest scores as included and the lowest as excluded; how many are right. `included[i]` is 1 where canary i took part. Ties go by position,
 * which knows nothing of the coins.
 */
export function countCorrect(input: { readonly scores: Float64Array; readonly included: Uint8Array; readonly guesses: GuessPlan }): number {
  const { scores, included, guesses } = input;
  invariant(scores.length === included.length && guesses.included + guesses.excluded <= scores.length, 'a score and a coin per canary, and no canary guessed twice');
  invariant(scores.every((score) => !Number.isNaN(score)), 'scores that can be ordered');
  const order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b);
  const top = order.slice(0, guesses.included).filter((i) => included[i] === 1).length;
  const bottom = order.slice(order.length - guesses.excluded).filter((i) => included[i] === 0).length;
  return top + bottom;
}

/**
 * P[Binomial(n, p) = k] for k = 0 .. n, p = e^epsilon / (1 + e^epsilon), to some 1e-14 n relative: ratios of neighbours, outward from the largest, then
 * divided by the sum. Masses below 10^-300 may come out as 0.
 */
function binomialMasses(n: number, epsilon: number): Float64Array {
  const mass = new Float64Array(n + 1);
  const odds = Math.exp(epsilon);
  const mode = Math.min(n, Math.floor((n + 1) / (1 + 1 / odds)));
  mass[mode] = 1;
  for (let k = mode; k < n; k += 1) mass[k + 1] = (mass[k]! * (n - k) * odds) / (k + 1);
  for (let k = mode; k > 0; k -= 1) mass[k - 1] = (mass[k]! * k) / ((n - k + 1) * odds);
  const total = mass.reduce((sum, one) => sum + one, 0);
  return mass.map((one) => one / total);
}
