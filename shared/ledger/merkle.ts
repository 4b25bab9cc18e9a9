import { equalBytes } from '../bytes.ts';
import type { Primitives } from '../crypto/primitives.ts';

/**
 * The Merkle tree of RFC 9162 section 2 (the one of RFC 6962) over SHA-256. A tree of n > 1 leaves has on its left the
 * largest power of two below n of them, on its right the rest; so every tree is an extension of all smaller ones.
 */

export const HASH_BYTES = 32;
const [LEAF, NODE] = [Uint8Array.of(0x00), Uint8Array.of(0x01)];

export type Hashing = Pick<Primitives, 'sha256Parts'>;

/** What a tree of `size` leaves comes to. */
export interface TreeHead {
  readonly size: number;
  readonly root: Uint8Array;
}

/** Hashes from the leaf's side upwards. */
export type Proof = readonly Uint8Array[];

export function leafHash(primitives: Hashing, entry: Uint8Array): Uint8Array {
  return primitives.sha256Parts([LEAF, entry]);
}

export function nodeHash(primitives: Hashing, left: Uint8Array, right: Uint8Array): Uint8Array {
  return primitives.sha256Parts([NODE, left, right]);
}

/** The root of no leaves: SHA-256 of nothing. */
export function emptyRoot(primitives: Hashing): Uint8Array {
  return primitives.sha256Parts([]);
}

/** Leaves on the left of `count` > 1: the largest power of two below it. Exact for every safe integer, unlike bit operations and logarithms. */
export function leftOf(count: number): number {
  let left = 1;
  while (2 * left < count) left *= 2;
  return left;
}

/* ---- the growing edge: a value ---- */

/** All that a tree needs in order to grow: the roots of its complete subtrees, largest first, one for each 1 in the binary `size`. */
export interface Frontier {
  readonly size: number;
  readonly peaks: readonly Uint8Array[];
}

export const EMPTY_FRONTIER: Frontier = { size: 0, peaks: [] };

/** The tree with one more leaf hash; the old frontier stays what it was. On average one hash, at most log2(size). */
export function extendFrontier(primitives: Hashing, frontier: Frontier, leaf: Uint8Array): Frontier {
  const peaks = [...frontier.peaks];
  let peak = leaf;
  for (let rest = frontier.size; rest % 2 === 1; rest = (rest - 1) / 2) peak = nodeHash(primitives, peaks.pop()!, peak);
  return { size: frontier.size + 1, peaks: [...peaks, peak] };
}

export function rootOf(primitives: Hashing, { peaks }: Frontier): Uint8Array {
  return peaks.length === 0 ? emptyRoot(primitives) : peaks.reduceRight((right, left) => nodeHash(primitives, left, right));
}

/* ---- verification: for whoever trusts nobody ---- */

/**
 * True if `leaf` is the hash of leaf `index` (from 0) of the tree with this head. False for anything else, of whatever shape; never throws.
 * That the tree has `size` leaves is the head's word, here and below: other sizes may have the same way to the root.
 */
export function verifyInclusion(input: { readonly primitives: Hashing; readonly head: TreeHead; readonly index: number; readonly leaf: Uint8Array; readonly proof: Proof }): boolean {
  const { primitives, head, index, leaf, proof } = input;
  if (!isHead(head) || !isCount(index) || index >= head.size || !isHash(leaf) || !isProof(proof)) return false;
  const way = wayUp(index, head.size, false);
  if (proof.length !== way.length) return false;
  const root = way.reduce((hash, side, i) => (side === 'left' ? nodeHash(primitives, hash, proof[i]!) : nodeHash(primitives, proof[i]!, hash)), leaf);
  return equalBytes(root, head.root);
}

/** True if the tree `to` begins with all leaves of the tree `from`. Every tree extends the empty one, with no proof. Never throws. */
export function verifyConsistency(input: { readonly primitives: Hashing; readonly from: TreeHead; readonly to: TreeHead; readonly proof: Proof }): boolean {
  const { primitives, from, to, proof } = input;
  if (!isHead(from) || !isHead(to) || from.size > to.size || !isProof(proof)) return false;
  if (from.size === 0) return proof.length === 0 && equalBytes(from.root, emptyRoot(primitives)) && (to.size > 0 || equalBytes(to.root, from.root));
  const way = wayUp(from.size - 1, to.size, true);
  // From its last complete subtree both roots are built. Where that subtree is the whole old tree, its hash is known and not in the proof.
  const [start, ...siblings] = way.includes('right') ? proof : [from.root, ...proof];
  if (start === undefined || siblings.length !== way.length) return false;
  let [before, after] = [start, start];
  for (const [i, side] of way.entries()) {
    const sibling = siblings[i]!;
    if (side === 'right') before = nodeHash(primitives, sibling, before);
    after = side === 'right' ? nodeHash(primitives, sibling, after) : nodeHash(primitives, after, sibling);
  }
  return equalBytes(before, from.root) && equalBytes(after, to.root);
}

/**
 * Which child one is, at each step from leaf `index` up to the root of `count` leaves. With `fromSubtree` the way begins higher: at the
 * largest subtree of this tree that ends with the leaf.
 */
function wayUp(index: number, count: number, fromSubtree: boolean): readonly ('left' | 'right')[] {
  const down: ('left' | 'right')[] = [];
  let [at, leaves] = [index, count];
  while (fromSubtree ? at + 1 < leaves : leaves > 1) {
    const left = leftOf(leaves);
    down.push(at < left ? 'left' : 'right');
    [at, leaves] = at < left ? [at, left] : [at - left, leaves - left];
  }
  return down.reverse();
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isHash(value: unknown): boolean {
  return value instanceof Uint8Array && value.length === HASH_BYTES;
}

function isProof(proof: Proof): boolean {
  return Array.isArray(proof) && proof.every(isHash);
}

function isHead(head: TreeHead): boolean {
  return isCount(head.size) && isHash(head.root);
}
