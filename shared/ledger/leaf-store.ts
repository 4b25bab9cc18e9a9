import { invariant } from '../errors.ts';
import { emptyRoot, HASH_BYTES, leftOf, nodeHash, type Hashing, type Proof } from './merkle.ts';

/** Every leaf hash of a log. Only appended to; one owner. For sizes it has not reached there is no root and no proof. */
export interface LeafStore {
  readonly size: () => number;
  readonly append: (leaf: Uint8Array) => void;
  readonly root: (size: number) => Uint8Array | undefined;
  /** That leaf `index` is in the tree of the first `size` leaves. */
  readonly inclusionProof: (index: number, size: number) => Proof | undefined;
  /** That the first `to` leaves begin with the first `from`. */
  readonly consistencyProof: (from: number, to: number) => Proof | undefined;
}

/** Complete subtrees of this many leaves, and of all larger powers of two, keep their hash: 2 bytes a leaf, and a proof hashes at most some hundred nodes. */
const KEPT_FROM = 32;

/** 34 bytes a leaf (twice that just after growing). */
export function createLeafStore(primitives: Hashing): LeafStore {
  const leaves = createHashList();
  const kept = new Map([[1, leaves]]);

  /** Hash of the leaves [start, start + count), a subtree of some tree here. */
  const subtree = (start: number, count: number): Uint8Array => {
    const list = kept.get(count);
    if (list !== undefined && start / count < list.length()) return list.at(start / count);
    const left = leftOf(count);
    return nodeHash(primitives, subtree(start, left), subtree(start + left, count - left));
  };
  /** RFC 9162 section 2.1.3.1 (PATH). */
  const path = (index: number, start: number, count: number): Proof => {
    if (count === 1) return [];
    const left = leftOf(count);
    return index < left ? [...path(index, start, left), subtree(start + left, count - left)] : [...path(index - left, start + left, count - left), subtree(start, left)];
  };
  /** RFC 9162 section 2.1.4.1 (SUBPROOF). */
  const subproof = (old: number, start: number, count: number, known: boolean): Proof => {
    if (old === count) return known ? [] : [subtree(start, count)];
    const left = leftOf(count);
    return old <= left ? [...subproof(old, start, left, known), subtree(start + left, count - left)] : [...subproof(old - left, start + left, count - left, false), subtree(start, left)];
  };
  const has = (size: number): boolean => Number.isInteger(size) && size >= 0 && size <= leaves.length();
  const copies = (proof: Proof): Proof => proof.map((hash) => hash.slice());

  return {
    size: leaves.length,
    append: (leaf) => {
      invariant(leaf.length === HASH_BYTES, `a leaf hash has ${HASH_BYTES} bytes, not ${leaf.length}`);
      leaves.push(leaf);
      const size = leaves.length();
      for (let count = KEPT_FROM; size % count === 0; count *= 2) {
        const list = kept.get(count) ?? createHashList();
        list.push(subtree(size - count, count));
        kept.set(count, list);
      }
    },
    root: (size) => (!has(size) ? undefined : size === 0 ? emptyRoot(primitives) : subtree(0, size).slice()),
    inclusionProof: (index, size) => (has(size) && has(index) && index < size ? copies(path(index, 0, size)) : undefined),
    consistencyProof: (from, to) => (!has(to) || !has(from) || from > to ? undefined : from === 0 ? [] : copies(subproof(from, 0, to, true))),
  };
}

interface HashList {
  readonly length: () => number;
  /** A view: valid until the next push. */
  readonly at: (index: number) => Uint8Array;
  readonly push: (hash: Uint8Array) => void;
}

/** Hashes one after the other in one array, which doubles when it is full. */
function createHashList(): HashList {
  let bytes = new Uint8Array(32 * HASH_BYTES);
  let length = 0;
  return {
    length: () => length,
    at: (index) => bytes.subarray(HASH_BYTES * index, HASH_BYTES * (index + 1)),
    push: (hash) => {
      if (HASH_BYTES * length === bytes.length) {
        const larger = new Uint8Array(2 * bytes.length);
        larger.set(bytes);
        bytes = larger;
      }
      bytes.set(hash, HASH_BYTES * length);
      length += 1;
    },
  };
}
