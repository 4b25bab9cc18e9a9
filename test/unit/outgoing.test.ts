import { describe, expect, it } from 'vitest';
import type { StudyEvent } from '../../coordinator/events.ts';
import { ledgerMessages, linePieces } from '../../coordinator/ledger-feed.ts';
import { createOutgoing } from '../../coordinator/outgoing.ts';
import { quietFailures } from '../../coordinator/quiet.ts';
import { readLine } from '../../shared/ledger/line.ts';
import { MAX_LINE_BYTES, MAX_REASON_BYTES, shorten } from '../../shared/lengths.ts';
import { MOST_SITES } from '../../shared/study/schema.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { signReceipt } from '../../shared/ledger/statements.ts';
import { formatLine } from '../../shared/ledger/line.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { decodeCoordinatorMessage, encodeMessage } from '../../shared/protocol/codec.ts';
import { isFailure } from '../../shared/protocol/failure.ts';
import { LIMITS } from '../../shared/protocol/messages.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { MECHANISM, STUDY } from '../support/ledger-builder.ts';

const MIB = 1024 * 1024;

describe('what waits for a peer', () => {
  it('is made and sent only as fast as the socket writes it, in its order', () => {
    const sent: number[] = [];
    const outgoing = createOutgoing((frame) => sent.push(frame[0]!));
    let made = 0;
    const frames = function* (): Generator<Uint8Array> {
      for (let i = 0; i < 40; i += 1) {
        made += 1;
        yield new Uint8Array(MIB / 2).fill(i);
      }
    };
    expect(outgoing.push(frames())).toBe(true);
    expect(outgoing.push([Uint8Array.of(99)])).toBe(true);
    expect(made).toBe(4);
    outgoing.drained();
    expect(sent).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    for (let i = 0; i < 20; i += 1) outgoing.drained();
    expect(sent).toEqual([...Array.from({ length: 40 }, (_, i) => i), 99]);
  });

  it('is refused beyond what an honest peer can have before it: one that does not read is let go', () => {
    let sent = 0;
    const outgoing = createOutgoing((frame) => (sent += frame.length));
    let taken = 0;
    while (outgoing.push([new Uint8Array(MIB)])) taken += 1;
    expect(taken).toBe(1025);
    expect(sent).toBe(2 * MIB);
  });
});

