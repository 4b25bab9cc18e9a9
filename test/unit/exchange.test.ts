import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { generateIdentity, generateRoundKeys } from '../../shared/crypto/keys.ts';
import type { LedgerMechanism, ReceiptEntry, Refusal } from '../../shared/ledger/entry.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { PLAIN_CHUNK_BYTES } from '../../shared/protocol/transfer.ts';
import { exchangeScene, verdict, WEIGHTS, type ExchangeScene } from '../support/exchange-scene.ts';
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
    const stop = new AbortController();
    stop.abort();
    const late = exchangeScene({ stop });
    expect(await verdict(late)).toBe('the coordinator was stopped');
    expect([late.hub.listeners(), late.timer.running().length]).toEqual([0, 0]);
  });

  it('listens to the coordinator’s stop while it lasts and no longer, however it ends: a long study has one listener at a time', async () => {
    const stop = new AbortController();
    const listening = (): number => getEventListeners(stop.signal, 'abort').length;
    const ends: readonly ((scene: ExchangeScene) => void)[] = [
      ({ members }) => { for (const member of members) member.deliver(UPDATE); },
      ({ members: [a, b] }) => { a.refuse(); b.refuse(); },
      ({ timer }) => { timer.fire(); },
      () => { stop.abort(); },
    ];
    for (const end of ends) {
      const scene = exchangeScene({ stop });
      expect(listening()).toBe(1);
      end(scene);
      await scene.outcome;
      expect([listening(), scene.hub.listeners(), scene.timer.running().length]).toEqual([0, 0, 0]);
    }
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

describe('an offer', () => {
  const weights = Float32Array.from({ length: (6 * PLAIN_CHUNK_BYTES) / 4 }, (_, i) => (i % 7) / 1e4);
  const key = (): Uint8Array => new Uint8Array(generateRoundKeys(primitives).publicKey);
  const accepted = (roundKey: Uint8Array) => ({ type: 'accept', round: 7, roundKey: new Uint8Array(roundKey) }) as const;

  it('that is accepted over and over is sealed and sent once, as far as the window goes', () => {
    const { hub, reported } = exchangeScene({ weights });
    const mine = key();
    for (let i = 0; i < 300; i += 1) hub.say('a', accepted(mine));
    expect(hub.chunks('a').map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    hub.say('a', { type: 'ack', round: 7, nextChunk: 2 });
    hub.say('a', accepted(mine));
    expect(hub.chunks('a').map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(reported).toEqual([]);
  });

  it('is accepted under one key: under another the model is not sealed again', () => {
    const { hub, members } = exchangeScene({ weights });
    for (let i = 0; i < 30; i += 1) hub.say('a', accepted(key()));
    expect(hub.chunks('a')).toHaveLength(4);
    expect(members[0].failures()).toEqual(Array.from({ length: 29 }, () => 'out-of-order'));
  });

  it('made again after a reconnection is accepted under the same key with the same bytes, or under a new one', () => {
    const { hub } = exchangeScene({ weights });
    const again = (): void => {
      hub.leave('a');
      hub.arrive('a');
    };
    const mine = key();
    hub.say('a', accepted(mine));
    again();
    hub.say('a', accepted(mine));
    const chunks = hub.chunks('a');
    expect(chunks.map(({ index }) => index)).toEqual([0, 1, 2, 3, 0, 1, 2, 3]);
    expect(chunks[5]?.sealed).toBe(chunks[1]?.sealed);
    again();
    hub.say('a', accepted(key()));
    expect(hub.chunks('a')[9]?.index).toBe(1);
    expect(hub.chunks('a')[9]?.sealed).not.toEqual(chunks[1]?.sealed);
  });

  it('of a site that has delivered, refused or failed in this round is accepted no more', () => {
    const { hub, members } = exchangeScene({ quorum: 0.3 });
    const [a, b] = members;
    a.deliver(UPDATE);
    b.refuse();
    for (const site of ['a', 'b']) hub.say(site, accepted(key()));
    expect(hub.chunks('a')).toEqual([]);
    expect(hub.chunks('b')).toEqual([]);
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
