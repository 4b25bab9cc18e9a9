import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, toHex, utf8 } from '../../shared/bytes.ts';
import { openCheckpoint, originOf, signCheckpoint } from '../../shared/ledger/checkpoint.ts';
import { cosign, verifiedCosignature, witnessKey } from '../../shared/ledger/cosignature.ts';
import { HEAD_PROBLEMS } from '../../shared/ledger/head-problem.ts';
import { EMPTY_FRONTIER, extendFrontier, leafHash, nodeHash, rootOf, verifyConsistency, verifyInclusion } from '../../shared/ledger/merkle.ts';
import { formatNote, formatVerifierKey, noteKey, parseNote, parseVerifierKey, withSignature } from '../../shared/ledger/signed-note.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { expected, storeOf } from '../support/heads.ts';
import { countingBytes, identityOf } from '../support/session-pair.ts';

const page = readFileSync(new URL('../../shared/spec/heads.md', import.meta.url), 'utf8');
const fence = (kind: string): string => new RegExp(`\`\`\`${kind}\n([^]*?)\`\`\``).exec(page)?.[1] ?? '';

/** The lines `name  hex` of the page; a line that begins with a space continues the one before. */
const vectors = new Map<string, string>();
let last = '';
for (const line of fence('vectors').split('\n')) {
  const [, name, hex] = /^(.*?) +([0-9a-f]+)$/.exec(line) ?? [];
  if (name === undefined || hex === undefined) continue;
  if (name !== '') last = name;
  vectors.set(last, (name === '' ? (vectors.get(last) ?? '') : '') + hex);
}

const STUDY = toHex(countingBytes(0x40));
const TIME = 1_800_000_000;
const LINES = Array.from({ length: 7 }, (_, i) => utf8(`{"line":${i}}`));
const [coordinator, site] = [identityOf(0x00), identityOf(0x20)];

interface Example {
  readonly vectors: Readonly<Record<string, Uint8Array>>;
  readonly verifierKeys: string;
  readonly note: string;
}

function computed(): Example {
  const leaves = LINES.map((line) => leafHash(primitives, line));
  const store = storeOf(leaves);
  const frontier = leaves.reduce((grown, leaf) => extendFrontier(primitives, grown, leaf), EMPTY_FRONTIER);
  const origin = originOf(STUDY);
  const coordinatorKey = noteKey({ primitives, name: origin, type: 'ed25519', publicKey: coordinator.publicKey });
  const key = witnessKey({ primitives, study: STUDY, site: 'clinic-a', publicKey: site.publicKey });
  const signed = expected(parseNote(signCheckpoint({ primitives, identity: coordinator, checkpoint: { origin, size: 7, root: rootOf(primitives, frontier) } })));
  return {
    vectors: {
      'leaf 0': leafHash(primitives, LINES[0]!),
      'leaf 6': leafHash(primitives, LINES[6]!),
      'node of 0 and 1': nodeHash(primitives, leafHash(primitives, LINES[0]!), leafHash(primitives, LINES[1]!)),
      'root of 0': store.root(0)!,
      'root of 5': store.root(5)!,
      'root of 7': store.root(7)!,
      'frontier of 7': concatBytes(...frontier.peaks),
      'inclusion of 3 in 7': concatBytes(...store.inclusionProof(3, 7)!),
      'inclusion of 6 in 7': concatBytes(...store.inclusionProof(6, 7)!),
      'consistency 4 to 7': concatBytes(...store.consistencyProof(4, 7)!),
      'consistency 5 to 7': concatBytes(...store.consistencyProof(5, 7)!),
      "coordinator's key": coordinator.publicKey,
      "site's key": site.publicKey,
    },
    verifierKeys: `${formatVerifierKey(coordinatorKey)}\n${formatVerifierKey(key)}\n`,
    note: formatNote(withSignature(signed, cosign({ primitives, identity: site, key, text: signed.text, time: TIME }))),
  };
}

/* ---- the page's words, put together from node:crypto alone ---- */

const H = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(createHash('sha256').update(Buffer.concat(parts)).digest());
const hashOf = (i: number): Uint8Array => H(Uint8Array.of(0), LINES[i]!);
const nodeOf = (left: Uint8Array, right: Uint8Array): Uint8Array => H(Uint8Array.of(1), left, right);
const privateKeyOf = (seed: Uint8Array) => createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]), format: 'der', type: 'pkcs8' });
const publicBytesOf = (seed: Uint8Array): Uint8Array => new Uint8Array(createPublicKey(privateKeyOf(seed)).export({ format: 'der', type: 'spki' }).subarray(-32));
const base64 = (...parts: readonly Uint8Array[]): string => Buffer.concat(parts).toString('base64');

