import { describe, expect, it } from 'vitest';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import type { LedgerMechanism, ReceiptEntry, Refusal } from '../../shared/ledger/entry.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { exchangeScene, verdict, WEIGHTS } from '../support/exchange-scene.ts';
import { MECHANISM } from '../support/ledger-builder.ts';
import { turn } from '../support/site-bench.ts';

const UPDATE = WEIGHTS.map((value) => value / 3);
const OTHER = WEIGHTS.map((value) => value / 5);

describe('a round of three sites', () => {
  it('reaches every site and combines exactly what they sealed, in one go', async () => {
    const scene = exchangeScene();
    const { hub, members, timer, fed } = scene;
    expect(fed).toEqual(['a', 'b', 'c']);
    expect(timer.running()).toEqual([60_000.4]);
    for (const member of members) {
      expect(member.offer()).toMatchObject({ round: 7, totalBytes: 4 * WEIGHTS.length, deadlineMs: 60_000 });
      member.accept();
      expect(member.weights()).toEqual(WEIGHTS);
    }
    const [a, b, c] = members;
    const parcel = a.deliver(UPDATE);
    b.deliver(OTHER);
    await turn();
    expect(scene.settled()).toBeUndefined();
    c.deliver(UPDATE);
    const { verdict: found, refusals } = await scene.outcome;
    if (found.type !== 'aggregate') throw new Error(found.reason);
    expect(found.delivered.map(({ update }) => update)).toEqual([UPDATE, OTHER, UPDATE]);
    expect(found.delivered[0]?.receipt).toEqual(parcel.message.receipt);
    expect(refusals).toEqual([]);
    expect(scene.reported).toEqual([]);
    expect(timer.running()).toEqual([]);
    expect(hub.listeners()).toBe(0);
  });

  it('waits for the slow one until the deadline, then goes on with the quorum', async () => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    a.deliver(UPDATE);
    b.deliver(UPDATE);
    c.accept();
    await turn();
    expect(scene.settled()).toBeUndefined();
    scene.timer.fire();
    expect(await verdict(scene)).toEqual(['a', 'b']);
    c.deliver(UPDATE);
    expect(c.count('resume')).toBe(0);
  });

  it('aborts at the deadline below the quorum, and at once when the quorum is out of reach', async () => {
    const late = exchangeScene();
    late.members[0].deliver(UPDATE);
    late.timer.fire();
    expect(await verdict(late)).toBe('1 of 3 sites delivered, 2 were needed; 2 had not answered by the deadline');
    const hopeless = exchangeScene();
    hopeless.members[0].refuse();
    hopeless.members[1].refuse();
    expect(await verdict(hopeless)).toMatch(/^only 1 of 3 sites can still deliver/);
    expect((await hopeless.outcome).refusals).toHaveLength(2);
  });

  it('is aborted when the coordinator is stopped, before or meanwhile', async () => {
    const scene = exchangeScene();
    scene.stop.abort();
    expect(await verdict(scene)).toBe('the coordinator was stopped');
    expect(scene.hub.listeners()).toBe(0);
  });

  it('offers itself to a site that comes later or again, and to no stranger', () => {
    const { hub, members, fed } = exchangeScene({ connected: ['a'] });
    expect(fed).toEqual(['a']);
    hub.arrive('b');
    hub.leave('a');
    hub.arrive('a');
    hub.arrive('z');
    expect(fed).toEqual(['a', 'b', 'a']);
    expect(members[0].count('offer')).toBe(2);
    expect(hub.messages('z')).toEqual([]);
  });
});

