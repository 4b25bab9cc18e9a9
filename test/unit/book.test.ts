import { describe, expect, it } from 'vitest';
import { openBook, type Book } from '../../coordinator/book.ts';
import { reserveRound } from '../../coordinator/budget.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import type { EntryBody, ReserveEntry } from '../../shared/ledger/entry.ts';
import { verifyLedger } from '../../shared/ledger/verify.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { LedgerBuilder, MECHANISM } from '../support/ledger-builder.ts';
import { createMemoryLines, type MemoryLines } from '../support/memory-lines.ts';

const NOW = Date.parse('2026-03-04T05:06:07.000Z');
const NOTE: EntryBody = { type: 'disclosure', what: 'metrics', why: 'public' };

async function bookOf(builder: LedgerBuilder, lines = builder.lines): Promise<{ book: Book; store: MemoryLines }> {
  const store = createMemoryLines(lines);
  return { store, book: await openBook({ store, identity: builder.coordinator, primitives, now: () => NOW }) };
}

function enrolled(budget = '3'): LedgerBuilder {
  const builder = new LedgerBuilder();
  builder.add(builder.plan(budget));
  return builder.add(builder.enrolment('a', 'image'), builder.enrolment('b', 'image'), builder.enrolment('c', 'table'));
}

const problemOf = (lines: readonly string[]) => verifyLedger({ lines, primitives }).problem;

describe('the coordinator’s book', () => {
  it('closes every append with its own head, so that anyone can verify what is on the disk', async () => {
    const builder = new LedgerBuilder();
    const { book, store } = await bookOf(builder, []);
    await book.append(builder.plan(), NOTE);
    await book.append(builder.enrolment('a', 'image'));
    expect(store.disk()).toEqual(book.lines());
    expect(store.disk().map((line) => (JSON.parse(line) as { body: { type: string } }).body.type)).toEqual(['plan', 'disclosure', 'head', 'enrol', 'head']);
    expect(problemOf(store.disk())).toBeUndefined();
  });

  it('cuts the lines behind the last head when it is opened, and goes on from there', async () => {
    const builder = enrolled();
    const intact = [...builder.lines];
    builder.push(builder.reserve('image', ['a', 'b']));
    builder.push(builder.receipt('a'));
    const { book, store } = await bookOf(builder);
    expect(store.disk()).toEqual(intact);
    expect(book.lines()).toEqual(intact);
    expect(book.state()).toMatchObject({ length: intact.length, lastRound: 0, open: undefined });
    await book.append(NOTE);
    expect(problemOf(store.disk())).toBeUndefined();
    const nothing = await bookOf(builder, builder.lines.slice(0, 1));
    expect(nothing.store.disk()).toEqual([]);
    expect(nothing.book.state().plan).toBeUndefined();
  });

  it.each([
    ['changed', (lines: string[]) => lines.map((line, i) => (i === 2 ? line.replace('"site":"a"', '"site":"b"') : line))],
    ['removed', (lines: string[]) => lines.filter((_line, i) => i !== 3)],
    ['repeated', (lines: string[]) => [...lines.slice(0, 4), lines[3]!, ...lines.slice(4)]],
    ['swapped', (lines: string[]) => [...lines.slice(0, 2), lines[3]!, lines[2]!, ...lines.slice(4)]],
  ])('refuses to be opened where a line was %s, and touches nothing', async (_title, change) => {
    const builder = enrolled();
    const lines = change([...builder.lines]);
    const store = createMemoryLines(lines);
    await expect(openBook({ store, identity: builder.coordinator, primitives, now: () => NOW })).rejects.toMatchObject({ code: 'ledger-tampered' });
    expect(store.disk()).toEqual(lines);
  });

  it('takes all of an append or nothing: when the disk fails, and when the last of its lines breaks a rule', async () => {
    const builder = enrolled();
    const { book, store } = await bookOf(builder);
    const before = { state: book.state(), lines: [...book.lines()] };
    store.failNext();
    await expect(book.append(NOTE)).rejects.toMatchObject({ code: 'storage-failed' });
    expect({ state: book.state(), lines: [...book.lines()] }).toEqual(before);
    await expect(book.append(NOTE, builder.plan())).rejects.toMatchObject({ code: 'ledger-tampered' });
    expect({ state: book.state(), lines: [...book.lines()], disk: [...store.disk()] }).toEqual({ ...before, disk: before.lines });
    await book.append(NOTE);
    expect(book.lines()).toHaveLength(before.lines.length + 2);
    expect(problemOf(store.disk())).toBeUndefined();
  });

  it('is written in the order of its appends, a failed one in between leaving no trace', async () => {
    const { book, store } = await bookOf(enrolled());
    const from = book.lines().length;
    store.failNext();
    const appends = ['one', 'two', 'three'].map((what) => book.append({ type: 'disclosure', what, why: 'y' }).then(() => what, () => 'failed'));
    expect(await Promise.all(appends)).toEqual(['failed', 'two', 'three']);
    expect(store.disk().slice(from).filter((line) => line.includes('disclosure')).map((line) => (JSON.parse(line) as { body: { what: string } }).body.what)).toEqual(['two', 'three']);
    expect(problemOf(store.disk())).toBeUndefined();
  });

  it('is signed by the plan’s coordinator alone: another key cannot write into it', async () => {
    const builder = enrolled();
    const store = createMemoryLines(builder.lines);
    const book = await openBook({ store, identity: generateIdentity(primitives), primitives, now: () => NOW });
    await expect(book.append(NOTE)).rejects.toMatchObject({ code: 'ledger-tampered' });
    expect(store.disk()).toEqual(builder.lines);
  });
});

