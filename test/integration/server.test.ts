import { get } from 'node:http';
import { io } from 'socket.io-client';
import { expect, it, onTestFinished } from 'vitest';
import { connect, type Connection, type ConnectionEvent } from '../../client/connection.ts';
import type { HubEvent } from '../../coordinator/hub.ts';
import { linePieces } from '../../coordinator/ledger-feed.ts';
import { startServer, type CoordinatorServer, type ServerInput } from '../../coordinator/server.ts';
import { fromHex } from '../../shared/bytes.ts';
import { generateIdentity, type Identity } from '../../shared/crypto/keys.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { failure } from '../../shared/protocol/failure.ts';
import type { SiteMessage } from '../../shared/protocol/messages.ts';
import { STUDY } from '../support/ledger-builder.ts';
import { begunLedger } from '../support/ledger-study.ts';

/** The real server and real sockets of one process; sites `a`, `b` and `c` are enrolled. */
async function serve(change: Partial<ServerInput> = {}) {
  const { state, sites, coordinator, lines } = begunLedger();
  const events: HubEvent[] = [];
  const reported: string[] = [];
  const server: CoordinatorServer = await startServer({
    host: '127.0.0.1',
    port: 0,
    primitives,
    identity: coordinator,
    study: fromHex(STUDY, 32),
    siteOfKey: (key) => [...state.sites.values()].find((site) => site.key === key),
    enrol: () => Promise.resolve(failure('invite-unknown', 'none was issued')),
    cosigned: () => undefined,
    published: (path) => (path === '/ledger.jsonl' ? lines.map((line) => `${line}\n`).join('') : undefined),
    report: ({ code }) => reported.push(code),
    ...change,
  });
  onTestFinished(() => server.close());
  server.subscribe((event) => events.push(event));
  const open = (identity: Identity, listener: (event: ConnectionEvent, connection: Connection) => void): Connection => {
    const connection = connect({ url: `http://127.0.0.1:${server.port}`, primitives, identity, study: fromHex(STUDY, 32), coordinatorKey: coordinator.publicKey, listener: (event) => { listener(event, connection); } });
    onTestFinished(connection.close);
    return connection;
  };
  /** Sends these messages once its session is open; resolves with the first event that `wanted` names. */
  const say = (identity: Identity, messages: readonly SiteMessage[], wanted: ConnectionEvent['type']): Promise<{ readonly event: ConnectionEvent; readonly connection: Connection }> =>
    new Promise((resolve) => {
      open(identity, (event, connection) => {
        if (event.type === 'open') for (const message of messages) connection.send(message);
        if (event.type === wanted) resolve({ event, connection });
      });
    });
  return { server, events, reported, open, say, sites };
}

const ready = (site: string): SiteMessage => ({ type: 'ready', site, ledgerLength: 0 });
const refused = (code: string) => ({ type: 'refused', problem: expect.objectContaining({ code }) as unknown });

it('a site is known by its key alone: under another name, without enrolment or before `ready` it is dismissed and takes part in nothing', async () => {
  const { server, events, reported, say, sites } = await serve();
  const a = sites.get('a')!;
  expect((await say(a, [ready('b')], 'refused')).event).toEqual(refused('wrong-site'));
  expect((await say(generateIdentity(primitives), [ready('a')], 'refused')).event).toEqual(refused('not-enrolled'));
  expect((await say(a, [{ type: 'ack', round: 3, nextChunk: 2 }], 'refused')).event).toEqual(refused('out-of-order'));
  expect(server.ready()).toEqual(new Set());
  expect(events).toEqual([]);
  expect(reported).toEqual(['wrong-site', 'not-enrolled', 'out-of-order']);
});

it('a site that is ready takes part under its own name, and its newer session replaces the older one', async () => {
  const { server, events, say, sites } = await serve();
  const a = sites.get('a')!;
  const arrived = new Promise<void>((resolve) => {
    server.subscribe((event) => {
      if (event.type === 'ready') resolve();
      if (event.type === 'message') server.send(event.site, { type: 'stored', round: 3 });
    });
  });
  const replaced = say(a, [ready('a')], 'closed');
  await arrived;
  const { event } = await say(a, [ready('a'), { type: 'ack', round: 3, nextChunk: 2 }], 'message');
  expect(event).toEqual({ type: 'message', message: { type: 'stored', round: 3 } });
  expect((await replaced).event.type).toBe('closed');
  expect(events.map(({ type, site }) => `${type} ${site}`)).toEqual(['ready a', 'ready a', 'message a']);
  expect(server.ready()).toEqual(new Set(['a']));
});

