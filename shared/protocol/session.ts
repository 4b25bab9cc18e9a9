import { concatBytes, equalBytes, toHex } from '../bytes.ts';
import { lengthPrefixed, uint32 } from '../crypto/framing.ts';
import type { Identity } from '../crypto/keys.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { signDomain, verifyDomain } from '../crypto/signature.ts';
import { decodeCoordinatorMessage, decodeSiteMessage, encodeMessage } from './codec.ts';
import { failure, isFailure, type Failure } from './failure.ts';
import { LIMITS, PROTOCOL_VERSION, type Challenge, type Chunk, type CoordinatorMessage, type Hello, type SiteMessage, type Welcome } from './messages.ts';

/**
 * Frames (shared/spec/protocol.md, "Frames"). First byte: the kind.
 *   0x01 plain:  message                                        before the session is open
 *   0x02 signed: sequence(4) signature(64) message
 *   0x03 chunk:  sequence(4) round(4) index(4) sealed bytes      authenticated by its AEAD tag
 * Sequence numbers start at 0 in each direction and count every frame of an open session.
 */
const KIND = { plain: 1, signed: 2, chunk: 3 } as const;

type Role = 'coordinator' | 'site';

export interface Session<In, Out> {
  readonly sealMessage: (message: Out) => Uint8Array;
  readonly sealChunk: (chunk: Chunk) => Uint8Array;
  readonly open: (frame: Uint8Array) => { readonly type: 'message'; readonly message: In } | { readonly type: 'chunk'; readonly chunk: Chunk } | Failure;
}
export type CoordinatorSession = Session<SiteMessage, CoordinatorMessage>;
export type SiteSession = Session<CoordinatorMessage, SiteMessage>;

/* ---- before the session is open ---- */

export function encodePlain(message: SiteMessage | CoordinatorMessage): Uint8Array {
  return concatBytes(new Uint8Array([KIND.plain]), encodeMessage(message));
}

export function decodePlain<T extends 'site' | 'coordinator'>(from: T, frame: Uint8Array): (T extends 'site' ? SiteMessage : CoordinatorMessage) | Failure;
export function decodePlain(from: Role, frame: Uint8Array): SiteMessage | CoordinatorMessage | Failure {
  if (frame[0] !== KIND.plain) return failure('out-of-order', 'expected a handshake message, found another frame');
  const body = frame.subarray(1);
  return from === 'site' ? decodeSiteMessage(body) : decodeCoordinatorMessage(body);
}

export function createChallenge(input: { readonly primitives: Primitives; readonly software: string; readonly study: Uint8Array; readonly coordinatorKey: Uint8Array }): Challenge {
  const { primitives, software, study, coordinatorKey } = input;
  return { type: 'challenge', version: PROTOCOL_VERSION, software, study: new Uint8Array(study), coordinatorKey: new Uint8Array(coordinatorKey), nonce: new Uint8Array(primitives.randomBytes(32)) };
}

/** Both sides sign the same facts, each in its own role. */
function transcript(challenge: Challenge, hello: Pick<Hello, 'siteKey' | 'nonce'>): Uint8Array {
  return lengthPrefixed(PROTOCOL_VERSION, challenge.study, challenge.coordinatorKey, hello.siteKey, challenge.nonce, hello.nonce);
}

function roleStatement(role: Role, facts: Uint8Array): Uint8Array {
  return lengthPrefixed(role, facts);
}

/** What a site keeps between its hello and the welcome. */
export interface PendingSession {
  readonly hello: Hello;
  readonly facts: Uint8Array;
  readonly coordinatorKey: Uint8Array;
  readonly identity: Identity;
}

/** The site's answer; refuses a coordinator of another version, key or study before it says anything about itself. */
export function answerChallenge(input: {
  readonly primitives: Primitives;
  readonly identity: Identity;
  readonly software: string;
  readonly expectedStudy: Uint8Array;
  readonly expectedCoordinatorKey: Uint8Array;
  readonly challenge: Challenge;
}): PendingSession | Failure {
  const { primitives, identity, software, expectedStudy, expectedCoordinatorKey, challenge } = input;
  if (!equalBytes(challenge.coordinatorKey, expectedCoordinatorKey)) {
    return failure('wrong-key', `the coordinator at this address has the key ${toHex(challenge.coordinatorKey).slice(0, 16)}..., expected ${toHex(expectedCoordinatorKey).slice(0, 16)}...: it is not the one that issued the invite`);
  }
  if (!equalBytes(challenge.study, expectedStudy)) return failure('wrong-study', 'the coordinator at this address runs another study');
  const draft = { siteKey: new Uint8Array(identity.publicKey), nonce: new Uint8Array(primitives.randomBytes(32)) };
  const facts = transcript(challenge, draft);
  const signature = signDomain({ primitives, domain: 'session', message: roleStatement('site', facts), secretKey: identity.secretKey });
  const hello: Hello = { type: 'hello', version: PROTOCOL_VERSION, software, ...draft, signature: new Uint8Array(signature) };
  return { hello, facts, coordinatorKey: challenge.coordinatorKey, identity };
}

