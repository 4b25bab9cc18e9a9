import { describe, expect, it } from 'vitest';
import { utf8 } from '../../shared/bytes.ts';
import { originOf, signCheckpoint } from '../../shared/ledger/checkpoint.ts';
import type { EntryBody, ReceiptEntry } from '../../shared/ledger/entry.ts';
import { emptyLedger, foldLine, type LedgerState } from '../../shared/ledger/fold.ts';
import { formatLine, readLine } from '../../shared/ledger/line.ts';
import { leafHash, rootOf } from '../../shared/ledger/merkle.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { bindingEpsilon } from '../../shared/ledger/spending.ts';
import { signReceipt, signRefusal } from '../../shared/ledger/statements.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { LedgerBuilder, MECHANISM, STUDY } from '../support/ledger-builder.ts';

/** Rules of shared/spec/ledger.md that another rule does not imply: each test fails without its rule alone. */

const codeOf = (builder: LedgerBuilder, body: EntryBody): string => {
  const { next } = builder.write(body);
  return isLedgerProblem(next) ? next.code : 'accepted';
};
function enrolled(budget = '3', change: Parameters<LedgerBuilder['plan']>[1] = {}): LedgerBuilder {
  const builder = new LedgerBuilder();
  return builder.add(builder.plan(budget, change), builder.enrolment('a', 'image'), builder.enrolment('b', 'image'), builder.enrolment('c', 'table'));
}
const note: EntryBody = { type: 'disclosure', what: 'w', why: 'y' };

describe('a line', () => {
  it('says which one it is: an index too low or too high is refused, whatever else is right', () => {
    const builder = enrolled();
    const at = (state: LedgerState, index: number): string => {
      const text = formatLine({ index, time: '2026-01-02T03:04:05.678Z', body: state.plan === undefined ? builder.plan() : note });
      const line = readLine(text);
      const next = isLedgerProblem(line) ? line : foldLine({ state, line, leaf: leafHash(primitives, utf8(text)), primitives });
      return isLedgerProblem(next) ? next.code : 'accepted';
    };
    const { length } = builder.state;
    expect([length - 1, length, length + 1].map((index) => at(builder.state, index))).toEqual(['wrong-index', 'accepted', 'wrong-index']);
    expect([0, 1].map((index) => at(emptyLedger(), index))).toEqual(['accepted', 'wrong-index']);
  });

  it('after END is a head or none', () => {
    const builder = enrolled();
    const end: EntryBody = { type: 'end', reason: 'completed', detail: '', epsilonSpent: builder.state.spent };
    const reserve = builder.reserve('image', ['a']);
    builder.push(end);
    expect([note, end, reserve, builder.plan()].map((body) => codeOf(builder, body))).toEqual(['after-end', 'after-end', 'after-end', 'after-end']);
    expect(codeOf(builder, builder.head())).toBe('accepted');
    builder.push(builder.head());
    expect(codeOf(builder, note)).toBe('after-end');
  });
});

describe('a head', () => {
  it('of the right size and key over other lines is refused, and so is one of the right lines and another size', () => {
    const [builder, other] = [enrolled(), enrolled()];
    const signed = (size: number, of: LedgerBuilder): EntryBody => ({ type: 'head', note: signCheckpoint({ primitives, identity: builder.coordinator, checkpoint: { origin: originOf(STUDY), size, root: rootOf(primitives, of.state.tree) } }) });
    const { length } = builder.state;
    expect(other.state.length).toBe(length);
    expect(codeOf(builder, signed(length, builder))).toBe('accepted');
    expect(codeOf(builder, signed(length, other))).toBe('wrong-root');
    expect(codeOf(builder, signed(length - 1, builder))).toBe('wrong-root');
    expect(codeOf(builder, signed(length + 1, builder))).toBe('wrong-root');
  });
});

describe('an enrolment', () => {
  it('of a planned site under another modality than its own is refused', () => {
    const builder = new LedgerBuilder();
    builder.add(builder.plan());
    expect(codeOf(builder, builder.enrolment('a', 'table'))).toBe('unknown-site');
    expect(codeOf(builder, builder.enrolment('c', 'image'))).toBe('unknown-site');
    expect(codeOf(builder, builder.enrolment('a', 'image'))).toBe('accepted');
  });
});

