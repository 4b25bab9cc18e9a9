import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { bytesToFloats, floatsToBytes, utf8 } from '../../shared/bytes.ts';
import { decodeCoordinatorMessage, decodeSiteMessage, encodeMessage } from '../../shared/protocol/codec.ts';
import { isFailure } from '../../shared/protocol/failure.ts';
import { LIMITS } from '../../shared/protocol/messages.ts';
import { COORDINATOR_MESSAGES, SITE_MESSAGES } from '../support/example-messages.ts';
import { codeOf, countingBytes } from '../support/session-pair.ts';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const pack = (value: unknown): Uint8Array => new Uint8Array(packr.pack(value));
const text = (value: string): number[] => [0xa0 + utf8(value).length, ...utf8(value)];
const ACK = [...text('type'), ...text('ack'), ...text('round'), 5, ...text('nextChunk'), 7];

describe('the codec', () => {
  it.each(SITE_MESSAGES.map((message) => [message.type, message] as const))('carries the site message %s', (_type, message) => {
    expect(decodeSiteMessage(encodeMessage(message))).toEqual(message);
  });

  it.each(COORDINATOR_MESSAGES.map((message) => [message.type, message] as const))('carries the coordinator message %s', (_type, message) => {
    expect(decodeCoordinatorMessage(encodeMessage(message))).toEqual(message);
  });

  it('takes no message of the other direction', () => {
    expect(codeOf(decodeSiteMessage(encodeMessage({ type: 'stored', round: 3 })))).toBe('malformed');
    expect(codeOf(decodeCoordinatorMessage(encodeMessage({ type: 'ready', site: 'a', ledgerLength: 3 })))).toBe('malformed');
  });

  it.each([0, 1, 2, 3, 5, 7])('gives byte strings that own an aligned buffer, from a frame at offset %i', (offset) => {
    const floats = Float32Array.of(1.5, -0.25, 3e-39, -0, Infinity, 1e30, 0.1, -7);
    const encoded = encodeMessage({ type: 'accept', round: 3, roundKey: new Uint8Array(floatsToBytes(floats)) });
    const padded = new Uint8Array(encoded.length + 16);
    padded.set(encoded, offset);
    const decoded = decodeSiteMessage(padded.subarray(offset, offset + encoded.length));
    if (isFailure(decoded) || decoded.type !== 'accept') throw new Error('expected the accept');
    const { roundKey } = decoded;
    expect(Object.getPrototypeOf(roundKey)).toBe(Uint8Array.prototype);
    expect([roundKey.byteOffset, roundKey.buffer.byteLength]).toEqual([0, 32]);
    expect(new Float32Array(roundKey.buffer)).toEqual(floats);
    expect(bytesToFloats(roundKey)).toEqual(floats);
    padded.fill(0);
    expect(bytesToFloats(roundKey)).toEqual(floats);
  });

  it('names both versions of a mismatch, whatever else the other version says', () => {
    for (const [version, extra] of [[2, {}], [0, { nonce: 'none' }], [77, { fields: [1, 2] }]] as const) {
      const problem = decodeSiteMessage(pack({ type: 'hello', version, ...extra }));
      expect(problem).toMatchObject({ type: 'failure', code: 'version-mismatch', message: expect.stringMatching(new RegExp(`version 1.* ${version};`)) });
    }
  });
});

