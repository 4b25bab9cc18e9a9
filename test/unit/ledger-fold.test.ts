import { describe, expect, it } from 'vitest';
import type { EntryBody, Refusal } from '../../shared/ledger/entry.ts';
import { isSigned } from '../../shared/ledger/fold.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { signRefusal } from '../../shared/ledger/statements.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import { LedgerBuilder, MECHANISM, STUDY } from '../support/ledger-builder.ts';

function codeOf(builder: LedgerBuilder, body: EntryBody): string {
  const { next } = builder.write(body);
  return isLedgerProblem(next) ? next.code : 'accepted';
}

function enrolled(budget = '3'): LedgerBuilder {
  const builder = new LedgerBuilder();
  builder.add(builder.plan(budget));
  return builder.add(builder.enrolment('a', 'image'), builder.enrolment('b', 'image'), builder.enrolment('c', 'table'));
}

describe('a reader of a long ledger, who leaves PLD out at some reserves', () => {
  it('finds a RESERVE that states too little all the same, where its charges are refunded afterwards', () => {
    for (const recomputes of [true, false]) {
      const builder = enrolled('2');
      builder.recomputePld = () => recomputes;
      const honest = builder.reserve('image', ['a', 'b']);
      const less = { ...honest, epsilonAfter: { ...honest.epsilonAfter, pld: '0.01' } };
      if (recomputes) {
        expect(codeOf(builder, less)).toBe('wrong-epsilon');
        builder.add(honest);
        expect(codeOf(builder, builder.outcome('abort', [], ['a', 'b']))).toBe('accepted');
        continue;
      }
      builder.add(less);
      expect(codeOf(builder, builder.outcome('abort', [], ['a', 'b']))).toBe('wrong-epsilon');
    }
  });
});

