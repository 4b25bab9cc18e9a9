import { fromHex } from '../../shared/bytes.ts';
import type { RoundKeys } from '../../shared/crypto/keys.ts';
import { createSeal, type Direction, type SealContext } from '../../shared/crypto/seal.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { chunkCount } from '../../shared/protocol/transfer.ts';
import { STUDY } from './ledger-builder.ts';

/** The seal of one direction of a round, from either side. */
export function roundSeal(input: {
  readonly own: RoundKeys;
  readonly coordinatorRoundKey: Uint8Array;
  readonly siteRoundKey: Uint8Array;
  /** Default: the test ledger's. */
  readonly study?: Uint8Array;
  readonly round: number;
  readonly site: string;
  readonly direction: Direction;
  readonly bytes: number;
}): SealContext {
  const { bytes, study = fromHex(STUDY, 32), ...rest } = input;
  return createSeal({ primitives, study, chunks: chunkCount(bytes), ...rest });
}
