import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fromBase64 } from '../../shared/base64.ts';
import { fromHex, toHex, utf8 } from '../../shared/bytes.ts';
import { identityFromSeed, type Identity } from '../../shared/crypto/keys.ts';
import { openCheckpoint, parseCheckpoint } from '../../shared/ledger/checkpoint.ts';
import { cosign, verifiedCosignature } from '../../shared/ledger/cosignature.ts';
import { EMPTY_FRONTIER, emptyRoot, extendFrontier, leafHash, nodeHash, rootOf, verifyConsistency, verifyInclusion, type Proof } from '../../shared/ledger/merkle.ts';
import { formatNote, formatVerifierKey, noteKey, parseNote, parseVerifierKey, signText, verifiedSignature, type NoteKey, type SignedNote } from '../../shared/ledger/signed-note.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { codeOf, expected, storeOf } from '../support/heads.ts';

/** Values that others have published for the same formats; each block names its source. */

const bytes = (base64: string): Uint8Array => {
  const decoded = fromBase64(base64);
  if (decoded === undefined) throw new Error(`not base64: ${base64}`);
  return decoded;
};
const keyOf = (text: string): NoteKey => expected(parseVerifierKey(primitives, text));
const noteOf = (text: string): SignedNote => expected(parseNote(text));

/**
 * The tree of eight leaves of the certificate-transparency tests, as in github.com/transparency-dev/merkle (testonly/constants.go, testonly/reference_test.go, cmd/proofgen/main.go,
 * rfc6962/rfc6962_test.go), Apache 2.0.
 */
describe('the eight leaves of Certificate Transparency', () => {
  const entries = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'].map((hex) => fromHex(hex));
  const roots = [
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ].map((hex) => fromHex(hex, 32));
  const [h0, h1, h4, h6] = [
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
    'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    'b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f',
  ] as const;
  const [h01, h23, h45, h67] = [
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
    '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
    'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
  ] as const;
  const [h0123, h4567] = ['d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7', '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4'] as const;
  const leaves = entries.map((entry) => leafHash(primitives, entry));
  const store = storeOf(leaves);
  const head = (size: number) => ({ size, root: roots[size]! });
  const proofOf = (hex: readonly string[]): Proof => hex.map((each) => fromHex(each, 32));

  it('leaves and nodes are hashed with the prefixes 0 and 1', () => {
    expect(toHex(leafHash(primitives, utf8('L123456')))).toBe('395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56');
    expect(toHex(leafHash(primitives, new Uint8Array()))).toBe(h0);
    expect(toHex(nodeHash(primitives, utf8('N123'), utf8('N456')))).toBe('aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb');
  });

  it('every prefix has its root, by the frontier and by the store', () => {
    expect(emptyRoot(primitives)).toEqual(roots[0]);
    let frontier = EMPTY_FRONTIER;
    expect(rootOf(primitives, frontier)).toEqual(roots[0]);
    for (const [i, leaf] of leaves.entries()) {
      frontier = extendFrontier(primitives, frontier, leaf);
      expect(rootOf(primitives, frontier)).toEqual(roots[i + 1]);
      expect(store.root(i + 1)).toEqual(roots[i + 1]);
    }
    expect(extendFrontier(primitives, extendFrontier(primitives, EMPTY_FRONTIER, leaves[0]!), leaves[1]!).peaks.map(toHex)).toEqual([h01]);
    expect(leaves.slice(0, 7).reduce((grown, leaf) => extendFrontier(primitives, grown, leaf), EMPTY_FRONTIER).peaks.map(toHex)).toEqual([h0123, h45, h6]);
  });

  it.each([
    { index: 0, size: 1, proof: [] },
    { index: 0, size: 2, proof: [h1] },
    { index: 1, size: 2, proof: [h0] },
    { index: 2, size: 3, proof: [h01] },
    { index: 1, size: 5, proof: [h0, h23, h4] },
    { index: 0, size: 8, proof: [h1, h23, h4567] },
    { index: 5, size: 8, proof: [h4, h67, h0123] },
  ])('leaf $index is in the tree of $size', ({ index, size, proof }) => {
    expect(store.inclusionProof(index, size)?.map(toHex)).toEqual(proof);
    expect(verifyInclusion({ primitives, head: head(size), index, leaf: leaves[index]!, proof: proofOf(proof) })).toBe(true);
  });

  it.each([
    { from: 1, to: 1, proof: [] },
    { from: 1, to: 8, proof: [h1, h23, h4567] },
    { from: 2, to: 5, proof: [h23, h4] },
    { from: 6, to: 7, proof: [h45, h6, h0123] },
    { from: 6, to: 8, proof: [h45, h67, h0123] },
  ])('the tree of $to extends that of $from', ({ from, to, proof }) => {
    expect(store.consistencyProof(from, to)?.map(toHex)).toEqual(proof);
    expect(verifyConsistency({ primitives, from: head(from), to: head(to), proof: proofOf(proof) })).toBe(true);
  });
});

