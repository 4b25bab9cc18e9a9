export const EXACT_BITS = 256n;
const GUARD = 64n;
const ONE = 1n << (EXACT_BITS + GUARD);

/** e^{-n/d} in units of 2^-256, by halving the argument and squaring; error below 2^-250 for arguments up to 2^40. */
export function expNegative(numerator: bigint, denominator: bigint): bigint {
  let argument = (numerator * ONE) / denominator;
  let halvings = 0;
  while (argument > ONE >> 3n) {
    argument >>= 1n;
    halvings += 1;
  }
  let term = ONE;
  let sum = ONE;
  // (1/8)^n / n! < 2^-320 from n = 57 on.
  for (let n = 1n; n < 60n; n += 1n) {
    term = (term * argument) / (ONE * n);
    sum += n % 2n === 0n ? term : -term;
  }
  for (let i = 0; i < halvings; i += 1) sum = (sum * sum) / ONE;
  return sum >> GUARD;
}
