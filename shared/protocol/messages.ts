import { z } from 'zod';
import { isWithin, MAX_LINE_BYTES, MAX_STUDY_BYTES } from '../lengths.ts';
import { refusalSchema, receiptSchema } from '../ledger/entry.ts';

/**
 * Every message of the wire protocol, version 1 (bytes, order and failures: shared/spec/protocol.md). Control messages
 * travel in signed frames, chunks in frames of their own whose bytes are sealed (AES-256-GCM) under the round's key.
 */
export const PROTOCOL_VERSION = 1;

/** Ceilings on what a peer may declare, checked before anything is allocated. */
export const LIMITS = {
  /** Sealed bytes per chunk. */
  chunkBytes: 512 * 1024,
  /** Chunks in flight. */
  window: 4,
  /** Bytes of one model or update: 64 million weights. */
  transferBytes: 256 * 1024 * 1024,
  /** Bytes of one frame; socket.io's own cap is set to this. */
  frameBytes: 8 * 1024 * 1024,
  /** Ledger lines per message. */
  ledgerLines: 500,
  /** UTF-8 bytes of the lines of one message: one line, however long, always fits. */
  ledgerBytes: MAX_LINE_BYTES,
} as const;

const bytes = (length: number) => z.instanceof(Uint8Array).refine((value) => value.length === length, `expected ${length} bytes`);
const text = (limit: number) => z.string().refine((value) => isWithin(value, limit), `expected at most ${limit} bytes of text`);
const hash = bytes(32);
const key = bytes(32);
const signature = bytes(64);
const name = z.string().min(1).max(64);
const natural = z.int().min(0).max(2 ** 31 - 1);
const version = z.int().min(0).max(65_535);

/* ---- the first three messages of a session establish who speaks; they carry their own signatures ---- */

/** coordinator -> site, at once on connection. */
export const challengeSchema = z.strictObject({
  type: z.literal('challenge'),
  version,
  software: z.string().max(64),
  study: hash,
  coordinatorKey: key,
  nonce: bytes(32),
});
/** site -> coordinator; signature (domain `session`) over role, both nonces, study and both keys. */
export const helloSchema = z.strictObject({
  type: z.literal('hello'),
  version,
  software: z.string().max(64),
  siteKey: key,
  nonce: bytes(32),
  signature,
});
/** coordinator -> site: the same transcript signed by the coordinator; the session is open. */
export const welcomeSchema = z.strictObject({ type: z.literal('welcome'), signature });

/* ---- site -> coordinator ---- */

export const enrolRequestSchema = z.strictObject({
  type: z.literal('enrol'),
  inviteSecret: bytes(32),
  site: name,
  modality: name,
  disjointFrom: z.array(name).max(4000),
  /** Said on purpose: the site cannot say that its patients are nowhere else. */
  mayOverlap: z.boolean(),
  /** Over the ENROL body of the ledger (domain `enrol`). */
  signature,
});
/** The site is ready for rounds and knows the ledger up to `ledgerLength`. */
export const readySchema = z.strictObject({ type: z.literal('ready'), site: name, ledgerLength: natural });
/** Answer to an offer: the site will train; its fresh X25519 key for this round. */
export const acceptSchema = z.strictObject({ type: z.literal('accept'), round: natural, roundKey: key });
export const refuseSchema = z.strictObject({ type: z.literal('refuse'), refusal: refusalSchema });
/** The update is staged; asks where to continue. Sent again after every reconnection until `stored`. */
export const updateSchema = z.strictObject({
  type: z.literal('update'),
  roundKey: key,
  totalBytes: z.int().min(1).max(LIMITS.transferBytes),
  receipt: receiptSchema,
});
export const ackSchema = z.strictObject({ type: z.literal('ack'), round: natural, nextChunk: natural });

/** The site has verified the ledger up to the head over its first `size` lines: its signature line of that C2SP note. */
export const cosignSchema = z.strictObject({ type: z.literal('cosign'), size: natural, cosignature: z.string().max(1024) });

/* ---- coordinator -> site ---- */

/** The study as canonical JSON, sent on enrolment. */
export const enrolledSchema = z.strictObject({ type: z.literal('enrolled'), study: text(MAX_STUDY_BYTES) });
/** Ledger lines from index `from` on, in order, without the newline; where there is nothing new, the last one. The last line of all is a signed head. */
export const ledgerSchema = z.strictObject({
  type: z.literal('ledger'),
  from: natural,
  lines: z.array(text(MAX_LINE_BYTES)).max(LIMITS.ledgerLines),
});
/** The round order: train the reserved round. The RESERVE itself is in the ledger the site has verified. */
export const offerSchema = z.strictObject({
  type: z.literal('offer'),
  round: natural,
  /** Hash of the RESERVE line. */
  reserve: hash,
  /** The coordinator's fresh X25519 key for this round. */
  roundKey: key,
  /** Bytes of the flat (encoder, head) weights. */
  totalBytes: z.int().min(1).max(LIMITS.transferBytes),
  /** The order stands until then (milliseconds from its receipt). */
  deadlineMs: natural,
});
/** Continue the upload of `round` at `nextChunk`. */
export const resumeSchema = z.strictObject({ type: z.literal('resume'), round: natural, nextChunk: natural });
/** The whole update is durable at the coordinator; the site may forget its staged copy once the round has ended. */
export const storedSchema = z.strictObject({ type: z.literal('stored'), round: natural });
export const roundEndedSchema = z.strictObject({ type: z.literal('round-ended'), round: natural, outcome: z.enum(['committed', 'aborted']) });
export const studyEndedSchema = z.strictObject({ type: z.literal('study-ended'), reason: z.string().max(300) });
/** A refusal of what the peer sent; `code` is stable (the table of protocol.md), `message` is for people. */
export const failureSchema = z.strictObject({ type: z.literal('failure'), code: z.string().max(64), message: z.string().max(1000), fatal: z.boolean() });

export const siteMessageSchema = z.discriminatedUnion('type', [
  helloSchema,
  enrolRequestSchema,
  readySchema,
  acceptSchema,
  refuseSchema,
  updateSchema,
  ackSchema,
  cosignSchema,
  failureSchema,
]);
export const coordinatorMessageSchema = z.discriminatedUnion('type', [
  challengeSchema,
  welcomeSchema,
  enrolledSchema,
  ledgerSchema,
  offerSchema,
  ackSchema,
  resumeSchema,
  storedSchema,
  roundEndedSchema,
  studyEndedSchema,
  failureSchema,
]);
export type SiteMessage = z.output<typeof siteMessageSchema>;
export type CoordinatorMessage = z.output<typeof coordinatorMessageSchema>;
export type Challenge = z.output<typeof challengeSchema>;
export type Hello = z.output<typeof helloSchema>;
export type Welcome = z.output<typeof welcomeSchema>;

/** One sealed piece of a transfer; both directions. Authenticated by its AEAD tag (round key, direction, index, total). */
export interface Chunk {
  readonly round: number;
  readonly index: number;
  readonly sealed: Uint8Array;
}