describe('a reserve', () => {
  it('begins where the last entry ended: before any round nothing, at the delta of the plan', () => {
    const builder = enrolled();
    expect(builder.state.spent).toEqual({ delta: '0.00001', pld: '0', rdp: '0' });
    const good = builder.reserve('image', ['a']);
    for (const change of [{ pld: '0.1' }, { rdp: '0.1' }, { delta: '0' }]) expect(codeOf(builder, { ...good, epsilonBefore: { ...good.epsilonBefore, ...change } })).toBe('wrong-epsilon');
    builder.add(good);
    builder.add(builder.outcome('abort', []));
    const next = builder.reserve('table', ['c']);
    expect(codeOf(builder, { ...next, epsilonBefore: { delta: '0.00001', pld: '0', rdp: '0' } })).toBe('wrong-epsilon');
    expect(codeOf(builder, next)).toBe('accepted');
  });

  it('names sites that are enrolled, not only planned', () => {
    const builder = new LedgerBuilder();
    builder.add(builder.plan(), builder.enrolment('a', 'image'));
    expect(codeOf(builder, { ...builder.reserve('image', ['a']), sites: ['a', 'b'] })).toBe('wrong-cohort');
    expect(codeOf(builder, builder.reserve('image', ['a']))).toBe('accepted');
  });

  it('keeps to the budget by the accountant that the plan binds, at the order that it names', () => {
    const { pld, rdp } = enrolled('30').reserve('image', ['a']).epsilonAfter;
    expect(Number(rdp)).toBeGreaterThan(1.2 * Number(pld));
    const between = String((Number(pld) + Number(rdp)) / 2);
    const accountant = (binding: 'pld' | 'rdp', rdpOrder = '6.5') => ({ accountant: { binding, pld: 'antiphon-pld-1' as const, rdpOrder } });
    const judged = (change: ReturnType<typeof accountant>, budget = between): string => {
      const builder = enrolled(budget, change);
      return codeOf(builder, builder.reserve('image', ['a']));
    };
    expect(judged(accountant('pld'))).toBe('accepted');
    expect(judged(accountant('rdp'))).toBe('budget-exceeded');
    expect(judged(accountant('rdp'), rdp)).toBe('accepted');
    const other = enrolled('30', accountant('pld', '9'));
    expect(other.reserve('image', ['a']).epsilonAfter.rdp).not.toBe(rdp);
    expect(codeOf(other, { ...other.reserve('image', ['a']), epsilonAfter: { delta: '0.00001', pld, rdp } })).toBe('wrong-epsilon');
    expect(bindingEpsilon(enrolled('3', accountant('rdp')).plan('3', accountant('rdp')), { delta: '0.00001', pld: '0.5', rdp: '0.75' })).toBe(0.75);
  });

  it('whose PLD a reader leaves out may not fall below what was spent before, and its RDP is never left out', () => {
    const builder = enrolled('9');
    builder.recomputePld = () => false;
    builder.add(builder.reserve('image', ['a']));
    builder.add(builder.outcome('abort', []));
    const next = builder.reserve('table', ['c']);
    const before = Number(builder.state.spent.pld);
    const stating = (change: Partial<typeof next.epsilonAfter>): string => codeOf(builder, { ...next, epsilonAfter: { ...next.epsilonAfter, ...change } });
    expect(stating({ pld: String(before - 1e-6) })).toBe('wrong-epsilon');
    expect(stating({ pld: String(before) })).toBe('accepted');
    expect(stating({ rdp: String(Number(next.epsilonAfter.rdp) - 1e-5) })).toBe('wrong-epsilon');
    expect(stating({ delta: '0.0001' })).toBe('wrong-epsilon');
  });

  it('adds to what its sites were charged before, round by round', () => {
    const builder = enrolled('9');
    for (const [modality, site] of [['image', 'a'], ['table', 'c'], ['image', 'a']] as const) {
      builder.add(builder.reserve(modality, [site]));
      builder.add(builder.outcome('abort', []));
    }
    expect(Object.fromEntries(builder.state.charged)).toEqual({ a: 2 * MECHANISM.steps, c: MECHANISM.steps });
  });
});

