import { z } from 'zod';
import { isWithin, MAX_REASON_BYTES } from '../lengths.ts';
import { isRdpOrder } from '../privacy/rdp.ts';
import { fromDecimal } from './decimal.ts';

/**
 * The entries of the budget ledger (bytes: shared/spec/ledger.md). Numbers that matter are decimal strings, the shortest
 * that reads back as the same double, so that no JSON implementation can disagree about them; bytes are lower-case hex.
 */

const hash = z.string().regex(/^[0-9a-f]{64}$/, 'expected 32 bytes of lower-case hex');
const publicKey = z.string().regex(/^[0-9a-f]{64}$/, 'expected a 32-byte key in lower-case hex');
const signature = z.string().regex(/^[0-9a-f]{128}$/, 'expected a 64-byte signature in lower-case hex');
const decimal = z.string().refine((text) => text === 'Infinity' || (Number.isFinite(Number(text)) && String(Number(text)) === text), 'expected a shortest decimal number as a string');
const rdpOrder = decimal.refine((text) => isRdpOrder(fromDecimal(text)), 'expected an order of RDP above 1, at most 1024');
const natural = z.int().min(0);
/** So short that the refusals of all sites of the largest study are one line. */
const reason = z.string().refine((text) => isWithin(JSON.stringify(text), MAX_REASON_BYTES), `expected at most ${MAX_REASON_BYTES} bytes of JSON`);

/** The public parameters of one site's K local steps: what is charged. `protection: none` is charged as infinite. */
export const mechanismSchema = z.discriminatedUnion('protection', [
  z.strictObject({
    protection: z.literal('local-noise'),
    samplingRate: decimal,
    noiseMultiplier: decimal,
    clipNorm: decimal,
    steps: natural,
  }),
  z.strictObject({ protection: z.literal('none'), samplingRate: decimal, steps: natural }),
]);
export type LedgerMechanism = z.output<typeof mechanismSchema>;

/** The worst-off patient's epsilon by both accountants at one delta, rounded up to the sixth decimal. */
const spent = z.strictObject({ delta: decimal, pld: decimal, rdp: decimal });

export const planSchema = z.strictObject({
  type: z.literal('plan'),
  study: hash,
  studyName: z.string(),
  coordinatorKey: publicKey,
  privacyUnit: z.literal('patient'),
  neighbouringRelation: z.literal('add-or-remove-one'),
  trustModel: z.literal('local'),
  /** Infinity without privacy. */
  budget: z.strictObject({ delta: decimal, epsilon: decimal }),
  /** `binding` is held against the budget; `rdpOrder` is fixed here so that RDP is a filter whatever happens later. */
  accountant: z.strictObject({ binding: z.enum(['pld', 'rdp']), pld: z.literal('antiphon-pld-1'), rdpOrder }),
  modalities: z.record(z.string(), z.strictObject({ mechanism: mechanismSchema, rounds: natural, sitesDisjoint: z.boolean() })),
  sites: z.array(z.strictObject({ name: z.string(), modality: z.string(), patients: natural })),
  order: z.array(z.string()),
  rounds: natural,
  /** Only in plans whose rounds are given out as the study goes: then `rounds` of a modality is the most it may have. Without it, rounds follow the order. */
  schedule: z.literal('adaptive').optional(),
});

/** `statement` is what the site signs (domain `enrol`): canonical JSON of this body without `signature`. */
export const enrolSchema = z.strictObject({
  type: z.literal('enrol'),
  study: hash,
  site: z.string(),
  modality: z.string(),
  key: publicKey,
  /** SHA-256 of the one-time invite secret: an invite is used up when its hash stands here. */
  invite: hash,
  /** The site's signed statement: no patient of its data is at these other sites of its modality; `*` stands for all of them. */
  disjointFrom: z.array(z.string().min(1).max(64)).max(4000),
  signature,
});

export const reserveSchema = z.strictObject({
  type: z.literal('reserve'),
  round: natural,
  modality: z.string(),
  sites: z.array(z.string()).min(1),
  mechanism: mechanismSchema,
  /** SHA-256 of the (encoder, head) weights that the round starts from. */
  modelIn: hash,
  epsilonBefore: spent,
  epsilonAfter: spent,
});

/** Signed by the site (domain `receipt`): canonical JSON of this body without `signature`. */
export const receiptSchema = z.strictObject({
  type: z.literal('receipt'),
  study: hash,
  site: z.string(),
  round: natural,
  /** Leaf hash of the RESERVE line. */
  reserve: hash,
  mechanism: mechanismSchema,
  /** SHA-256 over the sealed update's bytes, chunks in order. */
  update: hash,
  software: z.string().max(64),
  signature,
});

/** A site's signed word (domain `refusal`) that nothing derived from its data left it in this round. */
export const refusalSchema = z.strictObject({
  study: hash,
  site: z.string(),
  round: natural,
  reserve: hash,
  reason,
  signature,
});

export const commitSchema = z.strictObject({
  type: z.literal('commit'),
  round: natural,
  reserve: hash,
  /** The sites whose updates were combined. */
  sites: z.array(z.string()).min(1),
  refusals: z.array(refusalSchema),
  modelOut: hash,
  epsilonSpent: spent,
});

export const abortSchema = z.strictObject({
  type: z.literal('abort'),
  round: natural,
  reserve: hash,
  reason: z.string(),
  /** Only the sites with a signed refusal are refunded; everyone else's share of the reserve stays spent. */
  refusals: z.array(refusalSchema),
  epsilonSpent: spent,
});

/** Anything derived from patients that is released without noise: listed, never silent. */
export const disclosureSchema = z.strictObject({
  type: z.literal('disclosure'),
  what: z.string(),
  why: z.string(),
  round: natural.optional(),
});

export const endSchema = z.strictObject({
  type: z.literal('end'),
  reason: z.enum(['completed', 'budget-exhausted', 'interrupted', 'failed']),
  detail: z.string(),
  epsilonSpent: spent,
});

/** Closes every append: the coordinator's signed head (C2SP note, shared/spec/heads.md) over all lines before this one. */
export const headSchema = z.strictObject({ type: z.literal('head'), note: z.string().max(4096) });

export const entryBodySchema = z.discriminatedUnion('type', [
  planSchema,
  enrolSchema,
  reserveSchema,
  receiptSchema,
  commitSchema,
  abortSchema,
  disclosureSchema,
  endSchema,
  headSchema,
]);
export type EntryBody = z.output<typeof entryBodySchema>;
export type PlanEntry = z.output<typeof planSchema>;
export type EnrolEntry = z.output<typeof enrolSchema>;
export type ReserveEntry = z.output<typeof reserveSchema>;
export type ReceiptEntry = z.output<typeof receiptSchema>;
export type CommitEntry = z.output<typeof commitSchema>;
export type AbortEntry = z.output<typeof abortSchema>;
export type DisclosureEntry = z.output<typeof disclosureSchema>;
export type EndEntry = z.output<typeof endSchema>;
export type HeadEntry = z.output<typeof headSchema>;
export type Refusal = z.output<typeof refusalSchema>;
export type EpsilonSpentText = z.output<typeof spent>;

/** One line of `ledger.jsonl`, a leaf of the Merkle tree: RFC 8785 canonical JSON of this object, then "\n". */
export const lineSchema = z.strictObject({
  antiphon: z.literal(1),
  index: natural,
  /** Coordinator's clock, RFC 3339 UTC with milliseconds; informative. */
  time: z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/),
  body: entryBodySchema,
});
export type LedgerLine = z.output<typeof lineSchema>;