/** github.com/C2SP/C2SP, signed-note.md; github.com/golang/mod, sumdb/note/note_test.go and example_test.go (its keys for signers end in the type byte and the seed), BSD. */
describe('signed notes', () => {
  const TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
  const PETER = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
  const ENOCH = 'EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop';
  const PETER_SIGNS = '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n';
  const ENOCH_SIGNS = '— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n';

  it("the standard's example verifies under the standard's key", () => {
    const key = keyOf('example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k');
    const note = noteOf('This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n');
    expect(codeOf(verifiedSignature(primitives, note, key))).toBe('accepted');
    expect(formatVerifierKey(key)).toBe('example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k');
  });

  it.each([
    { signer: 'PeterNeumann', secret: 'AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz', verifier: PETER, line: PETER_SIGNS },
    { signer: 'EnochRoot', secret: `AQ${'A'.repeat(42)}`, verifier: ENOCH, line: ENOCH_SIGNS },
  ])('$signer makes and verifies the same signature as Go', ({ signer, secret, verifier, line }) => {
    const identity: Identity = identityFromSeed(bytes(secret).slice(1));
    expect(formatVerifierKey(noteKey({ primitives, name: signer, type: 'ed25519', publicKey: identity.publicKey }))).toBe(verifier);
    expect(formatNote({ text: TEXT, signatures: [signText({ primitives, identity, name: signer, text: TEXT })] })).toBe(`${TEXT}\n${line}`);
    expect(codeOf(verifiedSignature(primitives, noteOf(`${TEXT}\n${PETER_SIGNS}${ENOCH_SIGNS}`), keyOf(verifier)))).toBe('accepted');
  });

  it('what Go refuses as a note is refused here', () => {
    for (const note of [
      TEXT,
      `${TEXT}\n`,
      `${TEXT}\n${PETER_SIGNS.slice(0, -1)}`,
      `\u0001${TEXT}\n${PETER_SIGNS}`,
      Uint8Array.from([0xff, ...utf8(`${TEXT}\n${PETER_SIGNS}`)]),
      `${TEXT}\n— Bad Name x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=`,
      `${TEXT}\n${PETER_SIGNS}Unexpected line.\n`,
    ]) {
      expect(codeOf(parseNote(note)), String(note)).toBe('malformed-note');
    }
    const changed = noteOf(`${TEXT}\n${PETER_SIGNS.slice(0, 60)}ABCD${PETER_SIGNS.slice(60)}`);
    expect(codeOf(verifiedSignature(primitives, changed, keyOf(PETER)))).toBe('bad-signature');
    expect(codeOf(verifiedSignature(primitives, noteOf(`${TEXT}\n${ENOCH_SIGNS}`), keyOf(PETER)))).toBe('unsigned');
    const renamed = noteOf(`${TEXT}\n${PETER_SIGNS}`.replace('PeterNeumann', 'CarmenSandiego'));
    expect(codeOf(verifiedSignature(primitives, renamed, keyOf(PETER)))).toBe('unsigned');
  });

  it('every part of a verifier key, and every one with a byte raised, is refused', () => {
    for (let from = 0; from < PETER.length; from += 1) {
      for (let to = from; to <= PETER.length; to += 1) {
        if (to - from < PETER.length) expect(codeOf(parseVerifierKey(primitives, PETER.slice(from, to)))).toBe('malformed-key');
      }
      const raised = PETER.slice(0, from) + String.fromCharCode(PETER.charCodeAt(from) + 1) + PETER.slice(from + 1);
      expect(codeOf(parseVerifierKey(primitives, raised)), raised).toBe('malformed-key');
    }
    // Another length, another type; both with the key id that goes with it.
    expect(codeOf(parseVerifierKey(primitives, 'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=='))).toBe('malformed-key');
    expect(codeOf(parseVerifierKey(primitives, 'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'))).toBe('malformed-key');
  });
});

