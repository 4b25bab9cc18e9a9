/**
 * The normal tail, in forms without cancellation: everything is an integral of positive terms over u > 0 with weight e^{-au - u^2/2}, the Mills
 * ratio R(a) = P(X > a) / density(a). The rule is trapezoidal in v, u = e^{v - e^{-v}} (double exponential; Takahasi and Mori 1974),
 * accurate to a few 1e-16 relative.
 */
const STEP = 1 / 16;
const nodes: readonly (readonly [u: number, weight: number])[] = Array.from({ length: 121 }, (_, i) => {
  const v = -3.75 + i * STEP;
  const u = Math.exp(v - Math.exp(-v));
  return [u, STEP * u * (1 + Math.exp(-v))];
});

/** Where a lies below, R(a) itself would overflow before long. */
const LOWEST = -8;

export function normalDensity(x: number): number {
  return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
}

/** R(a) for a >= -8. */
function millsRatio(a: number): number {
  const scale = 1 / Math.max(1, a);
  let sum = 0;
  for (const [u, weight] of nodes) sum += weight * Math.exp(-scale * u * (a + 0.5 * scale * u));
  return scale * sum;
}

/** R(a) - R(a + shift), shift > 0, a >= -8: positive, to full relative precision however small the shift. */
export function millsDifference(a: number, shift: number): number {
  const scale = 1 / Math.max(1, a);
  let sum = 0;
  for (const [u, weight] of nodes) sum -= weight * Math.exp(-scale * u * (a + 0.5 * scale * u)) * Math.expm1(-shift * scale * u);
  return scale * sum;
}

/** P(X > x). */
export function normalTail(x: number): number {
  if (x === Infinity) return 0;
  return x >= 0 ? normalDensity(x) * millsRatio(x) : 1 - normalTail(-x);
}

/** density(a) (R(a) - R(a + shift)) = P(X > a) - e^{a shift + shift^2 / 2} P(X > a + shift), for any a. */
export function tailDifference(a: number, shift: number): number {
  if (a >= LOWEST) return normalDensity(a) * millsDifference(a, shift);
  // Here P(X > a) is all but 1, and what is subtracted is far from it unless a + shift is as low.
  const exponent = shift * (a + 0.5 * shift);
  const subtracted = a + shift >= 0 ? normalDensity(a) * millsRatio(a + shift) : Math.exp(exponent) * normalTail(a + shift);
  return Math.max(0, normalTail(a) - subtracted);
}
