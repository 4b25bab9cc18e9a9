import { describe, expect, it } from 'vitest';
import { equalBytes, floatsToBytes, toHex } from '../../shared/bytes.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { PLAIN_CHUNK_BYTES } from '../../shared/protocol/transfer.ts';
import { exchangeScene, verdict, WEIGHTS, type ExchangeScene } from '../support/exchange-scene.ts';

const UPDATE = WEIGHTS.map((value) => value / 3);
const OTHER = WEIGHTS.map((value) => value / 5);

describe('an update', () => {
  it.each<[string, (scene: ExchangeScene) => void, string]>([
    ['that is not the one its receipt names', ({ members: [a] }) => { a.announce(a.seal(UPDATE)); a.upload(a.seal(OTHER)); }, 'hash-mismatch'],
    ['sealed for the other direction', ({ members: [a], hub }) => {
      const wrong = hub.chunks('a').map(({ sealed }) => sealed);
      a.announce(a.seal(UPDATE, { update: toHex(primitives.sha256Parts(wrong)) }));
      hub.chunk('a', { round: 7, index: 0, sealed: wrong[0]! });
    }, 'bad-seal'],
    ['of another length than the weights', ({ members: [a] }) => { a.announce(a.seal(UPDATE.slice(1))); }, 'wrong-length'],
    ['whose chunk has another length', ({ members: [a], hub }) => { a.announce(a.seal(UPDATE)); hub.chunk('a', { round: 7, index: 0, sealed: new Uint8Array(40) }); }, 'wrong-length'],
    ['with a gap', ({ members: [a], hub }) => { a.announce(a.seal(UPDATE)); hub.chunk('a', { round: 7, index: 1, sealed: new Uint8Array(40) }); }, 'out-of-order'],
    ['with a NaN', ({ members: [a] }) => { a.deliver(UPDATE.map((value, i) => (i === 5 ? NaN : value))); }, 'not-finite'],
    ['that is infinite', ({ members: [a] }) => { a.deliver(UPDATE.map((value, i) => (i === 5 ? -Infinity : value))); }, 'not-finite'],
    ['longer than the bound', ({ members: [a] }) => { a.deliver(UPDATE.map((value) => 90 * value)); }, 'norm-too-large'],
  ])('%s is refused by name and never combined; the site’s part is rejected, not refunded', async (_title, lie, code) => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    a.accept();
    lie(scene);
    expect(a.failures()).toEqual([code]);
    expect(scene.reported).toEqual([{ site: 'a', code }]);
    a.refuse();
    b.deliver(UPDATE);
    c.deliver(UPDATE);
    expect(await verdict(scene)).toEqual(['b', 'c']);
    expect((await scene.outcome).refusals).toEqual([]);
  });

  it('repeated by message, by chunk or as a whole changes nothing and is confirmed again', async () => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    const parcel = a.seal(UPDATE);
    a.announce(parcel);
    a.announce(parcel);
    a.upload(parcel);
    a.upload(parcel);
    a.announce(parcel);
    expect(a.count('stored')).toBe(2);
    expect(a.failures()).toEqual([]);
    b.deliver(UPDATE);
    c.deliver(OTHER);
    expect(await verdict(scene)).toEqual(['a', 'b', 'c']);
  });

  it('that was interrupted goes on at the first chunk that is missing', async () => {
    const weights = Float32Array.from({ length: (2 * PLAIN_CHUNK_BYTES) / 4 + 50 }, (_, i) => (i % 7) / 1e4);
    const scene = exchangeScene({ weights, quorum: 0.3 });
    const [a, b, c] = scene.members;
    const parcel = a.seal(weights);
    a.announce(parcel);
    scene.hub.chunk('a', parcel.chunks[0]!);
    scene.hub.leave('a');
    scene.hub.arrive('a');
    a.announce(parcel);
    expect(scene.hub.messages('a').filter(({ type }) => type === 'resume')).toMatchObject([{ nextChunk: 0 }, { nextChunk: 1 }]);
    scene.hub.chunk('a', parcel.chunks[1]!);
    scene.hub.chunk('a', parcel.chunks[2]!);
    b.refuse();
    c.refuse();
    const { verdict: found } = await scene.outcome;
    const update = found.type === 'aggregate' ? found.delivered[0]?.update : undefined;
    expect(equalBytes(floatsToBytes(update ?? new Float32Array(0)), floatsToBytes(weights))).toBe(true);
  });

  it('whose chunks come before its receipt, or that belongs to another round, is not taken', async () => {
    const scene = exchangeScene();
    const [a, b, c] = scene.members;
    const parcel = a.seal(UPDATE);
    a.upload(parcel);
    expect(a.failures()).toEqual(['out-of-order']);
    a.announce(parcel);
    scene.hub.chunk('a', { ...parcel.chunks[0]!, round: 6 });
    scene.hub.say('a', { type: 'accept', round: 8, roundKey: new Uint8Array(32).fill(9) });
    scene.hub.say('a', { type: 'ready', site: 'a', ledgerLength: 3 });
    expect(a.failures()).toEqual(['out-of-order', 'wrong-round', 'wrong-round', 'out-of-order']);
    a.upload(parcel);
    b.deliver(UPDATE);
    c.deliver(UPDATE);
    expect(await verdict(scene)).toEqual(['a', 'b', 'c']);
  });
});