/** Every node by hand: the tree of 7 is ((01)(23))((45)6), that of 5 is ((01)(23))4. */
function independent(): Example {
  const [n01, n23, n45] = [nodeOf(hashOf(0), hashOf(1)), nodeOf(hashOf(2), hashOf(3)), nodeOf(hashOf(4), hashOf(5))];
  const n0123 = nodeOf(n01, n23);
  const n456 = nodeOf(n45, hashOf(6));
  const root = nodeOf(n0123, n456);
  const [coordinatorSeed, siteSeed] = [countingBytes(0x00), countingBytes(0x20)];
  const key = (name: string, type: number, seed: Uint8Array) => {
    const id = H(utf8(`${name}\n`), Uint8Array.of(type), publicBytesOf(seed)).subarray(0, 4);
    return { id, verifier: `${name}+${Buffer.from(id).toString('hex')}+${base64(Uint8Array.of(type), publicBytesOf(seed))}` };
  };
  const origin = `antiphon/${Buffer.from(countingBytes(0x40)).toString('hex')}`;
  const [log, witness] = [key(origin, 1, coordinatorSeed), key(`${origin}/clinic-a`, 4, siteSeed)];
  const text = `${origin}\n7\n${base64(root)}\n`;
  const time = Buffer.from([0, 0, 0, 0, 0x6b, 0x49, 0xd2, 0x00]);
  const signature = sign(null, utf8(text), privateKeyOf(coordinatorSeed));
  const cosignature = sign(null, utf8(`cosignature/v1\ntime 1800000000\n${text}`), privateKeyOf(siteSeed));
  return {
    vectors: {
      'leaf 0': hashOf(0),
      'leaf 6': hashOf(6),
      'node of 0 and 1': n01,
      'root of 0': H(),
      'root of 5': nodeOf(n0123, hashOf(4)),
      'root of 7': root,
      'frontier of 7': concatBytes(n0123, n45, hashOf(6)),
      'inclusion of 3 in 7': concatBytes(hashOf(2), n01, n456),
      'inclusion of 6 in 7': concatBytes(n45, n0123),
      'consistency 4 to 7': n456,
      'consistency 5 to 7': concatBytes(hashOf(4), hashOf(5), hashOf(6), n0123),
      "coordinator's key": publicBytesOf(coordinatorSeed),
      "site's key": publicBytesOf(siteSeed),
    },
    verifierKeys: `${log.verifier}\n${witness.verifier}\n`,
    note: `${text}\n— ${origin} ${base64(log.id, signature)}\n— ${origin}/clinic-a ${base64(witness.id, time, cosignature)}\n`,
  };
}

const hashes = (name: string): Uint8Array[] => (vectors.get(name)?.match(/.{64}/g) ?? []).map((hex) => fromHex(hex, 32));
const head = (size: number) => ({ size, root: hashes(`root of ${size}`)[0]! });

describe('the worked example of shared/spec/heads.md', () => {
  it.each([
    ['this implementation', computed()],
    ['node:crypto alone', independent()],
  ])('%s makes every byte of it', (_, example) => {
    expect(Object.fromEntries(Object.entries(example.vectors).map(([name, bytes]) => [name, toHex(bytes)]))).toEqual(Object.fromEntries(vectors));
    expect(example.verifierKeys).toBe(fence('verifier-keys'));
    expect(example.note).toBe(fence('note'));
  });

  it('its proofs verify against its roots', () => {
    expect(verifyInclusion({ primitives, head: head(7), index: 3, leaf: hashOf(3), proof: hashes('inclusion of 3 in 7') })).toBe(true);
    expect(verifyInclusion({ primitives, head: head(7), index: 6, leaf: hashes('leaf 6')[0]!, proof: hashes('inclusion of 6 in 7') })).toBe(true);
    expect(verifyConsistency({ primitives, from: head(5), to: head(7), proof: hashes('consistency 5 to 7') })).toBe(true);
    expect(verifyConsistency({ primitives, from: head(0), to: head(7), proof: [] })).toBe(true);
  });

  it('its note opens with its verifier keys, and says what it should', () => {
    const [log, witness] = fence('verifier-keys').trim().split('\n').map((text) => expected(parseVerifierKey(primitives, text)));
    const opened = expected(openCheckpoint({ primitives, note: utf8(fence('note')), origin: log!.name, publicKey: log!.publicKey }));
    expect(opened.checkpoint).toEqual({ origin: `antiphon/${STUDY}`, ...head(7) });
    expect(verifiedCosignature(primitives, opened.note, witness!)).toBe(TIME);
  });

  it('the page has a row for every problem, and no other', () => {
    const rows = [...page.slice(page.indexOf('## Failures')).matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code);
    expect(rows).toEqual([...HEAD_PROBLEMS]);
  });
});
