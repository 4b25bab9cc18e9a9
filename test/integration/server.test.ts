import { expect, it, onTestFinished } from 'vitest';
import { connect, type Connection, type ConnectionEvent } from '../../client/connection.ts';
import type { HubEvent } from '../../coordinator/hub.ts';
import { startServer, type CoordinatorServer } from '../../coordinator/server.ts';
import { fromHex } from '../../shared/bytes.ts';
import { generateIdentity, type Identity } from '../../shared/crypto/keys.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { failure } from '../../shared/protocol/failure.ts';
import type { SiteMessage } from '../../shared/protocol/messages.ts';
import { STUDY } from '../support/ledger-builder.ts';
import { begunLedger } from '../support/ledger-study.ts';

/** The real server and real sockets of one process; sites `a`, `b` and `c` are enrolled. */
async function serve() {
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
  });
  onTestFinished(() => server.close());
  server.subscribe((event) => events.push(event));
  /** Sends these messages once its session is open; resolves with the first event that `wanted` names. */
  const say = (identity: Identity, messages: readonly SiteMessage[], wanted: ConnectionEvent['type']): Promise<{ readonly event: ConnectionEvent; readonly connection: Connection }> =>
    new Promise((resolve) => {
      const connection = connect({
        url: `http://127.0.0.1:${server.port}`,
        primitives,
        identity,
        study: fromHex(STUDY, 32),
        coordinatorKey: coordinator.publicKey,
        listener: (event) => {
          if (event.type === 'open') for (const message of messages) connection.send(message);
          if (event.type === wanted) resolve({ event, connection });
        },
      });
      onTestFinished(connection.close);
    });
  return { server, events, reported, say, sites };
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
