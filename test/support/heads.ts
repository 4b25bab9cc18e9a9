import { isHeadProblem, type HeadProblem } from '../../shared/ledger/head-problem.ts';
import { createLeafStore, type LeafStore } from '../../shared/ledger/leaf-store.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';

/** The value, where a problem would be the test's own mistake. */
export function expected<T>(value: T | HeadProblem): T {
  if (isHeadProblem(value)) throw new Error(`${value.code}: ${value.message}`);
  return value;
}

/** The code of a problem, or the word for what was accepted instead. */
export function codeOf(value: unknown): string {
  return isHeadProblem(value) ? value.code : 'accepted';
}

export function storeOf(leaves: readonly Uint8Array[]): LeafStore {
  const store = createLeafStore(primitives);
  for (const leaf of leaves) store.append(leaf);
  return store;
}
