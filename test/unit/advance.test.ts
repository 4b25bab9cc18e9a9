import { describe, expect, it } from 'vitest';
import { utf8 } from '../../shared/bytes.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { advanceHead } from '../../shared/ledger/advance.ts';
import { originOf, signCheckpoint } from '../../shared/ledger/checkpoint.ts';
import { createLeafStore, type LeafStore } from '../../shared/ledger/leaf-store.ts';
import { leafHash, type Proof, type TreeHead } from '../../shared/ledger/merkle.ts';
import { createProofs } from '../../coordinator/proofs.ts';
import { fromBase64 } from '../../shared/base64.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';

const ORIGIN = originOf('5c'.repeat(32));
const coordinator = generateIdentity(primitives);
const text = (i: number): string => `{"line":${i}}`;

function ledger(lines: readonly string[]): LeafStore {
  const store = createLeafStore(primitives);
  for (const line of lines) store.append(leafHash(primitives, utf8(line)));
  return store;
}

const honest = Array.from({ length: 23 }, (_, i) => text(i));
const rewritten = honest.map((line, i) => (i === 4 ? text(1000) : line));

function headOf(store: LeafStore, size: number, identity = coordinator): { readonly head: TreeHead; readonly note: string } {
  const head = { size, root: store.root(size)! };
  return { head, note: signCheckpoint({ primitives, identity, checkpoint: { origin: ORIGIN, ...head } }) };
}

const advance = (known: TreeHead | undefined, note: string, proof: Proof = []) => advanceHead({ primitives, origin: ORIGIN, publicKey: coordinator.publicKey, known, note, proof });

describe('a witness that keeps only the last head', () => {
  const store = ledger(honest);
  const other = ledger(rewritten);

  it('takes every head that extends the one it knows, and any one first', () => {
    expect(advance(undefined, headOf(store, 9).note)).toMatchObject({ checkpoint: { size: 9 } });
    for (const [from, to] of [[7, 7], [7, 9], [1, 23], [16, 23], [22, 23]] as const) {
      expect(advance(headOf(store, from).head, headOf(store, to).note, store.consistencyProof(from, to)), `${from} to ${to}`).toMatchObject({ checkpoint: { size: to } });
    }
  });

  it.each<readonly [string, string, number, () => string, Proof]>([
    ['a smaller one', 'rolled-back', 9, () => headOf(store, 8).note, []],
    ['a smaller one of another ledger', 'rolled-back', 9, () => headOf(other, 8).note, store.consistencyProof(8, 9)!],
    ['a smaller one that is a beginning of what it has seen', 'stale', 9, () => headOf(store, 8).note, store.consistencyProof(8, 9)!],
    ['another of the same size', 'forked', 9, () => headOf(other, 9).note, []],
    ['one that was rewritten, with its own proof', 'forked', 9, () => headOf(other, 23).note, other.consistencyProof(9, 23)!],
    ['one that was rewritten, with the honest proof', 'forked', 9, () => headOf(other, 23).note, store.consistencyProof(9, 23)!],
    ['an honest one with no proof', 'forked', 9, () => headOf(store, 23).note, []],
    ['one of another key', 'bad-head', 9, () => headOf(store, 23, generateIdentity(primitives)).note, store.consistencyProof(9, 23)!],
    ['something else', 'bad-head', 9, () => 'hello\n', []],
  ])('does not take %s', (_what, code, known, note, proof) => {
    expect(advance(headOf(store, known).head, note(), proof)).toMatchObject({ type: 'ledger-problem', code });
  });
});

it('the proofs that a coordinator publishes are those of its tree, also while it grows; there is nothing at other paths', () => {
  const lines = honest.slice(0, 10);
  const read = createProofs({ primitives, lines: () => lines });
  const proof = (path: string): Proof | undefined => read(path)?.split('\n').slice(0, -1).map((line) => fromBase64(line)!);
  const store = ledger(honest);
  expect(proof('/consistency/3/10')).toEqual(store.consistencyProof(3, 10));
  expect(proof('/inclusion/7/10')).toEqual(store.inclusionProof(7, 10));
  expect(proof('/consistency/3/11')).toBeUndefined();
  lines.push(...honest.slice(10));
  expect(proof('/consistency/10/23')).toEqual(store.consistencyProof(10, 23));
  expect(read('/line/22')).toBe(`${text(22)}\n`);
  for (const path of ['/line/23', '/line/1/2', '/inclusion/7', '/inclusion/23/23', '/consistency/5/4', '/line/01', '/line/-1', '/line/99999999999999999999', '/consistency/a/b', '/']) expect(read(path), path).toBeUndefined();
});
