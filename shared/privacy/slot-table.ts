/** The table behind the discrete Gaussian sampler (discrete-gaussian.ts): f(v) = e^{-v^2 / 2 sigma^2} over columns of integers, cut into slots of equal height. */
export interface SlotTable {
  /** By slot: column c if f lies above the slot all over the column, otherwise -1 - c: to be decided. The tail counts as one column more, the last. */
  readonly cells: Int16Array;
  /** By column. */
  readonly firstSlot: Int16Array;
  /** Column c covers the integers from c 2^columnBits to (c + 1) 2^columnBits - 1. */
  readonly columnBits: number;
  /** f(0) in slots, exactly. */
  readonly height: { readonly numerator: number; readonly denominator: number };
  /** Heights of f at the column's start, in slots; the last is the tail's start. */
  readonly edges: Float64Array;
  /** How far f can be from the straight line between two edges, in slots. */
  readonly bend: number;
}

export const SLOT_BITS = 13;
const SLOTS = 2 ** SLOT_BITS;
/** In sigma; columns are half of it or more. Narrower ones are more than the slots above one another, wider ones fewer: f cuts most of either. */
const WIDEST_COLUMN = 0.035;
/** Columns in a segment of the tail: enough for f to fall to 0.31 or less from one segment to the next (0.28 sigma at least, 4 sigma out). */
export const SEGMENT_COLUMNS = 16;
const HEIGHT_UNITS = 64;
/** A slot too many costs a rejection now and then, one too few would cut f off: more than the doubles can be wrong. */
const SLACK = 2 ** -26;

/** Slots over a column at whose start f is so many slots high. */
function slotsOver(top: number): number {
  return Math.floor(top + SLACK) + 1;
}

/** The tail begins where its first segment, half a slot for 16 columns, is above f. */
function isTail(top: number): boolean {
  return top * 2 * SEGMENT_COLUMNS + SLACK < 1;
}

/**
 * As many slots over each column as f is high at its start, one for the tail, and as high a f(0) as 2^13 slots permit.
 * A value of the column and its mirror image -1 - x have |v| between the column's two edges, edges included, so f is at most its first edge's and at least its second's.
 * `margin`: how far below f a slot must be to count as below it.
 */
export function slotTable(sigma: number, margin: number): SlotTable {
  const columnBits = Math.max(0, Math.floor(Math.log2(WIDEST_COLUMN * sigma)));
  const step = 2 ** columnBits / sigma;
  /** f at the start of column c, as far out as the tail can begin. */
  const f = [1];
  while (!isTail(SLOTS * f.at(-1)!)) f.push(Math.exp(-0.5 * (f.length * step) ** 2));
  const slotsAt = (height: number): number => {
    let slots = 1;
    for (let c = 0; !isTail(height * f[c]!); c += 1) slots += slotsOver(height * f[c]!);
    return slots;
  };
  let numerator = HEIGHT_UNITS;
  for (let bit = (SLOTS * HEIGHT_UNITS) / 2; bit >= 1; bit /= 2) if (slotsAt((numerator + bit) / HEIGHT_UNITS) <= SLOTS) numerator += bit;
  const height = numerator / HEIGHT_UNITS;

  const columns = f.findIndex((at) => isTail(height * at));
  const edges = new Float64Array(f.slice(0, columns + 1)).map((at) => height * at);
  const cells = new Int16Array(SLOTS);
  const firstSlot = new Int16Array(columns + 1);
  let end = SLOTS - 1;
  firstSlot[columns] = end;
  cells[end] = -1 - columns;
  for (let c = columns - 1; c >= 0; c -= 1) {
    // Column 0 gets what is left over: slots above f, never kept.
    const start = c === 0 ? 0 : end - slotsOver(edges[c]!);
    const decided = start + Math.max(0, Math.floor(edges[c + 1]! - margin));
    cells.fill(c, start, decided).fill(-1 - c, decided, end);
    firstSlot[c] = start;
    end = start;
  }
  // |f''| <= 1 in units of sigma: a chord of length h is off by at most h^2 / 8.
  return { cells, firstSlot, columnBits, height: { numerator, denominator: HEIGHT_UNITS }, edges, bend: (height * step * step) / 8 };
}
