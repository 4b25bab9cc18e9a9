import { floatsToBytes, toHex } from '../shared/bytes.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { AntiphonError } from '../shared/errors.ts';
import type { CommittedModel } from '../shared/ledger/fold.ts';
import { flatOf, type ModelState } from './model-state.ts';
import type { Checkpoint, CheckpointStore } from './store/checkpoint.ts';

/** As a ledger names a model: SHA-256 of what a round of the modality trains, little-endian float32. */
export function modelHash(primitives: Pick<Primitives, 'sha256'>, model: ModelState, modality: string): string {
  return toHex(primitives.sha256(floatsToBytes(flatOf(model, modality))));
}

/**
 * The checkpoint of the ledger's last COMMIT, whose model is the one that it names; else AntiphonError('ledger-tampered'). That covers the head and the encoder that the round trained: of the
 * other encoders, the average and the optimisers' state no ledger speaks by itself.
 */
export async function loadCommitted(checkpoints: Pick<CheckpointStore, 'load'>, commit: CommittedModel, { primitives, studyHash }: { readonly primitives: Pick<Primitives, 'sha256'>; readonly studyHash: string }): Promise<Checkpoint> {
  const { round, modality, modelOut } = commit;
  const checkpoint = await checkpoints.load(round, studyHash);
  const found = modelHash(primitives, checkpoint.model, modality);
  if (found !== modelOut) {
    throw new AntiphonError('ledger-tampered', `expected the checkpoint of round ${round} to hold the model that the ledger's COMMIT names (${modality}, SHA-256 ${modelOut.slice(0, 16)}...), found another one (${found.slice(0, 16)}...): it was changed, or is another run's; restore the folder's own from a copy, or run the study anew in a new folder`);
  }
  return checkpoint;
}
