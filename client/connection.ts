import { io } from 'socket.io-client';
import type { Identity } from '../shared/crypto/keys.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { failure, isFailure, type Failure } from '../shared/protocol/failure.ts';
import type { Chunk, CoordinatorMessage, SiteMessage } from '../shared/protocol/messages.ts';
import { acceptWelcome, answerChallenge, decodePlain, encodePlain, type PendingSession, type SiteSession } from '../shared/protocol/session.ts';
import { SOFTWARE } from '../shared/protocol/software.ts';

const EVENT = 'antiphon';

/** Delays double from the first to the most; each is drawn within the jitter, so that sites do not come back all at once. */
const BACK_OFF = { firstMs: 200, mostMs: 10_000, jitter: 0.5 } as const;

/** The longest that the next attempt may wait after so many failures before this one. */
export function longestRetryMs(failuresBefore: number): number {
  return Math.min(BACK_OFF.mostMs, BACK_OFF.firstMs * 2 ** failuresBefore * (1 + BACK_OFF.jitter));
}

export type ConnectionEvent =
  /** A session is open (again): nothing sent in an earlier one counts. */
  | { readonly type: 'open' }
  | { readonly type: 'message'; readonly message: CoordinatorMessage }
  | { readonly type: 'chunk'; readonly chunk: Chunk }
  /** Lost, or not reached: tried again by itself, after at most `retryWithinMs`. */
  | { readonly type: 'closed'; readonly reason: string; readonly retryWithinMs: number }
  /** This coordinator can never be spoken to: wrong key, study or version, or it dismissed us. */
  | { readonly type: 'refused'; readonly problem: Failure };

export interface Connection {
  /** Dropped while no session is open; the caller's state is reconciled on `open`. */
  readonly send: (message: SiteMessage) => void;
  readonly sendChunk: (chunk: Chunk) => void;
  readonly isOpen: () => boolean;
  readonly close: () => void;
}

export interface ConnectionInput {
  readonly url: string;
  readonly primitives: Primitives;
  readonly identity: Identity;
  readonly study: Uint8Array;
  readonly coordinatorKey: Uint8Array;
  readonly listener: (event: ConnectionEvent) => void;
}

/** The socket.io-client adapter: outbound websocket only, reconnects by itself, a new authenticated session each time. */
export function connect(input: ConnectionInput): Connection {
  const { url, primitives, identity, listener } = input;
  const socket = io(url, { transports: ['websocket'], reconnectionDelay: BACK_OFF.firstMs, reconnectionDelayMax: BACK_OFF.mostMs, randomizationFactor: BACK_OFF.jitter, forceNew: true });
  let failures = 0;
  /** Whatever ends afterwards was ended here, and is not tried again. */
  let isClosed = false;
  let pending: PendingSession | undefined;
  let session: SiteSession | undefined;

  const refuse = (problem: Failure): void => {
    session = undefined;
    listener({ type: 'refused', problem });
  };
  const lost = (reason: string): void => {
    const retryWithinMs = longestRetryMs(failures);
    failures += 1;
    listener({ type: 'closed', reason, retryWithinMs });
  };
  const shake = (frame: Uint8Array): void => {
    const message = decodePlain('coordinator', frame);
    if (isFailure(message)) return void refuse(message);
    if (message.type === 'failure') return void refuse(failureOf(message));
    if (message.type === 'challenge' && pending === undefined) {
      const answer = answerChallenge({ primitives, identity, software: SOFTWARE, expectedStudy: input.study, expectedCoordinatorKey: input.coordinatorKey, challenge: message });
      if (isFailure(answer)) return void refuse(answer);
      pending = answer;
      socket.emit(EVENT, encodePlain(answer.hello));
    } else if (message.type === 'welcome' && pending !== undefined) {
      const opened = acceptWelcome({ primitives, pending, welcome: message });
      if (isFailure(opened)) return void refuse(opened);
      session = opened;
      listener({ type: 'open' });
    } else {
      refuse(failure('out-of-order', `${message.type} does not belong into a handshake`));
    }
  };

  socket.on('connect', () => {
    failures = 0;
    pending = undefined;
    session = undefined;
  });
  socket.on(EVENT, (payload: unknown) => {
    const frame = payload instanceof Uint8Array ? payload : undefined;
    if (frame === undefined) return void refuse(failure('malformed', 'expected one binary frame'));
    if (session === undefined) return void shake(frame);
    const opened = session.open(frame);
    if (isFailure(opened)) return void refuse(opened);
    if (opened.type === 'message' && opened.message.type === 'failure' && opened.message.fatal) return void refuse(failureOf(opened.message));
    listener(opened);
  });
  socket.on('disconnect', (reason) => {
    pending = undefined;
    if (session === undefined) return;
    session = undefined;
    if (!isClosed) lost(reason);
  });
  socket.on('connect_error', (error) => {
    lost(reasonOf(error));
  });

  return {
    send: (message) => {
      if (session !== undefined) socket.emit(EVENT, session.sealMessage(message));
    },
    sendChunk: (chunk) => {
      if (session !== undefined) socket.emit(EVENT, session.sealChunk(chunk));
    },
    isOpen: () => session !== undefined,
    close: () => {
      isClosed = true;
      socket.disconnect();
    },
  };
}

/** The transport's error says only that it is one; what the socket said lies inside. */
function reasonOf(error: Error): string {
  const inner: unknown = 'description' in error ? error.description : undefined;
  return typeof inner === 'object' && inner !== null && 'message' in inner && typeof inner.message === 'string' && inner.message !== '' ? inner.message : error.message;
}

function failureOf(message: { readonly code: string; readonly message: string }): Failure {
  return { type: 'failure', code: message.code as Failure['code'], message: message.message };
}
