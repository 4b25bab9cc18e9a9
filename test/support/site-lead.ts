import { bytesToFloats, floatsToBytes, fromHex, toHex } from '../../shared/bytes.ts';
import { generateRoundKeys, type Identity } from '../../shared/crypto/keys.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { Chunk, CoordinatorMessage, SiteMessage } from '../../shared/protocol/messages.ts';
import { openTransfer, sealTransfer } from '../../shared/protocol/transfer.ts';
import type { LedgerBuilder } from './ledger-builder.ts';
import { begunLedger } from './ledger-study.ts';
import { roundSeal } from './round-seal.ts';
import { expected } from './session-pair.ts';

export type Offer = Extract<CoordinatorMessage, { type: 'offer' }>;
export type Update = Extract<SiteMessage, { type: 'update' }>;

/** What a coordinator says to site `a`: real ledger, real round keys, real seals; every lie is the test's own. */
export interface Lead {
  readonly builder: LedgerBuilder;
  /** Key of site `a`. */
  readonly identity: Identity;
  readonly coordinatorKey: Uint8Array;
  /** Reserves the next round of image for these weights. */
  readonly reserve: (weights: Float32Array, cohort?: string[]) => void;
  readonly ledger: (from?: number) => CoordinatorMessage;
  readonly offer: (change?: Partial<Offer>) => Offer;
  /** The sealed weights for the key that the site has accepted with. */
  readonly weights: (sent: readonly SiteMessage[], weights: Float32Array) => readonly Chunk[];
  readonly open: (update: Update, chunks: readonly Chunk[]) => Float32Array;
}

export function createLead(builder = begunLedger()): Lead {
  const roundKeys = generateRoundKeys(primitives);
  const identity = builder.sites.get('a');
  if (identity === undefined) throw new Error('site a is not enrolled');
  let [bytes, round, hash] = [1, 0, '00'.repeat(32)];
  const sealWith = (siteRoundKey: Uint8Array, direction: 'to-site' | 'to-coordinator') =>
    roundSeal({ own: roundKeys, coordinatorRoundKey: roundKeys.publicKey, siteRoundKey, round, site: 'a', direction, bytes });
  return {
    builder,
    identity,
    coordinatorKey: builder.coordinator.publicKey,
    reserve: (weights, cohort = ['a', 'b']) => {
      const plain = floatsToBytes(weights);
      builder.add({ ...builder.reserve('image', cohort), modelIn: toHex(primitives.sha256(plain)) });
      const { open } = builder.state;
      if (open === undefined) throw new Error('no open round');
      [bytes, round, hash] = [plain.length, open.reserve.round, open.hash];
    },
    ledger: (from = 0) => ({ type: 'ledger', from, lines: builder.lines.slice(from) }),
    offer: (change = {}) => ({ type: 'offer', round, reserve: fromHex(hash, 32), roundKey: new Uint8Array(roundKeys.publicKey), totalBytes: bytes, deadlineMs: 60_000, ...change }),
    weights: (sent, weights) => {
      const accept = sent.findLast((message) => message.type === 'accept');
      if (accept === undefined) throw new Error('the site has not accepted');
      return sealTransfer(sealWith(accept.roundKey, 'to-site'), floatsToBytes(weights)).map((sealed, index) => ({ round, index, sealed }));
    },
    open: (update, chunks) => bytesToFloats(expected(openTransfer(sealWith(update.roundKey, 'to-coordinator'), chunks.map(({ sealed }) => sealed)))),
  };
}
