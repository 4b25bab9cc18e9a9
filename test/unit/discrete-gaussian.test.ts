import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { createDiscreteGaussian } from '../../shared/privacy/discrete-gaussian.ts';
import type { RandomSource } from '../../shared/privacy/random.ts';
import { SEGMENT_COLUMNS, SLOT_BITS, slotTable } from '../../shared/privacy/slot-table.ts';
import { fixedWords, randomByLength, repeatableRandom } from '../support/scripted-random.ts';

const SLOTS = 2 ** SLOT_BITS;
/** Bytes asked for at a time: for draws, for decisions, for one exact decision. */
const [DRAWS, DECISIONS, REFINEMENT] = [65_536, 16_384, 28];
const MARGIN = 2 ** -26;
const ONE = 1n << 256n;
/** How far off a decision may be, in units of 2^-256: 2^-200. */
const TINY = 1n << 56n;
const SIGMAS = [1, 2, 5, 58, 1000, 117_000, 12_345_678, 2 ** 30 + 7, 2 ** 40];

/** e^{-n/d} in units of 2^-256 as 1 / e^{n/d}, by the plain series: not how the sampler computes it. */
function exactly(numerator: bigint, denominator: bigint): bigint {
  // e^{-178} < 2^{-256}.
  if (numerator > 178n * denominator) return 0n;
  const one = 1n << 400n;
  let sum = 0n;
  let term = one;
  for (let n = 1n; term > 0n; n += 1n) {
    sum += term;
    term = (term * numerator) / (denominator * n);
  }
  return (1n << 656n) / sum;
}

function lawOf(sigma: number) {
  const { columnBits, firstSlot, cells, height } = slotTable(sigma, MARGIN);
  return {
    cells,
    columnBits,
    firstSlot,
    width: 2 ** columnBits,
    /** Also: the column in which the tail begins. */
    columns: firstSlot.length - 1,
    /** height f(v), in units of 2^-256. */
    heightAt: (v: number): bigint => (exactly(BigInt(v) ** 2n, 2n * BigInt(sigma) ** 2n) * BigInt(height.numerator)) / BigInt(height.denominator),
  };
}

interface Draw {
  readonly slot: number;
  readonly negative: boolean;
  readonly position: number;
  readonly columnBits: number;
}

/** Two words: slot, sign and the bits of the position beyond 32, then the other bits of the position. */
function wideWords({ slot, negative, position, columnBits }: Draw): readonly number[] {
  return [slot * 2 ** (32 - SLOT_BITS) + (negative ? 2 ** 18 : 0) + Math.floor(position / 2 ** 32), (position % 2 ** 32) * 2 ** (32 - Math.min(32, columnBits))];
}

/** One word is enough for a position of up to 18 bits. */
function drawWords(draw: Draw): readonly number[] {
  return draw.columnBits > 18 ? wideWords(draw) : [wideWords({ ...draw, position: 0 })[0]! + draw.position];
}

/** What becomes of one draw that may give this value when u, in units of 2^-256, follows the other decision words: is it kept? */
function isKept({ sigma, draw, value, u, before = [] }: { readonly sigma: number; readonly draw: readonly number[]; readonly value: number; readonly u: bigint; readonly before?: readonly number[] }): boolean {
  const refinement = { fill: (target: Uint8Array) => target.set(target.map((_, i) => Number((u >> BigInt(8 * (REFINEMENT - 1 - i))) & 255n))) };
  // Behind the draw come words of zeros: slot 0 of column 0, the value 0.
  const random = randomByLength({ [DRAWS]: fixedWords(draw), [DECISIONS]: fixedWords([...before, Number(u >> 224n)]), [REFINEMENT]: refinement });
  const target = new Float64Array(1);
  createDiscreteGaussian(sigma, random).fill(target);
  expect([0, value]).toContain(target[0]);
  return target[0] === value;
}

