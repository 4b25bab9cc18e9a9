import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EMPTY_FRONTIER, extendFrontier, leafHash, rootOf, verifyConsistency, verifyInclusion, type Frontier, type Proof } from '../../shared/ledger/merkle.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { storeOf } from '../support/heads.ts';

const H = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(createHash('sha256').update(Buffer.concat(parts)).digest());

/** The definition, RFC 9162 section 2.1.1, word for word. */
function definition(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return H();
  if (leaves.length === 1) return leaves[0]!;
  const left = 2 ** (Math.ceil(Math.log2(leaves.length)) - 1);
  return H(Uint8Array.of(1), definition(leaves.slice(0, left)), definition(leaves.slice(left)));
}

const leavesOf = (count: number, salt = ''): Uint8Array[] => Array.from({ length: count }, (_, i) => leafHash(primitives, Buffer.from(`${salt}${i}`)));
const grow = (leaves: readonly Uint8Array[], from: Frontier = EMPTY_FRONTIER): Frontier => leaves.reduce((frontier, leaf) => extendFrontier(primitives, frontier, leaf), from);
const flipped = (bytes: Uint8Array, bit: number): Uint8Array => bytes.map((byte, i) => (i === (bit >> 3) % bytes.length ? byte ^ (1 << (bit & 7)) : byte));
const replaced = (proof: Proof, at: number, hash: Uint8Array): Proof => proof.map((each, i) => (i === at ? hash : each));

const leafPair = (left: Uint8Array, right: Uint8Array): Uint8Array => H(Uint8Array.of(1), left, right);

const SIZES = 70;
const LEAVES = leavesOf(SIZES);
const store = storeOf(LEAVES);
const head = (size: number) => ({ size, root: store.root(size)! });
const included = (size: number, index: number, proof: Proof, leaf = LEAVES[index]!): boolean => verifyInclusion({ primitives, head: head(size), index, leaf, proof });
const consistent = (from: number, to: number, proof: Proof): boolean => verifyConsistency({ primitives, from: head(from), to: head(to), proof });

/** Sizes 0 < from < to, one index below `from`, a bit. */
const place = fc
  .integer({ min: 3, max: SIZES })
  .chain((to) => fc.record({ to: fc.constant(to), from: fc.integer({ min: 2, max: to - 1 }), bit: fc.nat(255), at: fc.nat() }))
  .chain((sizes) => fc.record({ index: fc.nat(sizes.from - 1) }).map((more) => ({ ...sizes, ...more })));

describe('roots', () => {
  it('of the frontier and of the store are those of the definition, at every size', () => {
    let frontier = EMPTY_FRONTIER;
    for (let size = 0; size <= SIZES; size += 1) {
      expect(rootOf(primitives, frontier)).toEqual(definition(LEAVES.slice(0, size)));
      expect(store.root(size)).toEqual(definition(LEAVES.slice(0, size)));
      expect(frontier.peaks).toHaveLength(size.toString(2).replaceAll('0', '').length);
      if (size < SIZES) frontier = extendFrontier(primitives, frontier, LEAVES[size]!);
    }
  });

  it('of larger trees too, and every smaller one stays known (property)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 1100 }), fc.nat(), (size, other) => {
        const leaves = leavesOf(size, 'large ');
        const large = storeOf(leaves);
        expect(large.root(size)).toEqual(rootOf(primitives, grow(leaves)));
        expect(large.root(other % size)).toEqual(definition(leaves.slice(0, other % size)));
      }),
      { numRuns: 30 },
    );
  });

  it('a frontier is a value: what grows from it, once or twice, leaves it as it was', () => {
    fc.assert(
      fc.property(fc.nat(SIZES - 10), fc.integer({ min: 1, max: 10 }), (size, more) => {
        const frontier = grow(LEAVES.slice(0, size));
        const before = rootOf(primitives, frontier);
        expect(rootOf(primitives, grow(LEAVES.slice(size, size + more), frontier))).toEqual(store.root(size + more));
        expect(rootOf(primitives, grow(leavesOf(more, 'other '), frontier))).not.toEqual(store.root(size + more));
        expect(rootOf(primitives, frontier)).toEqual(before);
      }),
      { numRuns: 50 },
    );
  });
});

