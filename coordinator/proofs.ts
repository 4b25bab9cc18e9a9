import { toBase64 } from '../shared/base64.ts';
import { utf8 } from '../shared/bytes.ts';
import { createLeafStore } from '../shared/ledger/leaf-store.ts';
import { leafHash, type Hashing, type Proof } from '../shared/ledger/merkle.ts';

const PATHS = /^\/(line|inclusion|consistency)\/(0|[1-9][0-9]{0,15})(?:\/(0|[1-9][0-9]{0,15}))?$/;

/** What is published for those who do not take the whole ledger (shared/spec/heads.md): one line of it, and proofs. Undefined for what there is not. */
export function createProofs({ primitives, lines }: { readonly primitives: Hashing; readonly lines: () => readonly string[] }): (path: string) => string | undefined {
  const store = createLeafStore(primitives);
  return (path) => {
    const [, kind, first = '', second] = PATHS.exec(path) ?? [];
    if (kind === undefined || (kind === 'line') !== (second === undefined)) return undefined;
    if (kind === 'line') {
      const line = lines()[Number(first)];
      return line === undefined ? undefined : `${line}\n`;
    }
    // Lines are only ever appended.
    for (const line of lines().slice(store.size())) store.append(leafHash(primitives, utf8(line)));
    const proof = kind === 'inclusion' ? store.inclusionProof(Number(first), Number(second)) : store.consistencyProof(Number(first), Number(second));
    return proof === undefined ? undefined : formatProof(proof);
  };
}

function formatProof(proof: Proof): string {
  return proof.map((hash) => `${toBase64(hash)}\n`).join('');
}
