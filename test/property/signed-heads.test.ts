import fc from 'fast-check';
import nacl from 'tweetnacl';
import { describe, expect, it } from 'vitest';
import { fromBase64, toBase64 } from '../../shared/base64.ts';
import { concatBytes, fromHex, utf8 } from '../../shared/bytes.ts';
import { formatCheckpoint, openCheckpoint, originOf, parseCheckpoint, signCheckpoint } from '../../shared/ledger/checkpoint.ts';
import { cosign, verifiedCosignature, witnessKey } from '../../shared/ledger/cosignature.ts';
import { isHeadProblem } from '../../shared/ledger/head-problem.ts';
import { emptyRoot } from '../../shared/ledger/merkle.ts';
import { formatNote, formatVerifierKey, isKeyName, MAX_NOTE_LENGTH, noteKey, parseNote, parseVerifierKey, signText, verifiedSignature, withSignature } from '../../shared/ledger/signed-note.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { codeOf, expected } from '../support/heads.ts';
import { countingBytes, identityOf } from '../support/session-pair.ts';

const STUDY = 'c3'.repeat(32);
const ORIGIN = originOf(STUDY);
const [coordinator, site, stranger] = [identityOf(0x10), identityOf(0x30), identityOf(0x50)];
const witness = witnessKey({ primitives, study: STUDY, site: 'clinic-b', publicKey: site.publicKey });
const checkpoint = { origin: ORIGIN, size: 217, root: countingBytes(0x90) };
const signed = signCheckpoint({ primitives, identity: coordinator, checkpoint });
const open = (note: string | Uint8Array, publicKey = coordinator.publicKey) => openCheckpoint({ primitives, note, origin: ORIGIN, publicKey });
const cosigned = (time: number, text = expected(open(signed)).note.text, identity = site) => cosign({ primitives, identity, key: witness, text, time });
const both = formatNote(withSignature(expected(open(signed)).note, cosigned(1_785_000_123)));

const NOTE_TEXT = fc.string({ unit: fc.oneof(fc.constantFrom('\n', '\n\n', '— ', ' ', '+', 'ä', '𝄞', '\u0085', '\u007f', '\ufeff'), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 3 })), maxLength: 20 });
const plain = (text: string): string => `${text.replace(/[\u0000-\u0009\u000b-\u001f]/g, '').toWellFormed()}\n`;
const NAME = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter(isKeyName);

describe('base64', () => {
  it('is that of Node, and reads only what it writes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString('base64'));
        expect(fromBase64(toBase64(bytes))).toEqual(Uint8Array.from(bytes));
      }),
    );
    const near = fc.string({ unit: fc.constantFrom('A', 'B', 'Q', 'g', '/', '+', '-', '_', '=', '\n', ' ', 'ä'), maxLength: 9 });
    fc.assert(fc.property(near, (text) => { expect(fromBase64(text) !== undefined).toBe(Buffer.from(text, 'base64').toString('base64') === text); }), { numRuns: 3000 });
  });
});

