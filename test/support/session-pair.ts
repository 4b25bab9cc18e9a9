import { generateIdentity, identityFromSeed, type Identity } from '../../shared/crypto/keys.ts';
import type { Primitives } from '../../shared/crypto/primitives.ts';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import { isFailure, type Failure } from '../../shared/protocol/failure.ts';
import type { Challenge, Hello, Welcome } from '../../shared/protocol/messages.ts';
import { acceptHello, acceptWelcome, answerChallenge, createChallenge, type CoordinatorSession, type SiteSession } from '../../shared/protocol/session.ts';

export interface SessionPair {
  readonly coordinator: CoordinatorSession;
  readonly site: SiteSession;
  readonly challenge: Challenge;
  readonly hello: Hello;
  readonly welcome: Welcome;
}

export interface PairInput {
  readonly coordinatorIdentity?: Identity;
  readonly siteIdentity?: Identity;
  readonly study?: Uint8Array;
  readonly software?: string;
  /** Primitives of each side: a fixed `randomBytes` makes the whole session reproducible. */
  readonly coordinatorPrimitives?: Primitives;
  readonly sitePrimitives?: Primitives;
}

/** Both ends of a session after a real handshake. */
export function openSessionPair(input: PairInput = {}): SessionPair {
  const {
    coordinatorIdentity = generateIdentity(nodePrimitives),
    siteIdentity = generateIdentity(nodePrimitives),
    study = nodePrimitives.randomBytes(32),
    software = 'test/1',
    coordinatorPrimitives = nodePrimitives,
    sitePrimitives = nodePrimitives,
  } = input;
  const coordinatorKey = coordinatorIdentity.publicKey;
  const challenge = createChallenge({ primitives: coordinatorPrimitives, software, study, coordinatorKey });
  const pending = expected(answerChallenge({ primitives: sitePrimitives, identity: siteIdentity, software, expectedStudy: study, expectedCoordinatorKey: coordinatorKey, challenge }));
  const accepted = expected(acceptHello({ primitives: coordinatorPrimitives, identity: coordinatorIdentity, challenge, hello: pending.hello }));
  const site = expected(acceptWelcome({ primitives: sitePrimitives, pending, welcome: accepted.welcome }));
  return { coordinator: accepted.session, site, challenge, hello: pending.hello, welcome: accepted.welcome };
}

/** The value, where a failure would be the test's own mistake. */
export function expected<T>(value: T | Failure): T {
  if (isFailure(value)) throw new Error(`${value.code}: ${value.message}`);
  return value;
}

/** The code of a failure, or the word for what was accepted instead. */
export function codeOf(value: unknown): string {
  return isFailure(value) ? value.code : 'accepted';
}

/** Counting bytes from `first`: keys and nonces of the examples. */
export function countingBytes(first: number, length = 32): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (first + i) & 255);
}

export function identityOf(first: number): Identity {
  return identityFromSeed(countingBytes(first));
}
