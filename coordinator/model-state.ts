import type { Study } from '../shared/study/schema.ts';
import { networkOf, type Network } from '../shared/model/network.ts';
import { invariant } from '../shared/errors.ts';

/** The one multimodal model: an encoder per modality and the head they share, flat (shared/model/network.ts). */
export interface ModelState {
  readonly encoders: ReadonlyMap<string, Float32Array>;
  readonly head: Float32Array;
}

export function networksOf(study: Study): ReadonlyMap<string, Network> {
  return new Map(Object.keys(study.modalities).map((name) => [name, networkOf(study, name)]));
}

/** Round 0: drawn from the study's public seed, the same head for every modality. */
export function initialModel(study: Study, networks: ReadonlyMap<string, Network>): ModelState {
  const encoders = new Map<string, Float32Array>();
  let head: Float32Array | undefined;
  for (const [modality, network] of networks) {
    const flat = network.initialise(study.seed, modality);
    encoders.set(modality, flat.slice(0, network.encoderSize));
    head ??= flat.slice(network.encoderSize);
  }
  invariant(head !== undefined, 'a study has a modality');
  return { encoders, head };
}

/** (encoder, head) of one modality as ONE vector: what a round sends, trains and aggregates. */
export function flatOf(model: ModelState, modality: string): Float32Array<ArrayBuffer> {
  const encoder = model.encoders.get(modality);
  invariant(encoder !== undefined, `modality ${modality} of the model`);
  const flat = new Float32Array(encoder.length + model.head.length);
  flat.set(encoder);
  flat.set(model.head, encoder.length);
  return flat;
}

export function withFlat(model: ModelState, modality: string, flat: Float32Array): ModelState {
  const encoderSize = flat.length - model.head.length;
  return { encoders: new Map([...model.encoders, [modality, flat.slice(0, encoderSize)]]), head: flat.slice(encoderSize) };
}
