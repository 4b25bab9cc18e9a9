import type { Study } from './schema.ts';
import { invariant } from '../errors.ts';

/** The modalities in turn, as the study gives them or in the order of the file. */
export function scheduleOrder(study: Study): readonly string[] {
  return study.schedule.order ?? Object.keys(study.modalities);
}

/** The modality of round r (from 1): the order, cycled. */
export function modalityOfRound(order: readonly string[], round: number): string {
  const modality = order[(round - 1) % order.length];
  invariant(modality !== undefined && round >= 1, `round ${round} of an order of ${order.length}`);
  return modality;
}

/** How many of the study's rounds train each modality. */
export function roundsPerModality(study: Study): ReadonlyMap<string, number> {
  const order = scheduleOrder(study);
  const whole = Math.floor(study.schedule.rounds / order.length);
  const rest = study.schedule.rounds % order.length;
  const turns = (name: string, among: readonly string[]): number => among.filter((each) => each === name).length;
  return new Map(Object.keys(study.modalities).map((name) => [name, whole * turns(name, order) + turns(name, order.slice(0, rest))]));
}