describe('a receipt', () => {
  const unsigned = ({ signature, ...body }: ReceiptEntry): Omit<ReceiptEntry, 'signature'> => (signature === '' ? body : body);
  it('of another study or another round is refused though its site has signed it', () => {
    const builder = enrolled();
    builder.add(builder.reserve('image', ['a', 'b']));
    const signed = (change: Partial<ReceiptEntry>): EntryBody => signReceipt(primitives, builder.sites.get('a')!, { ...unsigned(builder.receipt('a')), ...change });
    expect(codeOf(builder, signed({ study: '00'.repeat(32) }))).toBe('wrong-study');
    expect(codeOf(builder, signed({ round: 2 }))).toBe('wrong-reserve');
    expect(codeOf(builder, signed({ reserve: '00'.repeat(32) }))).toBe('wrong-reserve');
    expect(codeOf(builder, signed({ mechanism: { ...MECHANISM, steps: 2 } }))).toBe('wrong-mechanism');
    expect(codeOf(builder, signed({ site: 'b' }))).toBe('bad-site-signature');
    expect(codeOf(builder, signed({}))).toBe('accepted');
  });
});

describe('an outcome', () => {
  it('names the round and the reserve that are open', () => {
    const builder = enrolled();
    const reserve = builder.reserve('image', ['a', 'b']);
    expect(codeOf(builder, { type: 'abort', round: 1, reserve: '00'.repeat(32), reason: 'quorum', refusals: [], epsilonSpent: builder.state.spent })).toBe('no-open-round');
    builder.add(reserve);
    const abort = builder.outcome('abort', []) as Extract<EntryBody, { type: 'abort' }>;
    expect(codeOf(builder, { ...abort, round: 2 })).toBe('wrong-reserve');
    expect(codeOf(builder, { ...abort, reserve: '00'.repeat(32) })).toBe('wrong-reserve');
    expect(codeOf(builder, abort)).toBe('accepted');
  });

  it('states what was reserved where nobody refused, and what is left where somebody did', () => {
    const builder = enrolled();
    builder.add(builder.reserve('image', ['a', 'b']));
    for (const refused of [[], ['a', 'b']]) {
      const abort = builder.outcome('abort', [], refused) as Extract<EntryBody, { type: 'abort' }>;
      for (const change of [{ pld: '0.1' }, { rdp: '0.1' }, { delta: '0.1' }]) expect(codeOf(builder, { ...abort, epsilonSpent: { ...abort.epsilonSpent, ...change } })).toBe('wrong-epsilon');
      expect(codeOf(builder, abort)).toBe('accepted');
    }
  });

  it('refunds no site that the reserve does not name, and none that has a receipt, though each has signed', () => {
    const builder = enrolled();
    builder.add(builder.reserve('image', ['a']));
    builder.push(builder.receipt('a'));
    const abort = builder.outcome('abort', []) as Extract<EntryBody, { type: 'abort' }>;
    const refusal = (site: string) => signRefusal(primitives, builder.sites.get(site)!, { study: STUDY, site, round: 1, reserve: abort.reserve, reason: 'r' });
    for (const site of ['a', 'b', 'c']) expect(codeOf(builder, { ...abort, refusals: [refusal(site)] })).toBe('wrong-refusal');
  });

  it('counts committed rounds and not aborted ones', () => {
    const builder = enrolled();
    const counts = (): number[] => [builder.state.lastRound, builder.state.lastCommit?.round ?? 0, builder.state.committedRounds];
    expect(counts()).toEqual([0, 0, 0]);
    for (const [modality, site, type] of [['image', 'a', 'abort'], ['table', 'c', 'commit'], ['image', 'b', 'abort']] as const) {
      builder.add(builder.reserve(modality, [site]));
      if (type === 'commit') builder.push(builder.receipt(site));
      builder.add(builder.outcome(type, type === 'commit' ? [site] : []));
    }
    expect(counts()).toEqual([3, 2, 1]);
  });
});

describe('the END', () => {
  it('comes outside of rounds and states what was spent', () => {
    const builder = enrolled();
    const end = (change: Partial<typeof builder.state.spent> = {}): EntryBody => ({ type: 'end', reason: 'completed', detail: '', epsilonSpent: { ...builder.state.spent, ...change } });
    builder.add(builder.reserve('image', ['a']));
    expect(codeOf(builder, end())).toBe('round-open');
    builder.add(builder.outcome('abort', []));
    for (const change of [{ pld: '0' }, { rdp: '0' }, { delta: '0.0001' }]) expect(codeOf(builder, end(change))).toBe('wrong-epsilon');
    expect(codeOf(builder, end())).toBe('accepted');
  });
});
