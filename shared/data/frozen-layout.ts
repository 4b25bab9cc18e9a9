/** How records and features lie in memory for a frozen network. Shapes are those of one record, without the batch; all arrays are row-major. */

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** [.., channels] -> [channels, ..]: the order of axes that PyTorch's networks take. */
export function channelsFirstShape(shape: readonly number[]): readonly number[] {
  return [...shape.slice(-1), ...shape.slice(0, -1)];
}

/** One record of `shape` [.., channels] from `source` at `from` into `target` at `to`, as [channels, ..] ('to-first') or back ('to-last'). */
export function moveChannels(direction: 'to-first' | 'to-last', shape: readonly number[], { source, from, target, to }: { readonly source: Float32Array; readonly from: number; readonly target: Float32Array; readonly to: number }): void {
  const channels = shape.at(-1) ?? 1;
  const places = sizeOf(shape) / channels;
  for (let place = 0; place < places; place += 1) {
    for (let channel = 0; channel < channels; channel += 1) {
      const [first, last] = [channel * places + place, place * channels + channel];
      if (direction === 'to-first') target[to + first] = source[from + last]!;
      else target[to + last] = source[from + first]!;
    }
  }
}

/** Axes of length 1 do not matter ([28, 28] is [28, 28, 1]); a flat shape takes any record of its size. */
export function sameShape(record: readonly number[], wanted: readonly number[]): boolean {
  if (sizeOf(record) !== sizeOf(wanted)) return false;
  const long = (sizes: readonly number[]): string => sizes.filter((length) => length !== 1).join();
  return wanted.length === 1 || long(record) === long(wanted);
}
