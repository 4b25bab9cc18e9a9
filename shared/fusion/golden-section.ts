/** Where a function with one valley is least, to 1e-4: golden-section search. */
export function minimum(of: (x: number) => number, { least, most }: { readonly least: number; readonly most: number }): number {
  const golden = (Math.sqrt(5) - 1) / 2;
  let [low, high] = [least, most];
  let [left, right] = [high - golden * (high - low), low + golden * (high - low)];
  let [atLeft, atRight] = [of(left), of(right)];
  while (high - low > 1e-4) {
    if (atLeft < atRight) {
      [high, right, atRight] = [right, left, atLeft];
      left = high - golden * (high - low);
      atLeft = of(left);
    } else {
      [low, left, atLeft] = [left, right, atRight];
      right = low + golden * (high - low);
      atRight = of(right);
    }
  }
  return (low + high) / 2;
}
