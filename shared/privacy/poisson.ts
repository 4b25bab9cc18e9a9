import { invariant } from '../errors.ts';
import { randomIntegers, type RandomSource } from './random.ts';

const TWO_53 = 2 ** 53;

/**
 * Poisson sampling: every index of 0 .. count-1 is in with probability floor(q 2^53) / 2^53 <= q, independently (rounded down: the sound
 * direction). Shuffled batches would have no tight accountant.
 */
export function poissonSample(count: number, samplingRate: number, random: RandomSource): number[] {
  invariant(samplingRate > 0 && samplingRate <= 1, `a sampling rate in (0, 1], found ${samplingRate}`);
  const { uint53 } = randomIntegers(random, 2 * count);
  const threshold = Math.floor(samplingRate * TWO_53);
  const sampled: number[] = [];
  for (let i = 0; i < count; i += 1) if (uint53() < threshold) sampled.push(i);
  return sampled;
}

/** Uniform on 0 .. count-1, unbiased by rejection; count from 1 to 2^32. */
export function uniformIndex(count: number, random: RandomSource): number {
  invariant(Number.isInteger(count) && count >= 1 && count <= 2 ** 32, `a count from 1 to 2^32, found ${count}`);
  const limit = Math.floor(2 ** 32 / count) * count;
  const { uint32 } = randomIntegers(random, 1);
  for (;;) {
    const value = uint32();
    if (value < limit) return value % count;
  }
}

/** A uniform permutation (Fisher and Yates), in place. */
export function shuffleInPlace<T>(items: T[], random: RandomSource): T[] {
  for (let i = items.length - 1; i > 0; i -= 1) {
    const j = uniformIndex(i + 1, random);
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}