describe('signed notes', () => {
  it('of any text, names and signatures come back as they were', () => {
    const signature = fc.record({ name: NAME, keyId: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((id) => Buffer.from(id).toString('hex')), signature: fc.uint8Array({ minLength: 1, maxLength: 80 }).map((bytes) => Uint8Array.from(bytes)) });
    fc.assert(
      fc.property(NOTE_TEXT.map(plain), fc.uniqueArray(signature, { minLength: 1, maxLength: 5, selector: ({ name, keyId }) => `${name} ${keyId}` }), (text, signatures) => {
        expect(parseNote(formatNote({ text, signatures }))).toEqual({ text, signatures });
        expect(parseNote(utf8(formatNote({ text, signatures })))).toEqual({ text, signatures });
        expect(codeOf(parseNote(formatNote({ text, signatures: [...signatures, signatures[0]!] })))).toBe('malformed-note');
      }),
    );
  });

  it('that parse at all are spelled in the one way, whatever came in', () => {
    const token = fc.constantFrom('\n', '\n\n', '— ', '— a ', 'a', ' ', '+', 'AAAAAAA=', 'AAAAAAAA', 'AAAAAAB=', '\u0000', '\t', '\r', '\ud800', '\u2003', 'é', `\n\n— b ${'A'.repeat(16)}\n`);
    let parsed = 0;
    fc.assert(
      fc.property(fc.array(token, { maxLength: 14 }), (tokens) => {
        const text = tokens.join('');
        const note = parseNote(text);
        if (isHeadProblem(note)) return Object.keys(note).length === 3 && note.message.length <= 300;
        parsed += 1;
        return formatNote(note) === text && note.signatures.every(({ name }) => isKeyName(name));
      }),
      { numRuns: 5000 },
    );
    expect(parsed).toBeGreaterThan(50);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => codeOf(parseNote(bytes)) === 'malformed-note'));
  });

  it('hold no half of a surrogate pair, no signature of no bytes, no other dash, space or line end', () => {
    const line = formatNote({ text: 'text\n', signatures: [{ name: 'a', keyId: '01020304', signature: Uint8Array.of(5) }] }).split('\n')[2]!;
    expect(codeOf(parseNote(`text\n\n${line}\n`))).toBe('accepted');
    for (const note of [`te\ud800xt\n\n${line}\n`, 'text\n\n— a AQIDBA==\n', `text\n\n${line.replace('—', '-')}\n`, `text\n\n${line.replace('— ', '—')}\n`, `text\n\n${line} \n`, `text\n\n${line}\r\n`, `text\n\n${line}`, `text\n${line}\n`, `${line}\n`, 'text\n\n']) {
      expect(codeOf(parseNote(note)), JSON.stringify(note)).toBe('malformed-note');
    }
  });

  it('longer than any study needs are not looked at', () => {
    expect(codeOf(parseNote(`${'a'.repeat(MAX_NOTE_LENGTH)}${both}`))).toBe('malformed-note');
    const sites = Array.from({ length: 5000 }, (_, i) => ({ name: `${ORIGIN}/${'s'.repeat(59)}-${1000 + i}`, keyId: '01020304', signature: countingBytes(i, 72) }));
    expect(expected(parseNote(utf8(formatNote({ text: expected(open(signed)).note.text, signatures: sites })))).signatures).toHaveLength(5000);
  });

  it('are signed by names without plus, spaces and control characters only', () => {
    for (const name of ['', 'a b', 'a+b', 'a\tb', 'a\nb', 'a\u0000b', 'a\u0085b', 'a\u00a0b', 'a\u1680b', 'a\u2003b', 'a\u2028b', 'a\u202fb', 'a\u205fb', 'a\u3000b', 'a\ud800b']) {
      expect(isKeyName(name), JSON.stringify(name)).toBe(false);
      expect(() => signText({ primitives, identity: coordinator, name, text: 'x\n' })).toThrow('expected a key name');
    }
    for (const name of ['a', 'go.sum', 'ärzte/köln', ORIGIN]) expect(isKeyName(name)).toBe(true);
  });

  it('verify under verifier keys that come back as they were, by type', () => {
    fc.assert(
      fc.property(NAME, fc.constantFrom('ed25519' as const, 'cosignature/v1' as const), fc.uint8Array({ minLength: 32, maxLength: 32 }), (name, type, secret) => {
        const key = noteKey({ primitives, name, type, publicKey: identityOf(secret[0]!).publicKey });
        expect(parseVerifierKey(primitives, formatVerifierKey(key))).toEqual(key);
      }),
    );
    const [text, other] = [noteKey({ primitives, name: 'n', type: 'ed25519', publicKey: site.publicKey }), noteKey({ primitives, name: 'n', type: 'cosignature/v1', publicKey: site.publicKey })];
    expect(text.id).not.toBe(other.id);
  });
});