describe('the ledger on its way to a site', () => {
  it.each([
    ['short lines', Array.from({ length: 1203 }, (_, i) => `line ${i}`), [500, 500, 203]],
    ['long lines, of several bytes a character', Array.from({ length: 9 }, (_, i) => `${i}${'\u20ac'.repeat(500_000)}`), [2, 2, 2, 2, 1]],
    ['no lines', [], [0]],
  ])('is cut into messages that a frame holds and a site reads: %s', (_what, lines, counts) => {
    const messages = [...ledgerMessages(lines, 0)];
    expect(messages.map((message) => (message.type === 'ledger' ? message.lines.length : -1))).toEqual(counts);
    expect(messages.flatMap((message) => (message.type === 'ledger' ? message.lines : []))).toEqual(lines);
    for (const message of messages) {
      const bytes = encodeMessage(message);
      expect(bytes.length).toBeLessThan(LIMITS.frameBytes - 100);
      expect(isFailure(decodeCoordinatorMessage(bytes))).toBe(false);
    }
  });

  it('begins where the site is, and ends where the ledger did when it was asked for', () => {
    const lines = ['a', 'b', 'c', 'd'];
    const messages = ledgerMessages(lines, 2);
    const first = messages.next().value as unknown;
    lines.push('e');
    expect(first).toEqual({ type: 'ledger', from: 2, lines: ['c', 'd'] });
    expect(messages.next().done).toBe(true);
  });

  it('has no line that a message does not carry: a receipt of 300 kB, or any line of more than 4 MiB, is no entry', () => {
    const receipt = (software: string): string => {
      const body = signReceipt(primitives, generateIdentity(primitives), { type: 'receipt', study: STUDY, site: 'a', round: 1, reserve: STUDY, mechanism: MECHANISM, update: STUDY, software });
      return formatLine({ index: 5, time: '2026-01-02T03:04:05.678Z', body });
    };
    expect(isLedgerProblem(readLine(receipt('x'.repeat(64))))).toBe(false);
    expect(readLine(receipt('x'.repeat(65)))).toMatchObject({ code: 'not-an-entry' });
    expect(readLine(receipt('x'.repeat(300_000)))).toMatchObject({ code: 'not-an-entry' });
    const disclosure = (why: string): string => formatLine({ index: 5, time: '2026-01-02T03:04:05.678Z', body: { type: 'disclosure', what: 'w', why } });
    const longest = disclosure('\u20ac'.repeat(MAX_LINE_BYTES / 3 - 100));
    expect(isLedgerProblem(readLine(longest))).toBe(false);
    expect(isFailure(decodeCoordinatorMessage(encodeMessage({ type: 'ledger', from: 5, lines: [longest] })))).toBe(false);
    const longer = disclosure('\u20ac'.repeat(MAX_LINE_BYTES / 3));
    expect(readLine(longer)).toMatchObject({ code: 'not-an-entry' });
    expect(isFailure(decodeCoordinatorMessage(encodeMessage({ type: 'ledger', from: 5, lines: [longer] })))).toBe(true);
  });

  it('has room for the refusals of all sites of the largest study, whatever their reasons', () => {
    const hex = (bytes: number): string => 'ab'.repeat(bytes);
    const abort = (reason: string): string =>
      formatLine({
        index: 123_456,
        time: '2026-01-02T03:04:05.678Z',
        body: {
          type: 'abort',
          round: 999_999,
          reserve: hex(32),
          reason: 'fewer updates than the quorum',
          refusals: Array.from({ length: MOST_SITES }, (_, i) => ({ study: hex(32), site: `s${i}`.padEnd(64, 'x'), round: 999_999, reserve: hex(32), reason, signature: hex(64) })),
          epsilonSpent: { delta: '0.0001', pld: '0.1234567890123', rdp: '0.1234567890123' },
        },
      });
    for (const text of ['\u0001', '\u20ac', '\u{1f3e5}', '"', 'x']) {
      const longest = shorten(text.repeat(400), MAX_REASON_BYTES);
      expect(longest.length).toBeGreaterThan(40);
      expect(shorten(`x${longest}`, MAX_REASON_BYTES).isWellFormed()).toBe(true);
      expect(isLedgerProblem(readLine(abort(longest)))).toBe(false);
      expect(readLine(abort(longest + text.repeat(6)))).toMatchObject({ code: 'not-an-entry' });
    }
    expect(shorten('as it is', MAX_REASON_BYTES)).toBe('as it is');
  });

  it('is published in pieces that join to all of it', () => {
    const lines = Array.from({ length: 999 }, (_, i) => `${i} ${'x'.repeat(i)}`);
    const pieces = [...linePieces(lines)];
    expect(pieces.length).toBeGreaterThan(5);
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThan(70_000);
    expect(pieces.join('')).toBe(lines.map((line) => `${line}\n`).join(''));
    expect([...linePieces([])]).toEqual([]);
  });
});

it('failures are told a hundred a minute for each site and for all strangers; the others as a number', () => {
  const told: StudyEvent[] = [];
  let clock = 1_000_000;
  const { emit, flush } = quietFailures({ emit: (event) => told.push(event), now: () => clock });
  const fail = (times: number, site?: string): void => {
    for (let i = 0; i < times; i += 1) emit({ type: 'failure', time: 't', ...(site === undefined ? {} : { site }), code: 'not-enrolled', message: `number ${i}` });
  };
  fail(2500);
  fail(3, 'a');
  emit({ type: 'listening', time: 't', url: 'u', coordinatorKey: 'k' });
  expect(told).toHaveLength(104);
  clock += 60_000;
  fail(1);
  expect(told.slice(104)).toMatchObject([{ type: 'failure', code: 'not-enrolled', message: expect.stringMatching(/^2400 more failures .* number 2499$/) as string }, { message: 'number 0' }]);
  fail(150);
  flush();
  flush();
  expect(told.slice(106)).toHaveLength(100);
  expect(told.at(-1)).toMatchObject({ message: expect.stringMatching(/^51 more failures/) as string });
});
