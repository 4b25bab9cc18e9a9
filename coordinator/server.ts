import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Server, type Socket } from 'socket.io';
import { toHex } from '../shared/bytes.ts';
import type { Identity } from '../shared/crypto/keys.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { AntiphonError } from '../shared/errors.ts';
import type { EnrolEntry } from '../shared/ledger/entry.ts';
import { failure, isFailure, type Failure } from '../shared/protocol/failure.ts';
import { LIMITS, type Chunk, type CoordinatorMessage, type SiteMessage } from '../shared/protocol/messages.ts';
import { acceptHello, createChallenge, decodePlain, encodePlain, type CoordinatorSession } from '../shared/protocol/session.ts';
import { SOFTWARE } from '../shared/protocol/software.ts';
import type { Hub, HubEvent } from './hub.ts';
import { ledgerMessages } from './ledger-feed.ts';
import { createOutgoing, type Outgoing } from './outgoing.ts';

/** The one socket.io event; its argument is one frame. */
const EVENT = 'antiphon';
/** So long a peer may take to say hello, then to enrol or to be ready: nobody keeps a socket for nothing. */
const PATIENCE = { helloMs: 20_000, joinMs: 60_000 };

export interface ServerInput {
  readonly host: string;
  readonly port: number;
  readonly primitives: Primitives;
  readonly identity: Identity;
  readonly study: Uint8Array;
  /** The site of an enrolled key (hex), or undefined. */
  readonly siteOfKey: (key: string) => EnrolEntry | undefined;
  readonly enrol: (siteKey: Uint8Array, request: Extract<SiteMessage, { type: 'enrol' }>) => Promise<{ readonly study: string } | Failure>;
  readonly cosigned: (site: string, cosigned: { readonly size: number; readonly cosignature: string }) => Failure | undefined;
  /** Plain text for anyone who asks, by path, in pieces where it is long, and undefined where there is none: the ledger holds nothing that is not public. */
  readonly published: (path: string) => string | Iterable<string> | undefined;
  readonly report: (problem: Failure, site: string | undefined) => void;
  readonly patience?: typeof PATIENCE;
}

export interface CoordinatorServer extends Hub {
  readonly port: number;
  /** Sends the ledger's lines that the site has not been sent yet; where there are none, the last one, so that it sees how long the ledger is. */
  readonly feedLedger: (site: string, lines: readonly string[]) => void;
  readonly close: () => Promise<void>;
}

interface Connection {
  readonly socket: Socket;
  readonly session: CoordinatorSession;
  readonly siteKey: Uint8Array;
  readonly outgoing: Outgoing;
  site: string | undefined;
  hasEnrolled: boolean;
  ledgerSent: number;
}