describe('every rule, broken once', () => {
  it('the plan is first, once', () => {
    const builder = new LedgerBuilder();
    expect(codeOf(builder, { type: 'disclosure', what: 'x', why: 'y' })).toBe('no-plan');
    expect(codeOf(builder, builder.head())).toBe('no-plan');
    builder.add(builder.plan());
    expect(codeOf(builder, builder.plan())).toBe('second-plan');
  });

  it('heads: by the coordinator of the plan, over exactly the lines before them', () => {
    const builder = enrolled();
    expect(codeOf(builder, builder.head())).toBe('accepted');
    expect(codeOf(builder, builder.head(generateIdentity(nodePrimitives)))).toBe('bad-head');
    expect(codeOf(builder, builder.head(builder.coordinator, builder.state.length - 1))).toBe('wrong-root');
    expect(codeOf(builder, { type: 'head', note: 'antiphon' })).toBe('bad-head');
    const other = enrolled();
    const { note } = builder.head() as Extract<EntryBody, { type: 'head' }>;
    other.coordinator.publicKey.set(builder.coordinator.publicKey);
    expect(codeOf(other, { type: 'head', note })).toMatch(/wrong-root|bad-head/);
    expect(isSigned(builder.state)).toBe(true);
    builder.push({ type: 'disclosure', what: 'x', why: 'y' });
    expect(isSigned(builder.state)).toBe(false);
  });

  it('enrolments: planned site, once, own key, own invite, own signature', () => {
    const builder = enrolled();
    expect(codeOf(builder, builder.enrolment('d', 'image'))).toBe('unknown-site');
    expect(codeOf(builder, builder.enrolment('a', 'image'))).toBe('enrolled-twice');
    const fresh = new LedgerBuilder();
    fresh.add(fresh.plan(), fresh.enrolment('a', 'image'));
    const b = fresh.enrolment('b', 'image') as Extract<EntryBody, { type: 'enrol' }>;
    const [a] = fresh.state.sites.values();
    expect(codeOf(fresh, { ...b, invite: a!.invite })).toBe('invite-used-twice');
    expect(codeOf(fresh, { ...b, key: a!.key })).toBe('key-used-twice');
    expect(codeOf(fresh, { ...b, disjointFrom: [] })).toBe('bad-site-signature');
    expect(codeOf(fresh, { ...b, study: '00'.repeat(32) })).toBe('wrong-study');
  });

  it('reserves: next round, its modality, enrolled cohort, the plan’s mechanism, true epsilons, within the budget', () => {
    const builder = enrolled();
    const good = builder.reserve('image', ['a', 'b']);
    expect(codeOf(builder, { ...good, round: 2 })).toBe('wrong-round');
    expect(codeOf(builder, { ...good, modality: 'table' })).toBe('wrong-modality');
    expect(codeOf(builder, { ...good, sites: ['a', 'c'] })).toBe('wrong-cohort');
    expect(codeOf(builder, { ...good, sites: ['a', 'a'] })).toBe('wrong-cohort');
    expect(codeOf(builder, { ...good, mechanism: { ...MECHANISM, noiseMultiplier: '1.6' } as typeof MECHANISM })).toBe('wrong-mechanism');
    expect(codeOf(builder, { ...good, epsilonAfter: { ...good.epsilonAfter, pld: '0.5' } })).toBe('wrong-epsilon');
    expect(codeOf(builder, { ...good, epsilonAfter: { ...good.epsilonAfter, rdp: '0.5' } })).toBe('wrong-epsilon');
    expect(codeOf(builder, { ...good, epsilonAfter: { ...good.epsilonAfter, delta: '0.0001' } })).toBe('wrong-epsilon');
    expect(codeOf(builder, { ...good, epsilonBefore: { ...good.epsilonBefore, pld: '0.1' } })).toBe('wrong-epsilon');
    const poor = enrolled('0.2');
    expect(codeOf(poor, poor.reserve('image', ['a']))).toBe('budget-exceeded');
    builder.add(good);
    expect(codeOf(builder, builder.reserve('table', ['c']))).toBe('round-open');
  });

  it('receipts and outcomes belong to the open round, and refunds need a signed refusal', () => {
    const builder = enrolled();
    builder.add(builder.reserve('image', ['a', 'b']));
    const a = builder.receipt('a');
    expect(codeOf(builder, { ...a, reserve: '00'.repeat(32) })).toBe('wrong-reserve');
    expect(codeOf(builder, { ...a, update: '00'.repeat(32) })).toBe('bad-site-signature');
    expect(codeOf(builder, builder.receipt('c'))).toBe('wrong-cohort');
    builder.add(a);
    expect(codeOf(builder, a)).toBe('second-receipt');
    expect(codeOf(builder, builder.outcome('commit', ['a', 'b']))).toBe('missing-receipt');
    expect(codeOf(builder, builder.outcome('commit', ['a'], ['a']))).toBe('wrong-refusal');
    const refunded = builder.outcome('commit', ['a'], ['b']) as Extract<EntryBody, { type: 'commit' }>;
    expect(codeOf(builder, { ...refunded, refusals: refunded.refusals.map((r) => ({ ...r, reason: 'other' })) })).toBe('bad-site-signature');
    expect(codeOf(builder, { type: 'end', reason: 'completed', detail: '', epsilonSpent: refunded.epsilonSpent })).toBe('round-open');
    builder.add(refunded);
    expect(codeOf(builder, refunded)).toBe('no-open-round');
    expect(codeOf(builder, a)).toBe('no-open-round');
  });
});

