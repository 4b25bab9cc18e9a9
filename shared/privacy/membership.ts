import { invariant } from '../errors.ts';

/** What an attack says of every subject: the higher the score, the likelier a member. */
export interface AttackScores {
  readonly members: Float64Array;
  readonly nonMembers: Float64Array;
}

/** Probability that a random member scores above a random non-member, ties counted half (the area under the ROC curve; Mann and Whitney 1947). NaN where either is missing. */
export function areaUnderRoc({ members, nonMembers }: AttackScores): number {
  const below = Float64Array.from(nonMembers).sort();
  let wins = 0;
  for (const score of members) wins += (countBelow(below, score, false) + countBelow(below, score, true)) / 2;
  return wins / (members.length * nonMembers.length);
}

/** Standard deviation of that area where scores tell nothing: what chance alone does (exact without ties, an upper bound with them). */
export function chanceDeviation({ members, nonMembers }: AttackScores): number {
  return Math.sqrt((members.length + nonMembers.length + 1) / (12 * members.length * nonMembers.length));
}

/** The strongest threshold that keeps to a false-positive rate, in counts. */
export interface OperatingPoint {
  readonly rate: number;
  /** Whether there are enough non-members for at least one false positive at this rate; otherwise the point is that without any. */
  readonly resolved: boolean;
  readonly truePositives: number;
  readonly falsePositives: number;
}

/** Subjects that score at least the threshold are called members; equal scores stand or fall together. */
export function operatingPoint({ members, nonMembers }: AttackScores, rate: number): OperatingPoint {
  invariant(rate >= 0 && rate <= 1, `a rate in [0, 1], found ${rate}`);
  // 0.001 * 3000 must be three, whatever binary fractions say.
  const allowed = Math.floor(rate * nonMembers.length * (1 + 1e-12));
  const descending = Float64Array.from(nonMembers).sort().reverse();
  /** The first false positive too many: the threshold lies just above it. */
  const limit = descending[allowed] ?? -Infinity;
  const above = (scores: Float64Array): number => scores.reduce((count, score) => count + (score > limit || limit === -Infinity ? 1 : 0), 0);
  return { rate, resolved: allowed >= 1, truePositives: above(members), falsePositives: above(nonMembers) };
}

/** A model's confidence in a subject's true class. */
export interface Confidence {
  readonly probability: number;
  /** ln p / (1 - p), kept apart because p may round to 1. */
  readonly logOdds: number;
}

/** Loss threshold, without reference models (Yeom et al. 2018, 1709.01604). */
export function lossScore(target: Confidence): number {
  return target.logOdds;
}

/** RMIA's a: how far p(x) is taken to lie between what models without x say and 1. */
const OFFLINE_A = 0.3;

/**
 * RMIA, offline form (Zarifzadeh, Liu, Shokri 2024, 2312.03262): p(x | model) / p(x), p(x) = ((1 + a) mean_out + 1 - a) / 2 over reference models that were
 * trained without x. Comparing this ratio with that of population samples z, as the paper goes on to do, ranks the subjects of one model in the same
 * order, so the ROC curve is the same without z, and without z's ties.
 */
export function rmiaScore(target: Confidence, out: readonly Confidence[]): number {
  invariant(out.length > 0, 'a reference model without the subject');
  const mean = out.reduce((sum, { probability }) => sum + probability, 0) / out.length;
  return target.probability / (((1 + OFFLINE_A) * mean + 1 - OFFLINE_A) / 2);
}

/**
 * LiRA, offline form with one variance for all subjects, as its authors advise for few reference models (Carlini et al. 2022, 2112.03570): the log-odds above
 * the mean of those of models trained without x. The common standard deviation does not change the order and is left out.
 */
export function liraScore(target: Confidence, out: readonly Confidence[]): number {
  invariant(out.length > 0, 'a reference model without the subject');
  return target.logOdds - out.reduce((sum, { logOdds }) => sum + logOdds, 0) / out.length;
}

/** From class probabilities [classes] of one subject. */
export function confidenceOf(probabilities: Float64Array, label: number): Confidence {
  let others = 0;
  probabilities.forEach((p, c) => (others += c === label ? 0 : p));
  const own = probabilities[label] ?? 0;
  const tiny = 1e-300;
  return { probability: own, logOdds: Math.log(Math.max(own, tiny)) - Math.log(Math.max(others, tiny)) };
}

/** How many of the ascending values are below the score, or at most it. */
function countBelow(ascending: Float64Array, score: number, orEqual: boolean): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const value = ascending[middle]!;
    if (value < score || (orEqual && value === score)) low = middle + 1;
    else high = middle;
  }
  return low;
}