describe('a checkpoint', () => {
  it('of any size and root comes back as it was', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.uint8Array({ minLength: 32, maxLength: 32 }), (size, bytes) => {
        const whole = { origin: ORIGIN, size, root: Uint8Array.from(bytes) };
        expect(parseCheckpoint(formatCheckpoint(whole))).toEqual(whole);
        if (size > 0) expect(expected(open(signCheckpoint({ primitives, identity: coordinator, checkpoint: whole }))).checkpoint).toEqual(whole);
      }),
    );
  });

  it('with any bit of it changed, any byte added or removed, is refused', () => {
    const bytes = utf8(signed);
    for (let bit = 0; bit < 8 * bytes.length; bit += 1) {
      const changed = bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
      expect(isHeadProblem(open(changed)), `bit ${bit & 7} of byte ${bit >> 3}`).toBe(true);
    }
    fc.assert(
      fc.property(fc.nat(bytes.length), fc.nat(255), (at, byte) => {
        expect(isHeadProblem(open(concatBytes(bytes.subarray(0, at), Uint8Array.of(byte), bytes.subarray(at))))).toBe(true);
        if (at < bytes.length) expect(isHeadProblem(open(concatBytes(bytes.subarray(0, at), bytes.subarray(at + 1))))).toBe(true);
        if (at < bytes.length && byte !== bytes[at]) expect(isHeadProblem(open(bytes.map((old, i) => (i === at ? byte : old))))).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('that is cosigned: any bit changed is refused by who knows both keys', () => {
    const bytes = utf8(both);
    for (let bit = 0; bit < 8 * bytes.length; bit += 1) {
      const opened = open(bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
      expect(isHeadProblem(opened) || isHeadProblem(verifiedCosignature(primitives, opened.note, witness)), `bit ${bit & 7} of byte ${bit >> 3}`).toBe(true);
    }
  });

  it('says why it is refused', () => {
    const rewritten = (text: string, name = ORIGIN): string => formatNote({ text, signatures: [signText({ primitives, identity: coordinator, name, text })] });
    const root = toBase64(checkpoint.root);
    expect(codeOf(open(signed))).toBe('accepted');
    expect(codeOf(open('no note'))).toBe('malformed-note');
    expect(codeOf(open(signed, stranger.publicKey))).toBe('unsigned');
    expect(codeOf(open(signed.replace('\n217\n', '\n218\n')))).toBe('bad-signature');
    expect(codeOf(open(rewritten(formatCheckpoint({ ...checkpoint, origin: originOf('c4'.repeat(32)) }))))).toBe('wrong-origin');
    for (const text of [`${ORIGIN}\n0217\n${root}\n`, `${ORIGIN}\n-1\n${root}\n`, `${ORIGIN}\n217.0\n${root}\n`, `${ORIGIN}\n9007199254740992\n${root}\n`, `${ORIGIN}\n217\n${root}\nextension\n`, `${ORIGIN}\n217\n${root}\n\n`, `${ORIGIN}\n217\n`, `${ORIGIN}\n217\n${toBase64(countingBytes(1, 31))}\n`, `\n217\n${root}\n`, `cosignature/v1\ntime 5\n${ORIGIN}\n217\n${root}\n`]) {
      expect(codeOf(open(rewritten(text))), JSON.stringify(text)).toBe('malformed-checkpoint');
    }
    expect(codeOf(open(rewritten(`${ORIGIN}\n0\n${root}\n`)))).toBe('malformed-checkpoint');
    expect(codeOf(open(rewritten(`${ORIGIN}\n0\n${toBase64(emptyRoot(primitives))}\n`)))).toBe('accepted');
  });
});

describe('a cosignature', () => {
  it('says its time, and is found to be of another time, text or key', () => {
    const { text } = expected(open(signed)).note;
    fc.assert(
      fc.property(fc.nat({ max: 8.64e12 }).filter((time) => time > 0), (time) => {
        const note = { text, signatures: [cosigned(time)] };
        expect(verifiedCosignature(primitives, note, witness)).toBe(time);
        expect(codeOf(verifiedCosignature(primitives, { ...note, text: text.replace('217', '216') }, witness))).toBe('bad-signature');
        expect(codeOf(verifiedCosignature(primitives, { text, signatures: [cosigned(time, text, stranger)] }, witness))).toBe('bad-signature');
        const earlier = concatBytes(cosigned(Math.max(1, time - 1)).signature.subarray(0, 8), cosigned(time).signature.subarray(8));
        expect(codeOf(verifiedCosignature(primitives, { text, signatures: [{ ...cosigned(time), signature: earlier }] }, witness))).toBe(time === 1 ? 'accepted' : 'bad-signature');
      }),
    );
  });

  it('of another form is refused, even where it is signed: no time, a time beyond what a date can say, other lengths', () => {
    const { text } = expected(open(signed)).note;
    const forged = (time: bigint): Uint8Array => {
      const timestamp = new Uint8Array(8);
      new DataView(timestamp.buffer).setBigUint64(0, time);
      return concatBytes(timestamp, primitives.sign(utf8(`cosignature/v1\ntime ${time}\n${text}`), site.secretKey));
    };
    const judge = (signature: Uint8Array): string => codeOf(verifiedCosignature(primitives, { text, signatures: [{ name: witness.name, keyId: witness.id, signature }] }, witness));
    expect(judge(forged(1_785_000_000n))).toBe('accepted');
    for (const time of [0n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]) expect(judge(forged(time)), String(time)).toBe('bad-signature');
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (signature) => judge(signature) === 'bad-signature'));
    for (const time of [0, -5, 1.5, NaN, 2 ** 53]) expect(() => cosigned(time)).toThrow('whole seconds');
  });

  it('replaces an earlier one of its key and leaves the others', () => {
    const { note } = expected(open(both));
    const again = withSignature(note, cosigned(1_785_000_999));
    expect(again.signatures).toHaveLength(2);
    expect(verifiedCosignature(primitives, again, witness)).toBe(1_785_000_999);
    expect(codeOf(open(formatNote(again)))).toBe('accepted');
  });

  it('is no signature of a text and no text is a cosignature, although one key makes both', () => {
    const { text } = expected(open(signed)).note;
    const asText = noteKey({ primitives, name: witness.name, type: 'ed25519', publicKey: site.publicKey });
    const asCosignature = { name: witness.name, keyId: witness.id, signature: signText({ primitives, identity: site, name: witness.name, text }).signature };
    expect(codeOf(verifiedSignature(primitives, { text, signatures: [{ ...cosigned(77), keyId: asText.id }] }, asText))).toBe('bad-signature');
    expect(codeOf(verifiedCosignature(primitives, { text, signatures: [asCosignature] }, witness))).toBe('bad-signature');
    expect(codeOf(verifiedSignature(primitives, { text, signatures: [asCosignature] }, witness))).toBe('bad-signature');
    expect(codeOf(verifiedCosignature(primitives, { text, signatures: [{ ...cosigned(77), keyId: asText.id }] }, asText))).toBe('bad-signature');
  });
});

describe('a key of small order', () => {
  it('verifies nothing, although a signature that anybody can make is right for it', () => {
    const publicKey = fromHex(`01${'00'.repeat(31)}`, 32);
    const forged = concatBytes(publicKey, new Uint8Array(32)); // R = A = the neutral element, S = 0
    const { text } = expected(open(signed)).note;
    expect(nacl.sign.detached.verify(utf8(text), forged, publicKey)).toBe(true);
    const key = noteKey({ primitives, name: ORIGIN, type: 'ed25519', publicKey });
    expect(codeOf(open(formatNote({ text, signatures: [{ name: ORIGIN, keyId: key.id, signature: forged }] }), publicKey))).toBe('bad-signature');
    const weak = witnessKey({ primitives, study: STUDY, site: 'clinic-b', publicKey });
    const timed = concatBytes(Uint8Array.of(0, 0, 0, 0, 0x6b, 0x49, 0xd2, 0), forged);
    expect(codeOf(verifiedCosignature(primitives, { text, signatures: [{ name: weak.name, keyId: weak.id, signature: timed }] }, weak))).toBe('bad-signature');
    expect(codeOf(parseVerifierKey(primitives, formatVerifierKey(key)))).toBe('malformed-key');
  });
});