/** The socket.io adapter: websocket only, no compression, one event of bytes. Every decision is made elsewhere. */
export async function startServer(input: ServerInput): Promise<CoordinatorServer> {
  const { helloMs, joinMs } = input.patience ?? PATIENCE;
  const http = createServer((request, response) => void answer(input, request, response));
  const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false, maxHttpBufferSize: LIMITS.frameBytes, serveClient: false });
  const connections = new Map<string, Connection>();
  const listeners = new Set<(event: HubEvent) => void>();
  const publish = (event: HubEvent): void => {
    for (const listener of [...listeners]) listener(event);
  };

  const dismiss = (socket: Socket, problem: Failure, session?: CoordinatorSession): void => {
    input.report(problem, undefined);
    const message: CoordinatorMessage = { type: 'failure', code: problem.code, message: problem.message, fatal: true };
    socket.emit(EVENT, session === undefined ? encodePlain(message) : session.sealMessage(message));
    socket.disconnect(true);
  };

  io.on('connection', (socket) => {
    const challenge = createChallenge({ primitives: input.primitives, software: SOFTWARE, study: input.study, coordinatorKey: input.identity.publicKey });
    let connection: Connection | undefined;
    let timer = setTimeout(() => {
      dismiss(socket, failure('out-of-order', `expected a hello within ${helloMs / 1000} s`));
    }, helloMs);

    const greet = (frame: Uint8Array): void => {
      const hello = decodePlain('site', frame);
      if (isFailure(hello)) return void dismiss(socket, hello);
      if (hello.type !== 'hello') return void dismiss(socket, failure('out-of-order', `expected a hello, found ${hello.type}`));
      const accepted = acceptHello({ primitives: input.primitives, identity: input.identity, challenge, hello });
      if (isFailure(accepted)) return void dismiss(socket, accepted);
      const { session, siteKey } = accepted;
      const outgoing = createOutgoing((sealed) => void socket.emit(EVENT, sealed));
      socket.conn.transport.on('drain', outgoing.drained);
      const opened: Connection = { socket, session, siteKey, outgoing, site: undefined, hasEnrolled: false, ledgerSent: 0 };
      connection = opened;
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (opened.site === undefined && !opened.hasEnrolled) dismiss(socket, failure('not-enrolled', `expected this peer to enrol or to be ready within ${joinMs / 1000} s`), session);
      }, joinMs);
      socket.emit(EVENT, encodePlain(accepted.welcome));
    };

    socket.on(EVENT, (payload: unknown) => {
      if (!(payload instanceof Uint8Array)) return void dismiss(socket, failure('malformed', 'expected one binary frame'));
      if (connection === undefined) return void greet(payload);
      const opened = connection.session.open(payload);
      if (isFailure(opened)) return void dismiss(socket, opened, connection.session);
      if (opened.type === 'chunk') {
        if (connection.site === undefined) return void dismiss(socket, failure('not-enrolled', 'expected `ready` before any chunk'), connection.session);
        return void publish({ type: 'chunk', site: connection.site, chunk: opened.chunk });
      }
      handle(connection, opened.message);
    });
    socket.on('disconnect', () => {
      clearTimeout(timer);
      const site = connection?.site;
      if (site !== undefined && connections.get(site) === connection) {
        connections.delete(site);
        publish({ type: 'closed', site });
      }
    });
    socket.emit(EVENT, encodePlain(challenge));
  });

  const handle = (connection: Connection, message: SiteMessage): void => {
    const { socket, session, siteKey } = connection;
    if (message.type === 'enrol') {
      void input.enrol(siteKey, message).then(
        (answer) => {
          if (isFailure(answer)) dismiss(socket, answer, session);
          else {
            connection.hasEnrolled = true;
            post(connection, [{ type: 'enrolled', study: answer.study }]);
          }
        },
        (error: unknown) => {
          dismiss(socket, failure('ended', `the coordinator could not record the enrolment: ${error instanceof Error ? error.message : 'unknown'}`), session);
        },
      );
      return;
    }
    const enrolled = input.siteOfKey(toHex(siteKey));
    if (enrolled === undefined) return void dismiss(socket, failure('not-enrolled', 'this key is not enrolled in the study; run `npx antiphon site enroll` with an invite'), session);
    if (message.type === 'ready') {
      if (message.site !== enrolled.site) return void dismiss(socket, failure('wrong-site', `this key is enrolled as "${enrolled.site}", found "${message.site}"`), session);
      // Said again in one session it changes nothing: what was sent is on its way.
      if (connection.site !== undefined) return;
      const former = connections.get(enrolled.site);
      connection.site = enrolled.site;
      connection.ledgerSent = message.ledgerLength;
      connections.set(enrolled.site, connection);
      if (former !== undefined && former !== connection) former.socket.disconnect(true);
      publish({ type: 'ready', site: enrolled.site, ledgerLength: message.ledgerLength });
      return;
    }
    if (message.type === 'cosign' && connection.site !== undefined) {
      const problem = input.cosigned(connection.site, message);
      if (problem !== undefined) dismiss(socket, problem, session);
      return;
    }
    if (connection.site === undefined) return void dismiss(socket, failure('out-of-order', `expected \`ready\` first, found ${message.type}`), session);
    publish({ type: 'message', site: connection.site, message });
  };

  const post = (connection: Connection, messages: Iterable<CoordinatorMessage>): void => {
    const { session } = connection;
    push(connection, (function* () {
      for (const message of messages) yield session.sealMessage(message);
    })());
  };
  const push = ({ socket, session, outgoing }: Connection, frames: Iterable<Uint8Array>): void => {
    if (!outgoing.push(frames)) dismiss(socket, failure('too-large', 'more messages wait for this peer than a round has: it does not read them'), session);
  };

  await new Promise<void>((resolve, reject) => {
    http.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new AntiphonError('port-in-use', `port ${input.port} of ${input.host} is in use; stop what holds it, or choose another with --port (0 picks a free one)`, { cause: error })
          : new AntiphonError('network-unreachable', `cannot listen on ${input.host}:${input.port}: ${error.message}`, { cause: error }),
      );
    });
    http.listen(input.port, input.host, resolve);
  });

  return {
    port: (http.address() as AddressInfo).port,
    ready: () => new Set(connections.keys()),
    send: (site, message) => {
      const connection = connections.get(site);
      if (connection !== undefined) post(connection, [message]);
    },
    sendChunk: (site: string, chunk: Chunk) => {
      const connection = connections.get(site);
      if (connection === undefined) return;
      const { session } = connection;
      push(connection, (function* () {
        yield session.sealChunk(chunk);
      })());
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    feedLedger: (site, lines) => {
      const connection = connections.get(site);
      if (connection === undefined) return;
      post(connection, ledgerMessages(lines, Math.max(0, Math.min(connection.ledgerSent, lines.length - 1))));
      connection.ledgerSent = Math.max(connection.ledgerSent, lines.length);
    },
    close: () => new Promise((resolve) => void io.close(() => {
      resolve();
    })),
  };
}

const HELP = 'This is an Antiphon coordinator; sites connect with `npx antiphon site start`. Published: /ledger.jsonl /witnesses.jsonl /head /line/N /inclusion/N/SIZE /consistency/FROM/TO /health\n';

/** One HTTP request; whatever goes wrong with it is its own affair. */
async function answer({ published }: ServerInput, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const begin = (status: number): void => {
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  };
  try {
    const content = request.method === 'GET' ? published(request.url ?? '') : undefined;
    begin(content === undefined ? 404 : 200);
    if (content === undefined || typeof content === 'string') response.end(content ?? HELP);
    // No faster than it is read.
    else await pipeline(Readable.from(content), response);
  } catch {
    if (!response.headersSent) begin(500);
    response.end();
  }
}