it('whoever has said hello and then neither enrols nor is ready is let go, site or stranger', async () => {
  const { reported, say, sites } = await serve({ patience: { helloMs: 20_000, joinMs: 40 } });
  expect((await say(generateIdentity(primitives), [], 'refused')).event).toEqual(refused('not-enrolled'));
  expect((await say(sites.get('a')!, [], 'refused')).event).toEqual(refused('not-enrolled'));
  expect(reported).toEqual(['not-enrolled', 'not-enrolled']);
});

it('a peer that says nothing at all is let go sooner', async () => {
  const { server, reported } = await serve({ patience: { helloMs: 40, joinMs: 60_000 } });
  const socket = io(`http://127.0.0.1:${server.port}`, { transports: ['websocket'], forceNew: true, reconnection: false });
  await new Promise<void>((resolve) => socket.on('disconnect', () => { resolve(); }));
  expect(reported).toEqual(['out-of-order']);
});

it('`ready` said again in one session sends nothing again; in a new session it does', async () => {
  const { server, events, open, sites } = await serve();
  const a = sites.get('a')!;
  server.subscribe((event) => {
    if (event.type === 'ready') server.feedLedger(event.site, Array.from({ length: 1203 }, (_, i) => `line ${i}`));
    if (event.type === 'message') server.send(event.site, { type: 'stored', round: 3 });
  });
  const received = (repeats: number): Promise<readonly string[]> => {
    const types: string[] = [];
    return new Promise((resolve) => {
      open(a, (event, connection) => {
        if (event.type === 'open') for (const message of [...Array.from({ length: repeats }, () => ready('a')), { type: 'ack', round: 3, nextChunk: 2 } as const]) connection.send(message);
        if (event.type !== 'message') return;
        types.push(event.message.type);
        if (event.message.type === 'stored') resolve(types);
      });
    });
  };
  expect(await received(200)).toEqual(['ledger', 'ledger', 'ledger', 'stored']);
  expect(await received(2)).toEqual(['ledger', 'ledger', 'ledger', 'stored']);
  expect(events.filter(({ type }) => type === 'ready')).toHaveLength(2);
});

it('a ledger longer than any string is published no faster than it is read, and a fault in publishing ends one request', async () => {
  // 540 MB, of one string shared; a string holds less than that.
  const lines = new Array<string>(771_000).fill('x'.repeat(700));
  let pieces = 0;
  const counted = function* (): Generator<string> {
    for (const piece of linePieces(lines)) {
      pieces += 1;
      yield piece;
    }
  };
  const broken = function* (): Generator<string> {
    yield 'begun';
    throw new RangeError('Invalid string length');
  };
  const { server } = await serve({
    published: (path) => {
      if (path === '/fault') throw new RangeError('Invalid string length');
      if (path === '/break') return broken();
      return path === '/health' ? 'ok\n' : counted();
    },
  });
  const at = (path: string): string => `http://127.0.0.1:${server.port}${path}`;
  expect((await fetch(at('/fault'))).status).toBe(500);
  await expect(fetch(at('/break')).then((response) => response.text())).rejects.toThrow();
  const first = await new Promise<number>((resolve) => {
    get(at('/ledger.jsonl'), (response) => {
      response.once('data', (chunk: Buffer) => {
        response.pause();
        expect(response.statusCode).toBe(200);
        resolve(chunk.length);
      });
      onTestFinished(() => void response.destroy());
    });
  });
  expect(first).toBeGreaterThan(1000);
  expect(await (await fetch(at('/health'))).text()).toBe('ok\n');
  // What the buffers on the way hold; all of it would be 8200 pieces.
  expect(pieces).toBeLessThan(1000);
});

it('a long ledger is sealed as a site reads it, not before, and reaches it whole', async () => {
  const { server, open, sites } = await serve();
  let cut = 0;
  const lines = Object.assign(new Array<string>(20_000).fill('x'.repeat(7000)), {
    slice(this: string[], from: number, to: number) {
      cut += 1;
      return Array.prototype.slice.call(this, from, to) as string[];
    },
  });
  let ahead = 0;
  server.subscribe((event) => {
    if (event.type !== 'ready') return;
    server.feedLedger(event.site, lines);
    server.send(event.site, { type: 'stored', round: 3 });
    ahead = cut;
  });
  const heard = await new Promise<number>((resolve) => {
    let count = 0;
    open(sites.get('a')!, (event, connection) => {
      if (event.type === 'open') connection.send(ready('a'));
      if (event.type !== 'message') return;
      if (event.message.type === 'ledger') count += event.message.lines.length;
      if (event.message.type === 'stored') resolve(count);
    });
  });
  expect(heard).toBe(20_000);
  expect(ahead).toBe(1);
  expect(cut).toBe(40);
});
