import { invariant } from '../errors.ts';
import { EXACT_BITS, expNegative } from './exact-exp.ts';
import { randomIntegers, type RandomSource } from './random.ts';
import { SEGMENT_COLUMNS, SLOT_BITS, slotTable, type SlotTable } from './slot-table.ts';

/**
 * The discrete Gaussian on the integers, P(v) proportional to f(v) = e^{-v^2 / 2 sigma^2}, for integer sigma, by rejection from a table of 2^13 equally
 * likely slots (slot-table.ts; after Ahrens 1995, Computing 54).
 *
 * A draw takes a slot (13 bits), a sign (1 bit) and a position x in the slot's column of 2^s integers (s bits), and proposes x or, with the negative sign,
 * -1 - x. Slot j of a column stands for the heights j to j + 1 over it, in a unit in which f reaches up to `height`. The proposal is kept where f is above
 * the slot, rejected where it is below, and kept with probability height f(v) - j where f cuts through the slot. So the value v comes with probability
 *   sum_j clamp(height f(v) - j, 0, 1) / 2^{13 + 1 + s} = height f(v) / 2^{14 + s},
 * the same multiple of f for every v. From sigma = 58 on, 95.7 % of the slots or more lie below f altogether: no decision, no further bits. Beyond the columns, about 4 sigma, one slot
 * stands for the tail: segment m = 0, 1, 2, .. of 16 columns with probability 2^-(m+1), a value in it kept with probability height f(v) 2^{m+5} <= 1.
 *
 * Exact: a decision, unless the chord of f over the column settles it, compares 32 random bits with a double that is known to within 2^-33 (heights are below
 * 2^13; exponents and `Math.exp` err by less than 2^-46). Only when the two are closer than 2^-26 are 224 more bits drawn and both sides compared as integers of
 * 256 bits. What remains, per value: e^{-n/d} in 256 bits, off by less than 2^-250, hence the probability of a draw by less than 2^-235; and the end of the tail
 * after 48 segments, at 17 sigma or more, beyond which lies less than 2^-215. The float sampler's holes and steps (Mironov 2012) do not exist. Time depends on the
 * values drawn, as with every rejection sampler.
 *
 * Why the discrete Gaussian: for integer shifts its moments E[(P/Q)^k] are at most the continuous ones in any dimension (Canonne, Kamath,
 * Steinke 2020, 2004.00010), so the RDP at integer orders holds under subsampling too; at other orders both agree to e^{-2 pi^2 sigma^2},
 * which is below 10^-300 from sigma = 6 on (the mechanism's grid gives at least 1000 noiseMultiplier). The accountants are those of the
 * continuous mechanism.
 */
export interface DiscreteGaussian {
  /** Every element becomes a draw of its own. */
  readonly fill: (target: Float64Array) => void;
}

/** Of the standard deviation, in grid units. */
export const LARGEST_STDDEV = 2 ** 40;
const TWO_32 = 2 ** 32;
/** A word holds, from above, the slot, the sign and up to 18 bits of the position; a wider column takes a second word. */
const SLOT_SHIFT = 32 - SLOT_BITS;
const POSITION_BITS = SLOT_SHIFT - 1;
const SEGMENTS = 48;
const MARGIN = 2 ** -26;
/** Asked for at a time: 64 KiB for the draws, 16 KiB for decisions, 28 bytes for an exact one. */
const BLOCK_WORDS = 2 ** 14;
const DECISION_WORDS = 2 ** 12;
const REFINEMENT_BYTES = 28;

/**
 * `sigma`: standard deviation parameter in grid units, an integer from 1 to 2^40. Values are integers below 2^45.
 * `margin`: only tests widen it; with Infinity every decision is an exact one, also those the table takes for a whole slot.
 */
export function createDiscreteGaussian(sigma: number, random: RandomSource, margin = MARGIN): DiscreteGaussian {
  invariant(Number.isInteger(sigma) && sigma >= 1 && sigma <= LARGEST_STDDEV, `an integer standard deviation from 1 to 2^40 grid units, found ${sigma}`);
  const table = slotTable(sigma, margin);
  const words = new Int32Array(BLOCK_WORDS);
  const state: State = { table, sigma, margin, random, decisionBits: randomIntegers(random, DECISION_WORDS).uint32, words, next: BLOCK_WORDS };
  const bytes = new Uint8Array(words.buffer);
  const wide = table.columnBits > POSITION_BITS;
  return {
    fill: (target) => {
      for (let i = 0; i < target.length; ) {
        if (state.next === BLOCK_WORDS) {
          random.fill(bytes);
          state.next = 0;
        }
        const end = Math.min(BLOCK_WORDS, state.next + (target.length - i) * (wide ? 2 : 1));
        i = wide ? drawWide(state, target, { i, end }) : drawNarrow(state, target, { i, end });
        state.next = end;
      }
    },
  };
}

/** Functions of the module and one object instead of closures: they stay compiled from one sampler to the next (a sampler per step is 1.7 times as fast). */
interface State {
  readonly table: SlotTable;
  readonly sigma: number;
  readonly margin: number;
  readonly random: RandomSource;
  /** 32 of them. */
  readonly decisionBits: () => number;
  readonly words: Int32Array;
  next: number;
}

/** Where the draws start in the target, and where their words end. */
interface Range {
  readonly i: number;
  readonly end: number;
}

