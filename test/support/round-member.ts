import { bytesToFloats, floatsToBytes, fromHex, toHex } from '../../shared/bytes.ts';
import { generateIdentity, generateRoundKeys, type Identity } from '../../shared/crypto/keys.ts';
import type { LedgerMechanism, ReceiptEntry, Refusal } from '../../shared/ledger/entry.ts';
import { signReceipt, signRefusal } from '../../shared/ledger/statements.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { Chunk, CoordinatorMessage, SiteMessage } from '../../shared/protocol/messages.ts';
import { hashChunks, openTransfer, sealTransfer } from '../../shared/protocol/transfer.ts';
import { MECHANISM, STUDY } from './ledger-builder.ts';
import type { MemoryHub } from './memory-hub.ts';
import { roundSeal } from './round-seal.ts';
import { expected } from './session-pair.ts';

export type Offer = Extract<CoordinatorMessage, { type: 'offer' }>;

/** What it signed and sealed for one update. */
export interface Parcel {
  readonly message: Extract<SiteMessage, { type: 'update' }>;
  readonly chunks: readonly Chunk[];
}

/** A site as the coordinator meets it: real keys, signatures and seals; what it signs is the test's affair. */
export interface Member {
  readonly name: string;
  readonly identity: Identity;
  readonly offer: () => Offer;
  readonly accept: () => void;
  /** The weights it was sent, opened. */
  readonly weights: () => Float32Array;
  /** A sealed update with its receipt, fields of which may be others; signed by whoever `signer` is. */
  readonly seal: (update: Float32Array, change?: Partial<ReceiptEntry>, signer?: Identity) => Parcel;
  readonly announce: (parcel: Parcel) => void;
  readonly upload: (parcel: Parcel) => void;
  readonly deliver: (update: Float32Array) => Parcel;
  readonly refusal: (change?: Partial<Refusal>, signer?: Identity) => Refusal;
  readonly refuse: (change?: Partial<Refusal>, signer?: Identity) => void;
  /** Codes of the failures it was told. */
  readonly failures: () => readonly string[];
  readonly count: (type: CoordinatorMessage['type']) => number;
}

export function createMember(name: string, { hub, mechanism = MECHANISM, study = STUDY, identity = generateIdentity(primitives) }: { readonly hub: MemoryHub; readonly mechanism?: LedgerMechanism; readonly study?: string; readonly identity?: Identity }): Member {
  const roundKeys = generateRoundKeys(primitives);
  const offer = (): Offer => {
    const found = hub.messages(name).findLast((message) => message.type === 'offer');
    if (found === undefined) throw new Error(`${name} was offered nothing`);
    return found;
  };
  const sealFor = (direction: 'to-site' | 'to-coordinator', bytes: number) =>
    roundSeal({ own: roundKeys, coordinatorRoundKey: offer().roundKey, siteRoundKey: roundKeys.publicKey, study: fromHex(study, 32), round: offer().round, site: name, direction, bytes });
  const seal: Member['seal'] = (update, change = {}, signer = identity) => {
    const { round, reserve } = offer();
    const bytes = floatsToBytes(update);
    const chunks = sealTransfer(sealFor('to-coordinator', bytes.length), bytes);
    const receipt = signReceipt(primitives, signer, { type: 'receipt', study, site: name, round, reserve: toHex(reserve), mechanism, update: toHex(hashChunks(primitives, chunks)), software: 'test/1', ...change });
    return { message: { type: 'update', roundKey: new Uint8Array(roundKeys.publicKey), totalBytes: bytes.length, receipt }, chunks: chunks.map((sealed, index) => ({ round, index, sealed })) };
  };
  const announce = ({ message }: Parcel): void => {
    hub.say(name, message);
  };
  const upload = ({ chunks }: Parcel): void => {
    for (const chunk of chunks) hub.chunk(name, chunk);
  };
  const refusal: Member['refusal'] = (change = {}, signer = identity) => {
    const { round, reserve } = offer();
    return signRefusal(primitives, signer, { study, site: name, round, reserve: toHex(reserve), reason: 'limits-exceeded: enough', ...change });
  };
  return {
    name,
    identity,
    offer,
    accept: () => {
      hub.say(name, { type: 'accept', round: offer().round, roundKey: new Uint8Array(roundKeys.publicKey) });
    },
    weights: () => bytesToFloats(expected(openTransfer(sealFor('to-site', offer().totalBytes), hub.chunks(name).map(({ sealed }) => sealed)))),
    seal,
    announce,
    upload,
    deliver: (update) => {
      const parcel = seal(update);
      announce(parcel);
      upload(parcel);
      return parcel;
    },
    refusal,
    refuse: (change, signer) => {
      hub.say(name, { type: 'refuse', refusal: refusal(change, signer) });
    },
    failures: () => hub.messages(name).flatMap((message) => (message.type === 'failure' ? [message.code] : [])),
    count: (type) => hub.messages(name).filter((message) => message.type === type).length,
  };
}
