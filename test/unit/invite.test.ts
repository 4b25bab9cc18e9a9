import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBytes, utf8 } from '../../shared/bytes.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { decodeInvite, encodeInvite, type Invite } from '../../shared/protocol/invite.ts';

const PREFIX = 'antiphon-invite-1.';
const invite: Invite = { url: 'https://lead.example:7400', study: 'ab'.repeat(32), coordinatorKey: 'cd'.repeat(32), site: 'clinic-ä', modality: 'image', secret: primitives.randomBytes(32), expiresAt: 1_800_000_000_000 };
const text = encodeInvite(primitives, invite);

/** A text whose checksum is right, whatever it holds. */
function sealedText(content: Uint8Array): string {
  return PREFIX + Buffer.from(concatBytes(content, primitives.sha256(content).subarray(0, 4))).toString('base64url');
}

function problemOf(wrong: string): AntiphonError {
  try {
    decodeInvite(primitives, wrong);
  } catch (error) {
    if (error instanceof AntiphonError) return error;
    throw error;
  }
  throw new Error(`accepted: ${wrong}`);
}

describe('an invite', () => {
  it('is base64url of its JSON and checksum, and survives its text form at every length', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }).filter((site) => site.length <= 64), fc.uint8Array({ minLength: 32, maxLength: 32 }), (site, secret) => {
        const one = { ...invite, site, secret };
        const encoded = encodeInvite(primitives, one);
        expect(encoded).toMatch(/^antiphon-invite-1\.[A-Za-z0-9_-]+$/);
        expect(encoded).toBe(sealedText(utf8(JSON.stringify({ ...one, secret: Buffer.from(secret).toString('hex') }))));
        expect(decodeInvite(primitives, ` ${encoded}\n`)).toEqual(one);
      }),
    );
  });

  it('cut at any place, says that it is damaged or truncated', () => {
    for (let length = PREFIX.length; length < text.length; length += 1) {
      expect(problemOf(text.slice(0, length)).message, `${length} characters`).toMatch(/damaged or truncated/);
    }
    for (let length = 0; length < PREFIX.length; length += 1) expect(problemOf(text.slice(0, length)).message).toMatch(/does not begin with/);
  });

  it('with any character changed is invalid', () => {
    // The last character may carry bits that encode nothing: it is left out.
    fc.assert(
      fc.property(fc.integer({ min: 0, max: text.length - 2 }), fc.constantFrom('A', 'Z', 'a', 'z', '0', '9', '-', '_', '.', ' ', '+', '/', '='), (at, character) => {
        fc.pre(text[at] !== character && !(at === 0 && character === ' '));
        expect(problemOf(text.slice(0, at) + character + text.slice(at + 1)).code).toBe('invite-invalid');
      }),
    );
  });

  it.each([
    ['bytes that are not JSON', utf8('no json')],
    ['bytes that are not text', Uint8Array.of(0xff, 0xfe)],
    ['nothing', new Uint8Array(0)],
    ['JSON of another shape', utf8('[1]')],
    ['an extra field', utf8(JSON.stringify({ ...invite, secret: '00'.repeat(32), extra: 1 }))],
    ['a short secret', utf8(JSON.stringify({ ...invite, secret: '00' }))],
    ['an address that is none', utf8(JSON.stringify({ ...invite, secret: '00'.repeat(32), url: 'file:///etc/passwd' }))],
  ])('made of %s, with a right checksum, is invalid and not a crash', (_name, content) => {
    const problem = problemOf(sealedText(content));
    expect(problem.code).toBe('invite-invalid');
    expect(problem.message).toMatch(/another version .*; copy the whole line again or ask the study lead/);
  });
});