/** Checkpoints of sum.golang.org: github.com/transparency-dev/formats, log/note_test.go (Apache 2.0); github.com/FiloSottile/torchwood, cmd/litewitness/testdata/sumdb.txt (ISC). */
describe('checkpoints of a log in use', () => {
  const key = keyOf('sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8');

  it.each([
    { size: 6_476_701, root: 'mb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=', signature: 'Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvimWEPWL+o3GeoWwOoAw=' },
    { size: 35_225_469, root: 'vt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=', signature: 'Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=' },
  ])('its tree of $size leaves', ({ size, root, signature }) => {
    const note = noteOf(`go.sum database tree\n${size}\n${root}\n\n— sum.golang.org ${signature}\n`);
    expect(codeOf(verifiedSignature(primitives, note, key))).toBe('accepted');
    expect(parseCheckpoint(note.text)).toEqual({ origin: 'go.sum database tree', size, root: bytes(root) });
  });

  it('a text that golang.org/x/mod formats (sumdb/tlog/note_test.go) is read, and what it refuses is refused', () => {
    const root = leafHash(primitives, utf8('hello world'));
    expect(parseCheckpoint('go.sum database tree\n123456789012\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n')).toEqual({ origin: 'go.sum database tree', size: 123_456_789_012, root });
    expect(codeOf(parseCheckpoint('go.sum database tree\n0xabcdef\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n'))).toBe('malformed-checkpoint');
    expect(codeOf(parseCheckpoint('go.sum database tree\n123456789012\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBTOOBIG=\n'))).toBe('malformed-checkpoint');
  });
});