describe('a receipt', () => {
  const weaker: LedgerMechanism = { ...MECHANISM, noiseMultiplier: '1.6' } as LedgerMechanism;
  it.each<[string, Partial<ReceiptEntry>, string]>([
    ['for another site', { site: 'b' }, 'wrong-site'],
    ['of another study', { study: '00'.repeat(32) }, 'wrong-study'],
    ['of another reserve', { reserve: '00'.repeat(32) }, 'wrong-round'],
    ['under another mechanism', { mechanism: weaker }, 'malformed'],
    ['with another number of steps', { mechanism: { ...MECHANISM, steps: 4 } }, 'malformed'],
    ['that claims no protection', { mechanism: { protection: 'none', samplingRate: '0.2', steps: 3 } }, 'malformed'],
  ])('%s is refused by name, and the site’s part rejected', async (_title, change, code) => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    const parcel = a.seal(UPDATE, change);
    a.announce(parcel);
    a.upload(parcel);
    a.deliver(UPDATE);
    expect(a.failures()[0]).toBe(code);
    expect(scene.reported[0]).toEqual({ site: 'a', code });
    b.deliver(UPDATE);
    c.deliver(UPDATE);
    expect(await verdict(scene)).toEqual(['b', 'c']);
  });

  it('of an earlier round, which was under way when that round ended, costs the site nothing in this one', async () => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    a.announce(a.seal(OTHER, { round: 6, reserve: '5b'.repeat(32) }));
    expect(a.failures()).toEqual(['wrong-round']);
    for (const member of [a, b, c]) member.deliver(UPDATE);
    expect(await verdict(scene)).toEqual(['a', 'b', 'c']);
  });

  it('that the enrolled key has not signed is refused, whoever else signed it or whatever was changed after', async () => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    a.announce(a.seal(UPDATE, {}, generateIdentity(primitives)));
    const honest = b.seal(UPDATE);
    const forged = { ...honest.message, receipt: { ...honest.message.receipt, software: 'test/2' } };
    scene.hub.say('b', forged);
    expect(scene.reported).toEqual([{ site: 'a', code: 'bad-signature' }, { site: 'b', code: 'bad-signature' }]);
    c.deliver(UPDATE);
    expect(await verdict(scene)).toMatch(/^only 1 of 3 sites can still deliver/);
    expect((await scene.outcome).refusals).toEqual([]);
  });
});

describe('a refusal', () => {
  it.each<[string, Partial<Refusal>, string]>([
    ['for another site', { site: 'b' }, 'wrong-site'],
    ['of another study', { study: '00'.repeat(32) }, 'wrong-study'],
    ['of another round', { round: 6 }, 'wrong-round'],
    ['of another reserve', { reserve: '00'.repeat(32) }, 'wrong-round'],
  ])('%s refunds nobody; the site may still deliver', async (_title, change, code) => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    a.refuse(change);
    expect(a.failures()).toEqual([code]);
    for (const member of [a, b, c]) member.deliver(UPDATE);
    expect(await verdict(scene)).toEqual(['a', 'b', 'c']);
    expect((await scene.outcome).refusals).toEqual([]);
  });

  it('that the enrolled key has not signed refunds nobody', async () => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    a.refuse({}, b.identity);
    scene.hub.say('a', { type: 'refuse', refusal: { ...a.refusal(), reason: 'another' } });
    expect(a.failures()).toEqual(['bad-signature', 'bad-signature']);
    b.deliver(UPDATE);
    c.deliver(UPDATE);
    scene.timer.fire();
    expect(await verdict(scene)).toEqual(['b', 'c']);
    expect((await scene.outcome).refusals).toEqual([]);
  });

  it('stands: an update that comes after it is not combined, and one that came before it is', async () => {
    const scene = exchangeScene({ quorum: 0.3 });
    const [a, b, c] = scene.members;
    a.refuse();
    a.deliver(UPDATE);
    b.deliver(UPDATE);
    b.refuse();
    c.refuse();
    expect(await verdict(scene)).toEqual(['b']);
    expect((await scene.outcome).refusals.map(({ site }) => site)).toEqual(['a', 'c']);
  });

  it('after a receipt, or a receipt other than the first, refunds and replaces nothing: one release was signed for', async () => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    const first = a.seal(UPDATE);
    a.announce(first);
    a.refuse();
    expect(a.failures()).toEqual(['out-of-order']);
    a.announce(first);
    a.upload(first);
    const kept = b.seal(UPDATE);
    b.announce(kept);
    b.announce(b.seal(OTHER));
    expect(b.failures()).toEqual(['hash-mismatch']);
    b.upload(kept);
    c.deliver(UPDATE);
    expect(await verdict(scene)).toEqual(['a', 'c']);
    expect((await scene.outcome).refusals).toEqual([]);
  });

  it('is not the same as a failure, after which the site’s part stays spent', async () => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    scene.hub.say('a', { type: 'failure', code: 'site-failed', message: 'the site could not train', fatal: false });
    a.refuse();
    b.deliver(UPDATE);
    c.deliver(UPDATE);
    expect(await verdict(scene)).toEqual(['b', 'c']);
    expect((await scene.outcome).refusals).toEqual([]);
    expect(scene.reported).toEqual([{ site: 'a', code: 'site-failed' }]);
  });
});