export function acceptHello(input: { readonly primitives: Primitives; readonly identity: Identity; readonly challenge: Challenge; readonly hello: Hello }):
  | { readonly welcome: Welcome; readonly session: CoordinatorSession; readonly siteKey: Uint8Array }
  | Failure {
  const { primitives, identity, challenge, hello } = input;
  const facts = transcript(challenge, hello);
  if (!verifyDomain({ primitives, domain: 'session', message: roleStatement('site', facts), signature: hello.signature, publicKey: hello.siteKey })) {
    return failure('bad-signature', 'the hello is not signed by the key it names');
  }
  const signature = signDomain({ primitives, domain: 'session', message: roleStatement('coordinator', facts), secretKey: identity.secretKey });
  const session = createSession({ primitives, role: 'coordinator', id: primitives.sha256(facts), secretKey: identity.secretKey, peerKey: hello.siteKey, decode: decodeSiteMessage });
  return { welcome: { type: 'welcome', signature: new Uint8Array(signature) }, session, siteKey: hello.siteKey };
}

export function acceptWelcome(input: { readonly primitives: Primitives; readonly pending: PendingSession; readonly welcome: Welcome }): SiteSession | Failure {
  const { primitives, pending, welcome } = input;
  const { facts, coordinatorKey, identity } = pending;
  if (!verifyDomain({ primitives, domain: 'session', message: roleStatement('coordinator', facts), signature: welcome.signature, publicKey: coordinatorKey })) {
    return failure('bad-signature', 'the welcome is not signed by the coordinator of the invite');
  }
  return createSession({ primitives, role: 'site', id: primitives.sha256(facts), secretKey: identity.secretKey, peerKey: coordinatorKey, decode: decodeCoordinatorMessage });
}

/* ---- the open session ---- */

interface SessionInput<In> {
  readonly primitives: Primitives;
  readonly role: Role;
  readonly id: Uint8Array;
  readonly secretKey: Uint8Array;
  readonly peerKey: Uint8Array;
  readonly decode: (bytes: Uint8Array) => In | Failure;
}

function createSession<In, Out extends SiteMessage | CoordinatorMessage>(input: SessionInput<In>): Session<In, Out> {
  const { primitives, role, id, secretKey, peerKey, decode } = input;
  const peer: Role = role === 'site' ? 'coordinator' : 'site';
  let sent = 0;
  let received = 0;
  const statement = (sender: Role, sequence: number, body: Uint8Array): Uint8Array => lengthPrefixed(id, sender, sequence, body);

  const openSigned = (frame: Uint8Array): In | Failure => {
    const signature = frame.subarray(5, 69);
    const body = frame.subarray(69);
    if (!verifyDomain({ primitives, domain: 'frame', message: statement(peer, received, body), signature, publicKey: peerKey })) {
      return failure('bad-signature', 'a frame is not signed for this session and place');
    }
    return decode(body);
  };
  return {
    sealMessage: (message) => {
      const body = encodeMessage(message);
      const signature = signDomain({ primitives, domain: 'frame', message: statement(role, sent, body), secretKey });
      return concatBytes(new Uint8Array([KIND.signed]), uint32(sent++), signature, body);
    },
    sealChunk: ({ round, index, sealed }) => concatBytes(new Uint8Array([KIND.chunk]), uint32(sent++), uint32(round), uint32(index), sealed),
    open: (frame) => {
      const kind = frame[0];
      if (frame.length > LIMITS.frameBytes) return failure('too-large', `expected at most ${LIMITS.frameBytes} bytes in a frame, found ${frame.length}`);
      if ((kind !== KIND.signed || frame.length < 70) && (kind !== KIND.chunk || frame.length < 14)) return failure('malformed', 'expected a signed message or a chunk, found other bytes');
      const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
      const sequence = view.getUint32(1, false);
      if (sequence !== received) return failure('replayed', `expected frame ${received} of this session, found ${sequence}: repeated, lost or reordered`);
      if (kind === KIND.chunk) {
        received += 1;
        return { type: 'chunk', chunk: { round: view.getUint32(5, false), index: view.getUint32(9, false), sealed: frame.subarray(13) } };
      }
      const message = openSigned(frame);
      if (isFailure(message)) return message;
      received += 1;
      return { type: 'message', message };
    },
  };
}
