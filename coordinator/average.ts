import type { Study } from '../shared/study/schema.ts';
import type { ModelState } from './model-state.ts';

/** The mean of the models after the last `rounds` committed rounds that are averaged (Polyak, Juditsky 1992). Of released models only: costs no privacy. */
export interface ModelAverage {
  readonly rounds: number;
  readonly model: ModelState;
}

/** Whether the model after this round belongs to the mean: the last `averageLast` of the PLANNED rounds, at least the very last one, whichever modality trains in them. */
export function isAveraged(study: Study, round: number): boolean {
  const { averageLast } = study.optimiser;
  const { rounds } = study.schedule;
  return averageLast !== undefined && round > Math.min(rounds - 1, Math.floor(rounds * (1 - averageLast)));
}

/** The running mean, in float32 as it is stored: a coordinator that was stopped and started again has the same. */
export function averageWith(before: ModelAverage | undefined, model: ModelState): ModelAverage {
  if (before === undefined) return { rounds: 1, model };
  const rounds = before.rounds + 1;
  const mean = (old: Float32Array | undefined, next: Float32Array): Float32Array => next.map((value, i) => (old?.[i] ?? 0) + (value - (old?.[i] ?? 0)) / rounds);
  return {
    rounds,
    model: { encoders: new Map([...model.encoders].map(([name, next]) => [name, mean(before.model.encoders.get(name), next)])), head: mean(before.model.head, model.head) },
  };
}
