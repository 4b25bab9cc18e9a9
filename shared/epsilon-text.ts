/** Below it, decimals alone would leave too little of an epsilon, or nothing. */
const SMALL = 0.01;

/** Epsilon for people: so many decimals; of a small one three digits, so that it is never told as 0. Infinity is the caller's to say. */
export function epsilonFigure(epsilon: number, decimals: number): string {
  return epsilon > 0 && epsilon < SMALL ? String(Number(epsilon.toPrecision(3))) : epsilon.toFixed(decimals);
}
