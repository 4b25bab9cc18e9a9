import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AntiphonError, invariant } from '../../shared/errors.ts';
import type { Network } from '../../shared/model/network.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { makeFolder } from '../../shared/platform/folder.ts';
import type { Study } from '../../shared/study/schema.ts';
import type { OptimiserState } from '../aggregate.ts';
import type { ModelAverage } from '../average.ts';
import type { HeadMoments } from '../head-projection.ts';
import type { ModelState } from '../model-state.ts';
import type { Progress } from '../progress.ts';
import { formatSafetensors, parseSafetensors } from './safetensors.ts';

/** Everything a later round needs: model, server optimiser per modality, head moments. All of it is released, noised state. */
export interface Checkpoint {
  readonly round: number;
  /** What the next round trains on from. */
  readonly model: ModelState;
  /** What is evaluated, and what the study ends with, once rounds are averaged (`optimiser.averageLast`). */
  readonly average: ModelAverage | undefined;
  readonly optimisers: ReadonlyMap<string, OptimiserState>;
  readonly headMoments: HeadMoments;
  /** Of an adaptive schedule; else undefined. */
  readonly progress: Progress | undefined;
}

/** What a checkpoint says of the study that it was trained in: a copy of the file alone tells whether its patients were protected. */
export interface TrainedStudy {
  readonly studyHash: string;
  readonly protection: Study['privacy']['protection'];
}

const NO_PRIVACY = 'NO PRIVACY: trained without clipping and without noise; these weights can reveal patients. For comparison only.';

export interface CheckpointStore {
  /** Durable when it resolves; written BEFORE the round's COMMIT entry, which is the commit point. */
  readonly save: (checkpoint: Checkpoint, study: TrainedStudy) => Promise<void>;
  readonly load: (round: number, studyHash: string) => Promise<Checkpoint>;
}

/** `round-000012.safetensors` files in one folder; all but the last few and the final one are removed as the study goes. */
export async function openCheckpoints(folder: string, networks: ReadonlyMap<string, Network>): Promise<CheckpointStore> {
  const KEEP = 3;
  await makeFolder(folder);
  const nameOf = (round: number): string => `round-${String(round).padStart(6, '0')}.safetensors`;

  return {
    save: async (checkpoint, study) => {
      await writeFileAtomic(join(folder, nameOf(checkpoint.round)), formatCheckpoint(checkpoint, networks, study));
      const stale = (await readdir(folder)).filter((name) => /^round-\d{6}\.safetensors$/.test(name) && name <= nameOf(checkpoint.round - KEEP));
      for (const name of stale) await rm(join(folder, name), { force: true });
    },
    load: async (round, studyHash) => {
      const path = join(folder, nameOf(round));
      const bytes = await readFile(path).catch((error: unknown) => {
        throw new AntiphonError('storage-failed', `the ledger says round ${round} was committed, but its checkpoint ${path} cannot be read; restore it from a copy of the folder`, { cause: error });
      });
      return readCheckpoint(bytes, { path, round, networks, studyHash });
    },
  };
}

function formatCheckpoint(checkpoint: Checkpoint, networks: ReadonlyMap<string, Network>, { studyHash, protection }: TrainedStudy): Uint8Array {
  const tensors = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  const flat = (name: string, values: Float32Array): void => void tensors.set(name, { shape: [values.length], values });
  const addModel = (prefix: string, model: ModelState): void => {
    for (const [modality, network] of networks) {
      const encoder = model.encoders.get(modality);
      invariant(encoder !== undefined, `encoder of ${modality}`);
      for (const { name, shape, offset } of network.parameters) {
        if (offset >= network.encoderSize) continue;
        const size = shape.reduce((a, b) => a * b, 1);
        tensors.set(`${prefix}${modality}/${name}`, { shape, values: encoder.subarray(offset, offset + size) });
      }
    }
    flat(`${prefix}head`, model.head);
  };
  addModel('', checkpoint.model);
  if (checkpoint.average !== undefined) {
    addModel('average/', checkpoint.average.model);
    flat('average/rounds', Float32Array.of(checkpoint.average.rounds));
  }
  for (const [modality, { first, second }] of checkpoint.optimisers) {
    flat(`optimiser/${modality}/first`, first);
    flat(`optimiser/${modality}/second`, second);
  }
  for (const [modality, moment] of checkpoint.headMoments) flat(`head-moment/${modality}`, Float32Array.from(moment));
  if (checkpoint.progress !== undefined) {
    flat('progress/nll', Float32Array.of(checkpoint.progress.nll));
    for (const [modality, gains] of checkpoint.progress.gains) flat(`progress/gains/${modality}`, Float32Array.from(gains));
  }
  return formatSafetensors({ tensors, metadata: { format: 'antiphon-checkpoint-1', round: String(checkpoint.round), study: studyHash, protection, ...(protection === 'none' ? { warning: NO_PRIVACY } : {}) } });
}

function readCheckpoint(bytes: Uint8Array, expected: { readonly path: string; readonly round: number; readonly networks: ReadonlyMap<string, Network>; readonly studyHash: string }): Checkpoint {
  const { path, round, networks, studyHash } = expected;
  const { tensors, metadata } = parseSafetensors(bytes, path);
  if (metadata['round'] !== String(round) || metadata['study'] !== studyHash) {
    throw new AntiphonError('storage-failed', `${path} belongs to round ${metadata['round'] ?? '?'} of study ${metadata['study'] ?? '?'}, expected round ${round} of ${studyHash}`);
  }
  const take = (name: string): Float32Array => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new AntiphonError('storage-failed', `${path} lacks the tensor ${name}; it was written by another version or damaged`);
    return tensor.values;
  };
  const takeModel = (prefix: string): ModelState => {
    const encoders = new Map<string, Float32Array>();
    for (const [modality, network] of networks) {
      const encoder = new Float32Array(network.encoderSize);
      for (const { name, offset } of network.parameters) if (offset < network.encoderSize) encoder.set(take(`${prefix}${modality}/${name}`), offset);
      encoders.set(modality, encoder);
    }
    return { encoders, head: take(`${prefix}head`) };
  };
  const optimisers = new Map<string, OptimiserState>();
  const headMoments = new Map<string, Float64Array>();
  for (const modality of networks.keys()) {
    if (tensors.has(`optimiser/${modality}/first`)) {
      optimisers.set(modality, { first: take(`optimiser/${modality}/first`), second: take(`optimiser/${modality}/second`) });
    }
    if (tensors.has(`head-moment/${modality}`)) headMoments.set(modality, Float64Array.from(take(`head-moment/${modality}`)));
  }
  const average = tensors.has('average/rounds') ? { rounds: take('average/rounds')[0] ?? 1, model: takeModel('average/') } : undefined;
  const gains = new Map([...networks.keys()].flatMap((modality) => (tensors.has(`progress/gains/${modality}`) ? [[modality, [...take(`progress/gains/${modality}`)]] as const] : [])));
  const progress = tensors.has('progress/nll') ? { nll: take('progress/nll')[0] ?? 0, gains } : undefined;
  return { round, model: takeModel(''), average, optimisers, headMoments, progress };
}