it('a refusal refunds the one reserve that it names: signed for another round, reserve, study or by another site it refunds nothing', () => {
  const builder = enrolled('9');
  const commitWith = (refusals: readonly Refusal[]): EntryBody => ({ ...(builder.outcome('abort', [], ['b']) as Extract<EntryBody, { type: 'abort' }>), refusals: [...refusals] });
  const signed = (change: Partial<Refusal>, site = 'b'): Refusal => {
    const { open } = builder.state;
    return signRefusal(nodePrimitives, builder.sites.get(site)!, { study: STUDY, site, round: open?.reserve.round ?? 0, reserve: open?.hash ?? '', reason: 'limits-exceeded', ...change });
  };
  builder.add(builder.reserve('image', ['a', 'b']));
  const earlier = signed({});
  builder.add(builder.outcome('abort', []), builder.reserve('table', ['c']));
  builder.add(builder.outcome('abort', []));
  builder.add(builder.reserve('image', ['a', 'b']));
  expect(codeOf(builder, commitWith([signed({})]))).toBe('accepted');
  expect(codeOf(builder, commitWith([earlier]))).toBe('wrong-refusal');
  expect(codeOf(builder, commitWith([signed({ round: 1 })]))).toBe('wrong-refusal');
  expect(codeOf(builder, commitWith([signed({ reserve: earlier.reserve })]))).toBe('wrong-refusal');
  expect(codeOf(builder, commitWith([signed({ study: '00'.repeat(32) })]))).toBe('wrong-refusal');
  expect(codeOf(builder, commitWith([signed({}, 'c')]))).toBe('wrong-refusal');
  expect(codeOf(builder, commitWith([{ ...signed({}), signature: signed({}, 'a').signature }]))).toBe('bad-site-signature');
});

it('no round is reserved beyond those of the plan, even where refunds have left some of the budget', () => {
  const builder = new LedgerBuilder();
  builder.add(builder.plan('9', { rounds: 3 }), builder.enrolment('a', 'image'), builder.enrolment('c', 'table'));
  for (const [modality, site] of [['image', 'a'], ['table', 'c'], ['image', 'a']] as const) {
    builder.add(builder.reserve(modality, [site]));
    builder.add(builder.outcome('abort', [], [site]));
  }
  expect(builder.state.spent.pld).toBe('0');
  expect(codeOf(builder, builder.reserve('table', ['c']))).toBe('wrong-round');
});

it('an unanswered reserve stays spent; only a signed refusal refunds it', () => {
  const spend = (refused: string[]): number => {
    const builder = enrolled();
    builder.add(builder.reserve('image', ['a', 'b']));
    const atWorst = Number(builder.state.spent.pld);
    builder.add(builder.outcome('abort', [], refused));
    expect(Number(builder.state.spent.pld)).toBeLessThanOrEqual(atWorst);
    return Number(builder.state.spent.pld);
  };
  expect(spend([])).toBeGreaterThan(0.3);
  expect(spend(['a'])).toBe(spend([]));
  expect(spend(['a', 'b'])).toBe(0);
});

it('two sites share no patient only where both signed so; the worst clique counts', () => {
  const after = (a: string[], b: string[]): number => {
    const builder = new LedgerBuilder();
    builder.add(builder.plan('30'), builder.enrolment('a', 'image', a), builder.enrolment('b', 'image', b));
    builder.add(builder.reserve('image', ['a', 'b']));
    return Number(builder.state.spent.pld);
  };
  const disjoint = after(['*'], ['*']);
  expect(after(['b'], ['a'])).toBe(disjoint);
  expect(after(['*'], ['a'])).toBe(disjoint);
  for (const [a, b] of [[[], ['*']], [['*'], []], [['a'], ['b']], [['c'], ['*']]] as [string[], string[]][]) expect(after(a, b)).toBeGreaterThan(1.2 * disjoint);
});

it('a plan that does not say that its sites are disjoint charges them one after the other, whatever they sign', () => {
  const after = (sitesDisjoint: boolean): number => {
    const builder = new LedgerBuilder();
    const plan = builder.plan('30');
    builder.add({ ...plan, modalities: { ...plan.modalities, image: { ...plan.modalities['image']!, sitesDisjoint } } }, builder.enrolment('a', 'image'), builder.enrolment('b', 'image'));
    builder.add(builder.reserve('image', ['a', 'b']));
    return Number(builder.state.spent.pld);
  };
  expect(after(false)).toBeGreaterThan(1.2 * after(true));
});
