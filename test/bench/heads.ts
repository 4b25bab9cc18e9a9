/**
 * The tree behind the ledger's heads at a million leaves: leaves per second, memory, time of proofs and of checking them.
 *
 *   npm run build:bench && node --expose-gc build/test/bench/heads.js
 */
import { cpus, loadavg } from 'node:os';
import { createLeafStore } from '../../shared/ledger/leaf-store.ts';
import { EMPTY_FRONTIER, extendFrontier, leafHash, rootOf, verifyConsistency, verifyInclusion } from '../../shared/ledger/merkle.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';

const LEAVES = 1_000_000;
const PROOFS = 5000;

function timed(what: string, count: number, work: (i: number) => void): void {
  const start = performance.now();
  for (let i = 0; i < count; i += 1) work(i);
  const seconds = (performance.now() - start) / 1000;
  console.log(`${what.padEnd(44)} ${((1e6 * seconds) / count).toFixed(2).padStart(9)} us each ${Math.round(count / seconds).toLocaleString('en').padStart(12)} a second`);
}

function memory(): number {
  globalThis.gc?.();
  return process.memoryUsage().arrayBuffers;
}

const leaf = leafHash(primitives, new Uint8Array(500));
const place = (i: number): number => 1 + ((i * 7_919_131) % (LEAVES - 1));
console.log(`${cpus()[0]?.model ?? 'unknown CPU'}, load ${loadavg().map((load) => load.toFixed(1)).join(' ')}, ${LEAVES.toLocaleString('en')} leaves`);

const before = memory();
const store = createLeafStore(primitives);
timed('append to the store', LEAVES, () => store.append(leaf));
console.log(`${'memory of the store'.padEnd(44)} ${((memory() - before) / 1e6).toFixed(1).padStart(9)} MB`);
let frontier = EMPTY_FRONTIER;
timed('extend the frontier', LEAVES, () => (frontier = extendFrontier(primitives, frontier, leaf)));
const root = rootOf(primitives, frontier);
if (store.root(LEAVES)?.join() !== root.join()) throw new Error('the store and the frontier have different roots');

timed('root from the frontier', PROOFS, () => rootOf(primitives, frontier));
timed('root of an earlier size', PROOFS, (i) => store.root(place(i)));
timed('prove inclusion', PROOFS, (i) => store.inclusionProof(place(i), LEAVES));
timed('prove consistency', PROOFS, (i) => store.consistencyProof(place(i), LEAVES));

const head = { size: LEAVES, root };
const [index, proof] = [654_321, store.inclusionProof(654_321, LEAVES) ?? []];
const [from, consistency] = [{ size: 654_321, root: store.root(654_321) ?? root }, store.consistencyProof(654_321, LEAVES) ?? []];
let valid = 0;
timed(`verify inclusion (${proof.length} hashes)`, PROOFS, () => (valid += Number(verifyInclusion({ primitives, head, index, leaf, proof }))));
timed(`verify consistency (${consistency.length} hashes)`, PROOFS, () => (valid += Number(verifyConsistency({ primitives, from, to: head, proof: consistency }))));
if (valid !== 2 * PROOFS) throw new Error('a proof did not verify');