/** Returns how far the target is filled. */
function drawNarrow(state: State, target: Float64Array, range: Range): number {
  const { words } = state;
  const { cells, columnBits } = state.table;
  const mask = 2 ** columnBits - 1;
  let i = range.i;
  for (let k = state.next; k < range.end; k += 1) {
    const word = words[k]!;
    const cell = cells[word >>> SLOT_SHIFT]!;
    if (cell >= 0) {
      target[i] = ((cell << columnBits) | (word & mask)) ^ signOf(word);
      i += 1;
    } else {
      const value = decide(state, word, word & mask);
      if (Number.isNaN(value)) continue;
      target[i] = value;
      i += 1;
    }
  }
  return i;
}

/** As drawNarrow, two words a draw. */
function drawWide(state: State, target: Float64Array, range: Range): number {
  const { words } = state;
  const { cells, columnBits } = state.table;
  const columnWidth = 2 ** columnBits;
  const { highMask, shift } = wideBits(columnBits);
  let i = range.i;
  for (let k = state.next; k < range.end; k += 2) {
    const word = words[k]!;
    const cell = cells[word >>> SLOT_SHIFT]!;
    const position = (word & highMask) * TWO_32 + (words[k + 1]! >>> shift);
    if (cell >= 0) {
      target[i] = withSign(cell * columnWidth + position, signOf(word));
      i += 1;
    } else {
      const value = decide(state, word, position);
      if (Number.isNaN(value)) continue;
      target[i] = value;
      i += 1;
    }
  }
  return i;
}

/** A position of more than 18 bits: as many of a second word as there are, the rest from the first. */
function wideBits(columnBits: number): { readonly highMask: number; readonly shift: number } {
  return { highMask: 2 ** Math.max(0, columnBits - 32) - 1, shift: Math.max(0, 32 - columnBits) };
}

/** -1 for the negative sign, otherwise 0. */
function signOf(word: number): number {
  return (word << SLOT_BITS) >> 31;
}

/** x or -1 - x, without a branch that is mispredicted every other time. */
function withSign(x: number, sign: number): number {
  return (2 * sign + 1) * x + sign;
}

/** The value of a draw that its slot does not settle, NaN if it is rejected. Unless u is as close to the chord over the column as f may be, the chord decides as f does. */
function decide(state: State, word: number, position: number): number {
  const { cells, firstSlot, edges, columnBits, bend } = state.table;
  const index = word >>> SLOT_SHIFT;
  const column = -1 - cells[index]!;
  if (column === firstSlot.length - 1) return drawTail(state);
  const columnWidth = 2 ** columnBits;
  const sign = signOf(word);
  const x = column * columnWidth + position;
  const slot = index - firstSlot[column]!;
  const bits = state.decisionBits();
  const edge = edges[column]!;
  const chord = edge + (edges[column + 1]! - edge) * ((position - sign) / columnWidth);
  const difference = bits / TWO_32 + slot - chord;
  const band = bend + state.margin;
  const kept = difference < -band || (difference <= band && isBelow(state, bits, { v: x - sign, scale: 1, slot }));
  return kept ? withSign(x, sign) : NaN;
}

function drawTail(state: State): number {
  const { decisionBits } = state;
  const { firstSlot, columnBits } = state.table;
  let segment = 0;
  let zeros = 32;
  while (zeros === 32 && segment < SEGMENTS) {
    zeros = Math.clz32(decisionBits());
    segment += zeros;
  }
  if (segment >= SEGMENTS) return NaN;
  // Two words as in drawWide, with four bits for the column where the slot would be. Not `>>>`: the shift is 32 for columns of one integer.
  const word = decisionBits();
  const { highMask, shift } = wideBits(columnBits);
  const column = firstSlot.length - 1 + segment * SEGMENT_COLUMNS + (word >>> 28);
  const x = column * 2 ** columnBits + (word & highMask) * TWO_32 + Math.floor(decisionBits() / 2 ** shift);
  const sign = signOf(word);
  const kept = isBelow(state, decisionBits(), { v: x - sign, scale: SEGMENT_COLUMNS * 2 ** (segment + 1), slot: 0 });
  return kept ? withSign(x, sign) : NaN;
}

interface Comparison {
  readonly v: number;
  readonly scale: number;
  readonly slot: number;
}

/** Is the uniform number that begins with these 32 bits below scale height f(v) - slot? */
function isBelow(state: State, bits: number, comparison: Comparison): boolean {
  const { sigma, margin } = state;
  const { height } = state.table;
  const { v, scale, slot } = comparison;
  const x = v / sigma;
  const difference = bits / TWO_32 + slot - ((scale * height.numerator) / height.denominator) * Math.exp(-0.5 * x * x);
  if (difference < -margin) return true;
  return difference <= margin && isBelowExactly(state, bits, comparison);
}

function isBelowExactly({ sigma, random, table: { height } }: State, bits: number, { v, scale, slot }: Comparison): boolean {
  const fresh = new Uint8Array(REFINEMENT_BYTES);
  random.fill(fresh);
  const u = fresh.reduce((known, byte) => (known << 8n) | BigInt(byte), BigInt(bits));
  const f = expNegative(BigInt(v) ** 2n, 2n * BigInt(sigma) ** 2n);
  return u + (BigInt(slot) << EXACT_BITS) < (f * BigInt(scale) * BigInt(height.numerator)) / BigInt(height.denominator);
}