describe('proofs', () => {
  it('every inclusion proof of every size verifies, and for no other leaf', () => {
    for (let size = 1; size <= SIZES; size += 1) {
      for (let index = 0; index < size; index += 1) {
        const proof = store.inclusionProof(index, size)!;
        expect(included(size, index, proof), `${index} in ${size}`).toBe(true);
        expect(included(size, index, proof, LEAVES[(index + 1) % SIZES])).toBe(false);
      }
      // One beyond the end turns right everywhere, like the last leaf.
      expect(included(size, size, store.inclusionProof(size - 1, size)!, LEAVES[size - 1])).toBe(false);
    }
  });

  it('every consistency proof between two sizes verifies, from the empty tree on', () => {
    for (let to = 0; to <= SIZES; to += 1) {
      for (let from = 0; from <= to; from += 1) {
        const proof = store.consistencyProof(from, to)!;
        expect(consistent(from, to, proof), `${from} to ${to}`).toBe(true);
        if (from === 0 || from === to) expect(proof).toEqual([]);
      }
    }
  });

  it('a changed bit, a hash more, less or elsewhere, in either proof, is found', () => {
    fc.assert(
      fc.property(place, ({ from, to, index, bit, at }) => {
        for (const { proof, verify } of [
          { proof: store.inclusionProof(index, to)!, verify: (changed: Proof) => included(to, index, changed) },
          { proof: store.consistencyProof(from, to)!, verify: (changed: Proof) => consistent(from, to, changed) },
        ]) {
          const i = at % proof.length;
          expect(verify(proof)).toBe(true);
          expect(verify(replaced(proof, i, flipped(proof[i]!, bit)))).toBe(false);
          expect(verify(proof.filter((_, j) => j !== i))).toBe(false);
          expect(verify([...proof.slice(0, i), proof[i]!, ...proof.slice(i)])).toBe(false);
          if (proof.length > 1) expect(verify([...proof.slice(1), proof[0]!])).toBe(false);
        }
      }),
    );
  });

  it('a changed bit in leaf, index or any root is found', () => {
    fc.assert(
      fc.property(place, fc.nat(SIZES), ({ from, to, index, bit }, other) => {
        const [inclusion, consistency] = [store.inclusionProof(index, to)!, store.consistencyProof(from, to)!];
        expect(included(to, index, inclusion, flipped(LEAVES[index]!, bit))).toBe(false);
        expect(verifyInclusion({ primitives, head: head(to), index: other, leaf: LEAVES[index]!, proof: inclusion })).toBe(other === index);
        expect(verifyInclusion({ primitives, head: { size: to, root: flipped(head(to).root, bit) }, index, leaf: LEAVES[index]!, proof: inclusion })).toBe(false);
        expect(verifyConsistency({ primitives, from: { size: from, root: flipped(head(from).root, bit) }, to: head(to), proof: consistency })).toBe(false);
        expect(verifyConsistency({ primitives, from: head(from), to: { size: to, root: flipped(head(to).root, bit) }, proof: consistency })).toBe(false);
      }),
    );
  });

  it('another old size is found; another size of the tree is found where the way to its root differs, else only by the signature of the head', () => {
    // The turns from a node, the largest that ends before leaf `end`, or the leaf alone, to the root.
    const way = (end: number, count: number, leaf: boolean): string => {
      if (leaf ? count === 1 : end === count) return '';
      const left = 2 ** (Math.ceil(Math.log2(count)) - 1);
      return end <= left ? `${way(end, left, leaf)}l` : `${way(end - left, count - left, leaf)}r`;
    };
    let same = 0;
    fc.assert(
      fc.property(place, fc.integer({ min: 1, max: SIZES }), ({ from, to, index }, other) => {
        const [inclusion, consistency] = [store.inclusionProof(index, to)!, store.consistencyProof(from, to)!];
        expect(verifyConsistency({ primitives, from: { size: other, root: head(from).root }, to: head(to), proof: consistency })).toBe(other === from);
        const claimed = { size: other, root: head(to).root };
        const [sameLeafWay, sameTreeWay] = [index < other && way(index + 1, other, true) === way(index + 1, to, true), from < other && way(from, other, false) === way(from, to, false)];
        same += sameLeafWay && other !== to ? 1 : 0;
        expect(verifyInclusion({ primitives, head: claimed, index, leaf: LEAVES[index]!, proof: inclusion })).toBe(sameLeafWay);
        expect(verifyConsistency({ primitives, from: head(from), to: claimed, proof: consistency })).toBe(sameTreeWay);
      }),
      { numRuns: 1000 },
    );
    expect(same).toBeGreaterThan(0);
  });

  it('between two logs that part somewhere, no proof of either connects their heads', () => {
    fc.assert(
      fc.property(place, fc.nat(), ({ from, to }, at) => {
        const parting = at % from;
        const fork = storeOf([...LEAVES.slice(0, parting), ...leavesOf(to - parting, 'fork ')]);
        const forked = (size: number) => ({ size, root: fork.root(size)! });
        for (const proof of [store.consistencyProof(from, to)!, fork.consistencyProof(from, to)!]) {
          expect(verifyConsistency({ primitives, from: head(from), to: forked(to), proof })).toBe(false);
          expect(verifyConsistency({ primitives, from: forked(from), to: head(to), proof })).toBe(false);
        }
        expect(verifyConsistency({ primitives, from: head(to), to: forked(to), proof: [] })).toBe(false);
        expect(verifyConsistency({ primitives, from: forked(parting), to: head(to), proof: store.consistencyProof(parting, to)! })).toBe(true);
      }),
    );
  });

  it('anything else in their place is false and never a throw', () => {
    const size = fc.oneof(fc.constantFrom<unknown>(0, 1, 5, SIZES, 2 ** 31, 2 ** 32 + 5, 2 ** 53 - 1, 2 ** 53, -1, 2.5, NaN, Infinity, '5', null, undefined), fc.nat(), fc.double());
    const hash = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.constantFrom<unknown>(undefined, null, 'hash', [], 7));
    const proof = fc.oneof(fc.array(hash, { maxLength: 70 }), fc.constantFrom<unknown>(undefined, null, 'proof', 7, {}, { length: 1 }));
    fc.assert(
      fc.property(size, size, hash, hash, proof, (a, b, one, two, hashes) => {
        fc.pre(!isDeepStrictEqual(one, two));
        const [from, to] = [{ size: a, root: one }, { size: b, root: two }] as unknown as readonly [ReturnType<typeof head>, ReturnType<typeof head>];
        expect(verifyConsistency({ primitives, from, to, proof: hashes as Proof })).toBe(false);
        expect(verifyInclusion({ primitives, head: to, index: a as number, leaf: one as Uint8Array, proof: hashes as Proof })).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  it('a byte moved from one hash to its neighbour, which hashes to the same, is found', () => {
    const [left, right] = [LEAVES[0]!, LEAVES[1]!];
    const moved = { leaf: Uint8Array.of(...left, right[0]!), proof: [right.subarray(1)] };
    expect(leafPair(moved.leaf, moved.proof[0]!)).toEqual(head(2).root);
    expect(verifyInclusion({ primitives, head: head(2), index: 0, ...moved })).toBe(false);
    expect(verifyConsistency({ primitives, from: { size: 1, root: moved.leaf }, to: head(2), proof: moved.proof })).toBe(false);
  });

  it('the empty tree has one root, and nothing comes before it', () => {
    const empty = head(0);
    expect(verifyConsistency({ primitives, from: empty, to: head(9), proof: [] })).toBe(true);
    expect(verifyConsistency({ primitives, from: { size: 0, root: LEAVES[0]! }, to: head(9), proof: [] })).toBe(false);
    expect(verifyConsistency({ primitives, from: { size: 0, root: LEAVES[0]! }, to: { size: 0, root: LEAVES[0]! }, proof: [] })).toBe(false);
    expect(verifyConsistency({ primitives, from: empty, to: { size: 0, root: LEAVES[0]! }, proof: [] })).toBe(false);
    expect(verifyConsistency({ primitives, from: empty, to: head(9), proof: [LEAVES[0]!] })).toBe(false);
    expect(verifyConsistency({ primitives, from: head(1), to: empty, proof: [] })).toBe(false);
  });

  it('sizes beyond 32 bits have proofs as long as their way, no longer', () => {
    const [leaf, sibling] = [LEAVES[0]!, LEAVES[1]!];
    for (const exponent of [31, 32, 40, 52]) {
      const size = 2 ** exponent;
      const root = Array.from({ length: exponent }).reduce<Uint8Array>((hash) => H(Uint8Array.of(1), hash, sibling), leaf);
      const verify = (count: number, length: number): boolean => verifyInclusion({ primitives, head: { size: count, root }, index: 0, leaf, proof: Array.from({ length }, () => sibling) });
      expect(verify(size, exponent)).toBe(true);
      expect(verify(size + 1, exponent)).toBe(false);
      expect(verify(size / 2, exponent)).toBe(false);
      expect(verify(size, exponent - 1)).toBe(false);
    }
  });
});

describe('a store', () => {
  it('has no root and no proof for what it does not hold', () => {
    const small = storeOf(LEAVES.slice(0, 40));
    expect(small.size()).toBe(40);
    for (const size of [-1, 2.5, 41, NaN, 2 ** 53]) {
      expect(small.root(size)).toBeUndefined();
      expect(small.inclusionProof(3, size)).toBeUndefined();
      expect(small.inclusionProof(size, 40)).toBeUndefined();
      expect(small.consistencyProof(size, 40)).toBeUndefined();
      expect(small.consistencyProof(3, size)).toBeUndefined();
    }
    expect(small.inclusionProof(7, 7)).toBeUndefined();
    expect(small.consistencyProof(8, 7)).toBeUndefined();
    expect(() => small.append(new Uint8Array(31))).toThrow('32 bytes');
  });

  it('gives copies: whoever changes a proof or a root changes nothing else', () => {
    const small = storeOf(LEAVES.slice(0, 40));
    const before = [small.root(32)!, ...small.inclusionProof(5, 40)!, ...small.consistencyProof(37, 40)!].map((hash) => Uint8Array.from(hash));
    for (const hash of [small.root(32)!, ...small.inclusionProof(5, 40)!, ...small.consistencyProof(37, 40)!]) hash.fill(0);
    expect([small.root(32)!, ...small.inclusionProof(5, 40)!, ...small.consistencyProof(37, 40)!]).toEqual(before);
  });
});