describe('a reserve', () => {
  const round = (site: string): Parameters<typeof reserveRound>[1] => ({ round: 1, modality: 'image', sites: [site], mechanism: MECHANISM, modelIn: 'cd'.repeat(32) });
  const entryOf = (book: Book, site: string): ReserveEntry => {
    const decision = reserveRound(book.state(), round(site));
    if (decision.type !== 'reserve') throw new Error(decision.detail);
    return decision.entry;
  };

  it('states what the round may cost at its worst, and is refused above the budget, not at it', async () => {
    const builder = enrolled();
    const entry = entryOf((await bookOf(builder)).book, 'a');
    expect(entry).toEqual(builder.reserve('image', ['a']));
    const at = enrolled(entry.epsilonAfter.pld);
    expect(reserveRound(at.state, round('a')).type).toBe('reserve');
    const below = enrolled(String(Number(entry.epsilonAfter.pld) - 2e-6));
    expect(reserveRound(below.state, round('a'))).toMatchObject({ type: 'exhausted', detail: expect.stringMatching(/round 1 would bring epsilon to .*above the budget/) as string });
    expect(reserveRound(enrolled('0.2').state, round('a')).type).toBe('exhausted');
  });

  it('is held against the binding accountant', () => {
    const builder = enrolled();
    const { pld, rdp } = builder.reserve('image', ['a']).epsilonAfter;
    expect(Number(rdp)).toBeGreaterThan(Number(pld) + 0.1);
    const middle = String((Number(pld) + Number(rdp)) / 2);
    for (const [binding, expectedType] of [['pld', 'reserve'], ['rdp', 'exhausted']] as const) {
      const other = new LedgerBuilder();
      other.add(other.plan(middle, { accountant: { binding, pld: 'antiphon-pld-1', rdpOrder: '6.5' } }), other.enrolment('a', 'image'));
      expect(reserveRound(other.state, round('a')).type).toBe(expectedType);
    }
  });

  it('decided twice on one state is written once: two rounds never both fit one budget', async () => {
    const builder = enrolled();
    const { book, store } = await bookOf(builder);
    const [first, second] = [entryOf(book, 'a'), entryOf(book, 'b')];
    const results = await Promise.allSettled([book.append(first), book.append(second)]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(book.state().open?.reserve.sites).toEqual(['a']);
    expect(problemOf(store.disk())).toBeUndefined();
  });

  it('of which the disk says nothing counts as nothing, and can be made again', async () => {
    const { book, store } = await bookOf(enrolled());
    const entry = entryOf(book, 'a');
    store.failNext();
    await expect(book.append(entry)).rejects.toMatchObject({ code: 'storage-failed' });
    expect(book.state().spent.pld).toBe('0');
    await book.append(entryOf(book, 'a'));
    expect(book.state().spent).toEqual(entry.epsilonAfter);
  });
});