/** The conversation of a log with a witness: github.com/FiloSottile/torchwood, cmd/litewitness/testdata/litewitness.txt (ISC). Leaf hashes are 42, n and zeros. */
describe('the log of a witness test', () => {
  const ORIGIN = 'sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562';
  const publicKey = fromHex('ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f', 32);
  const leaves = Array.from({ length: 5 }, (_, n) => Uint8Array.from({ length: 32 }, (_byte, i) => (i === 0 ? 42 : i === 1 ? n : 0)));
  const checkpoint = (size: number, root: string, signature: string) => openCheckpoint({ primitives, origin: ORIGIN, publicKey, note: `${ORIGIN}\n${size}\n${root}\n\n— ${ORIGIN} ${signature}\n` });
  const one = checkpoint(1, 'KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', 'UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=');
  const three = checkpoint(3, 'RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=', 'UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=');
  const five = checkpoint(5, 'QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=', 'UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=');
  const proofs = {
    from1to3: ['KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', 'KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='].map(bytes),
    from3to5: [
      'KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
      'KgMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
      'wgiIFdZfYNv6WU1OllBKsWnLYIS/DBMqt8Uh/S4OukE=',
      'KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    ].map(bytes),
  };

  it('its checkpoints open and its proofs are ours', () => {
    const store = storeOf(leaves);
    expect([one, three, five].map((opened) => expected(opened).checkpoint.root)).toEqual([1, 3, 5].map((size) => store.root(size)));
    expect(store.consistencyProof(1, 3)).toEqual(proofs.from1to3);
    expect(store.consistencyProof(3, 5)).toEqual(proofs.from3to5);
    expect(verifyConsistency({ primitives, from: expected(one).checkpoint, to: expected(three).checkpoint, proof: proofs.from1to3 })).toBe(true);
    expect(verifyConsistency({ primitives, from: expected(three).checkpoint, to: expected(five).checkpoint, proof: proofs.from3to5 })).toBe(true);
  });

  it('what the witness refuses is refused', () => {
    const changed = checkpoint(3, 'RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=', 'UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6gx=');
    // Its last character holds a stray bit: not even base64, by the strict reading.
    expect(codeOf(changed)).toBe('malformed-note');
    const [from, to] = [expected(one).checkpoint, expected(three).checkpoint];
    expect(verifyConsistency({ primitives, from, to, proof: [] })).toBe(false);
    expect(verifyConsistency({ primitives, from, to, proof: [proofs.from1to3[0]!, bytes('KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABA==')] })).toBe(false);
    expect(verifyConsistency({ primitives, from, to: expected(five).checkpoint, proof: proofs.from3to5 })).toBe(false);
  });
});

/** github.com/FiloSottile/sunlight, cmd/skylight/testdata (gen.go, witness, witness2), ISC: keys from fixed seeds, cosignatures at a fixed time, and a tree of 300 records. */
describe('the witnesses of a Certificate Transparency log', () => {
  const ROME = 'rome2026h1.example.org\n300\nlCkHUpkmVBEms2r2T1K6Og69+wUuuN3MIEW1/ezu2v0=\n';
  const MILAN = ROME.replace('rome', 'milan');
  const MIRRORED = 'rome2026h1.example.org\n300\ngw31yQrqZZCcEOPrzX+bpy3nJ6QgngTKn8G1m0i62uU=\n';
  const witnesses = [
    {
      seed: 'skylight test witness key',
      verifier: 'witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN',
      text: ROME,
      line: '— witness.example.org uKLPIAAAAABpVGeAhm2bOvKc3LaB9PFN1ruG19Y5yqslmcAAbhftnn1Zznmo0LXFZq4LGvqKqLX8jWlwLKasxEGTLIqAVusneCBmBw==\n',
    },
    {
      seed: 'skylight test witness2 key',
      verifier: 'witness2.example.org+2e55b896+BIZ7fpceQWd60IfqQeS9IAnmNOCZjMDne8lZuguz/bi9',
      text: MILAN,
      line: '— witness2.example.org LlW4lgAAAABpVGeAN/uFWqfjdU94rrKxFycCggM0Sa1L5tOJCJdYBwJ41CQsgKWA6B0+vywok3cPI3JIzuPeR+VotuYe/eNy0+30Dw==\n',
    },
    {
      seed: 'skylight test mirror key',
      verifier: 'mirror.example.org+3fb148ef+BAAjjch9GyYz0sJsJx7ALhbdAtz2ov0unbzSl1vMp94O',
      text: MIRRORED,
      line: '— mirror.example.org P7FI7wAAAABpVGeAjA1S4pJm6MbcXjX7UUImu4azZtrfcVW2uyr/LXIYlwEJzXC0N0EiZkbqfLdXt/4gVEEuGmxJjAfXKMCISpsJAg==\n',
    },
  ];

  it.each(witnesses)('$verifier cosigns these bytes', ({ seed, verifier, text, line }) => {
    const identity = identityFromSeed(new Uint8Array(createHash('sha256').update(seed).digest()));
    const key = keyOf(verifier);
    expect(formatVerifierKey(noteKey({ primitives, name: key.name, type: 'cosignature/v1', publicKey: identity.publicKey }))).toBe(verifier);
    expect(formatNote({ text, signatures: [cosign({ primitives, identity, key, text, time: Date.UTC(2025, 11, 31) / 1000 })] })).toBe(`${text}\n${line}`);
    expect(verifiedCosignature(primitives, noteOf(`${text}\n${line}`), key)).toBe(1_767_139_200);
    expect(codeOf(verifiedCosignature(primitives, noteOf(`${text.replace('300', '301')}\n${line}`), key))).toBe('bad-signature');
  });

  it('the note of log and witness opens for the witness, whatever the key type of the log', () => {
    const log = '— rome2026h1.example.org kVB1JgAAAZtxtEwABAMARzBFAiEAi+mTa2xjL1IdWpH82OeciGsGvwRAP+f1WkfKaSZCfFECIHoNPZ/Q3y6UNzvKOO9cuLr6V16vPNfhwhle9f6r5H/Z\n';
    const note = noteOf(`${ROME}\n${log}${witnesses[0]!.line}`);
    expect(verifiedCosignature(primitives, note, keyOf(witnesses[0]!.verifier))).toBe(1_767_139_200);
    expect(codeOf(verifiedCosignature(primitives, note, keyOf(witnesses[1]!.verifier)))).toBe('unsigned');
  });

  it('the mirrored tree of 300 records has the root that is cosigned', () => {
    const store = storeOf(Array.from({ length: 300 }, (_, i) => leafHash(primitives, utf8(`record ${i}`))));
    expect(store.root(300)).toEqual(expected(parseCheckpoint(MIRRORED)).root);
  });
});