describe('a site whose part is settled', () => {
  const weights = Float32Array.from({ length: (6 * PLAIN_CHUNK_BYTES) / 4 }, (_, i) => (i % 7) / 1e4);
  const told = ({ hub }: ExchangeScene): readonly string[] => hub.messages('a').map(({ type }) => type);

  it.each<[string, (scene: ExchangeScene) => void]>([
    ['rejected', ({ members: [a] }) => { a.announce(a.seal(weights, { study: '00'.repeat(32) })); }],
    ['delivered', ({ members: [a] }) => { a.deliver(weights); }],
  ])('is sent no more of the model: %s', (_title, settle) => {
    const scene = exchangeScene({ weights });
    const [a] = scene.members;
    a.accept();
    expect(scene.hub.chunks('a')).toHaveLength(4);
    settle(scene);
    scene.hub.say('a', { type: 'ack', round: 7, nextChunk: 4 });
    a.accept();
    expect(scene.hub.chunks('a')).toHaveLength(4);
    expect(scene.settled()).toBeUndefined();
  });

  it('is heard no more: chunks of an update that was rejected or refused are neither confirmed nor refused one by one', () => {
    const rejected = exchangeScene({ weights });
    const parcel = rejected.members[0].seal(weights);
    rejected.members[0].announce(parcel);
    rejected.hub.chunk('a', parcel.chunks[0]!);
    rejected.hub.chunk('a', { round: 7, index: 1, sealed: new Uint8Array(40) });
    const refused = exchangeScene({ weights });
    refused.members[0].refuse();
    for (const scene of [rejected, refused]) {
      const before = told(scene);
      scene.hub.chunk('a', parcel.chunks[1]!);
      scene.hub.chunk('a', parcel.chunks[2]!);
      expect(told(scene)).toEqual(before);
    }
    expect(told(rejected).slice(-2)).toEqual(['ack', 'failure']);
  });

  it('stays connected: what it did wrong in this round ends neither its session nor its part in later ones', () => {
    const scene = exchangeScene({ weights });
    const [a] = scene.members;
    a.announce(a.seal(weights, { study: '00'.repeat(32) }));
    scene.hub.chunk('a', { round: 6, index: 0, sealed: new Uint8Array(40) });
    const failures = scene.hub.messages('a').flatMap((message) => (message.type === 'failure' ? [message] : []));
    expect(failures.map(({ code, fatal }) => [code, fatal])).toEqual([['wrong-study', false], ['wrong-round', false]]);
    scene.hub.leave('a');
    scene.hub.arrive('a');
    expect(a.count('offer')).toBe(2);
  });
});