describe('hostile bytes', () => {
  const cases: readonly (readonly [string, readonly number[] | Uint8Array])[] = [
    ['nothing', []],
    ['a byte after the message', [0x83, ...ACK, 0xc0]],
    ['a message cut short', [0x83, ...ACK.slice(0, -1)]],
    ['an extra field', [0x84, ...ACK, ...text('evil'), 1]],
    ['a field twice', [0x84, ...ACK, ...text('round'), 6]],
    ['a key that is no text', [0x84, ...ACK, 1, 1]],
    ['a __proto__ key', [0x84, ...ACK, ...text('__proto__'), 0x81, ...text('round'), 9]],
    ['a constructor key', [0x84, ...ACK, ...text('constructor'), 0x80]],
    ['text that is not UTF-8', [0x83, ...text('type'), ...text('ready'), ...text('site'), 0xa2, 0xff, 0xfe, ...text('ledgerLength'), 3]],
    ['a number as text', [0x83, ...text('type'), ...text('ack'), ...text('round'), ...text('5'), ...text('nextChunk'), 7]],
    ['a negative number', [0x83, ...text('type'), ...text('ack'), ...text('round'), 0xff, ...text('nextChunk'), 7]],
    ['NaN as a number', [0x83, ...text('type'), ...text('ack'), ...text('round'), 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0, ...text('nextChunk'), 7]],
    ['a 64-bit number', [0x83, ...text('type'), ...text('ack'), ...text('round'), 0xcf, 0, 0, 0, 0, 0, 0, 0, 5, ...text('nextChunk'), 7]],
    ['a record extension that spells an ack', [0xd4, 0x72, 0x46, 0x93, ...text('type'), ...text('round'), ...text('nextChunk'), ...text('ack'), 1, 2]],
    ['a regular expression extension', [0xc7, 4, 0x78, 0x92, 0xa1, 0x61, 0xa0]],
    ['a timestamp extension', [0xd6, 0xff, 1, 2, 3, 4]],
    ['an array that claims 4 billion items', [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ['a map that claims 4 billion items', [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ['bytes that claim 4 GB', [0xc6, 0xff, 0xff, 0xff, 0xff, 1]],
    ['text that claims 4 GB', [0xdb, 0xff, 0xff, 0xff, 0xff, 0x61]],
    ['a deep nest', new Uint8Array(1_000_000).fill(0x91)],
    ['millions of empty arrays', Uint8Array.from([0xdd, 0, 0x7a, 0x12, 0, ...new Uint8Array(8_000_000 - 5).fill(0x90)])],
    ['a version that is an object with a toString of its own', pack({ type: 'hello', version: { toString: 1 } })],
    ['a failure without its fields', pack({ type: 'failure', code: { evil: 1 }, message: ['x'], extra: 1 })],
    ['the key of a signature too short', pack({ type: 'welcome', signature: countingBytes(1, 63) })],
  ];

  it.each(cases)('%s is malformed, at once and without a throw', (_name, bytes) => {
    const started = performance.now();
    for (const decode of [decodeSiteMessage, decodeCoordinatorMessage]) {
      const result = decode(new Uint8Array(bytes));
      expect(result).toMatchObject({ type: 'failure', code: 'malformed', message: expect.stringMatching(/^(?:expected|not a message)/) });
      expect(Object.keys(result)).toEqual(['type', 'code', 'message']);
    }
    // Seconds and hundreds of megabytes without the check of the structure.
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it('a message above the size of a frame is too large before it is looked at', () => {
    expect(codeOf(decodeSiteMessage(new Uint8Array(LIMITS.frameBytes + 1)))).toBe('too-large');
  });

  it('a declared transfer above the limit is malformed', () => {
    const offer = COORDINATOR_MESSAGES.find((message) => message.type === 'offer');
    expect(codeOf(decodeCoordinatorMessage(pack({ ...offer, totalBytes: LIMITS.transferBytes + 1 })))).toBe('malformed');
  });

  it.each(['00'.repeat(32), '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157'])('the round key %s, which gives no secret, is malformed', (hex) => {
    const roundKey = Uint8Array.from(Buffer.from(hex, 'hex'));
    expect(codeOf(decodeSiteMessage(encodeMessage({ type: 'accept', round: 3, roundKey })))).toBe('malformed');
  });

  it('leaves nothing behind: the next good message decodes', () => {
    for (const [, bytes] of cases.slice(0, 20)) decodeSiteMessage(new Uint8Array(bytes));
    for (let round = 60; round < 130; round += 1) expect(decodeSiteMessage(encodeMessage({ type: 'ack', round, nextChunk: 66 }))).toEqual({ type: 'ack', round, nextChunk: 66 });
  });
});