describe.each(SIGMAS)('the law at sigma %i', (sigma) => {
  const { cells, columnBits, firstSlot, width, columns, heightAt } = lawOf(sigma);
  const placed = fc.record({ column: fc.nat(columns - 1), seed: fc.maxSafeNat(), negative: fc.boolean() });
  const at = (column: number, { seed, negative }: { seed: number; negative: boolean }): { position: number; value: number; height: bigint } => {
    const position = seed % width;
    const x = column * width + position;
    return { position, value: negative ? -1 - x : x, height: heightAt(negative ? x + 1 : x) };
  };

  it('a draw is kept with probability height f(v) - slot, to 200 bits', () => {
    let cut = 0;
    fc.assert(
      fc.property(placed, ({ column, ...rest }) => {
        const { position, value, height } = at(column, rest);
        fc.pre(value !== 0);
        const whole = Number(height >> 256n);
        const part = height % ONE;
        const slots = firstSlot[column + 1]! - firstSlot[column]!;
        const keeps = (slot: number, u: bigint): boolean => isKept({ sigma, value, u, draw: drawWords({ slot: firstSlot[column]! + slot, negative: rest.negative, position, columnBits }) });
        if (part > TINY && part < ONE - TINY) {
          cut += 1;
          expect([keeps(whole, part - TINY), keeps(whole, part + TINY)]).toEqual([true, false]);
        }
        if (whole > 0) expect(keeps(whole - 1, ONE - 1n)).toBe(true);
        if (whole + 1 < slots) expect(keeps(whole + 1, 0n)).toBe(false);
      }),
      { numRuns: 30 },
    );
    expect(cut).toBeGreaterThan(10);
  });

  it('every column has slots as high as f at its start, and what counts as below f is', () => {
    for (let c = 0; c < columns; c += 1) {
      const slots = cells.subarray(firstSlot[c], firstSlot[c + 1]);
      const below = slots.filter((cell) => cell >= 0).length;
      expect([...new Set(slots)].every((cell) => cell === c || cell === -1 - c)).toBe(true);
      expect(BigInt(slots.length) * ONE >= heightAt(c * width)).toBe(true);
      expect(BigInt(below) * ONE <= heightAt((c + 1) * width)).toBe(true);
      expect(slots.subarray(0, below).every((cell) => cell === c)).toBe(true);
    }
    expect([firstSlot[0], firstSlot[columns], cells[SLOTS - 1]]).toEqual([0, SLOTS - 1, -1 - columns]);
  });

  it('in segment m of the tail a draw is kept with probability height f(v) 2^(m+5), at most 1, to 200 bits of f', () => {
    const start = (segment: number): number => (columns + segment * SEGMENT_COLUMNS) * width;
    for (let segment = 0; segment < 48; segment += 1) expect(heightAt(start(segment)) << BigInt(segment + 5) <= ONE).toBe(true);
    // Beyond the last segment: next to nothing.
    expect(heightAt(start(48)) < 1n << 56n).toBe(true);
    fc.assert(
      fc.property(fc.nat(sigma < 58 ? 0 : 40), fc.nat(SEGMENT_COLUMNS - 1), placed, (segment, column, { seed, negative }) => {
        const { position, value, height } = at(columns + segment * SEGMENT_COLUMNS + column, { seed, negative });
        const choice = segment < 32 ? [2 ** (31 - segment)] : [0, 2 ** (63 - segment)];
        const before = [...choice, ...wideWords({ slot: column * (SLOTS / SEGMENT_COLUMNS), negative, position, columnBits })];
        const [likely, tiny] = [height << BigInt(segment + 5), TINY << BigInt(segment + 5)];
        fc.pre(likely > tiny && likely + tiny < ONE);
        const keeps = (u: bigint): boolean => isKept({ sigma, value, u, before, draw: drawWords({ slot: SLOTS - 1, negative: false, position: 0, columnBits }) });
        expect([keeps(likely - tiny), keeps(likely + tiny)]).toEqual([true, false]);
      }),
      { numRuns: 20 },
    );
  });

  it('exact decisions alone give the values that doubles give', () => {
    for (const key of [1, 2]) {
      // One decision for all, so that it does not matter how many of them a sampler takes.
      const decisions = fixedWords(new Array<number>(DECISIONS / 4).fill(0x3579_bdf1 * key));
      const random = (): RandomSource => randomByLength({ [DRAWS]: repeatableRandom(key), [DECISIONS]: decisions, [REFINEMENT]: repeatableRandom(9) });
      const [fast, exact] = [new Float64Array(300), new Float64Array(300)];
      createDiscreteGaussian(sigma, random()).fill(fast);
      createDiscreteGaussian(sigma, random(), Infinity).fill(exact);
      expect(exact).toEqual(fast);
    }
  });
});

it('fills of any sizes give the values that one fill gives', () => {
  fc.assert(
    fc.property(fc.constantFrom(3, 1000, 2 ** 30), fc.array(fc.nat(9000), { minLength: 1, maxLength: 8 }), (sigma, sizes) => {
      const random = (): RandomSource => randomByLength({ [DRAWS]: repeatableRandom(5), [DECISIONS]: repeatableRandom(6), [REFINEMENT]: repeatableRandom(7) });
      const whole = new Float64Array(sizes.reduce((a, b) => a + b, 0));
      createDiscreteGaussian(sigma, random()).fill(whole);
      const sampler = createDiscreteGaussian(sigma, random());
      const parts = sizes.map((size) => new Float64Array(size));
      for (const part of parts) sampler.fill(part);
      expect(parts.flatMap((part) => [...part])).toEqual([...whole]);
    }),
    { numRuns: 15 },
  );
});

it.each([0, -3, 2.5, NaN, Infinity, 2 ** 40 + 1])('a standard deviation of %f grid units is refused', (sigma) => {
  expect(() => createDiscreteGaussian(sigma, createKeyStream())).toThrow(/invariant/);
});
