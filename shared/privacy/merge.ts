import type { PrivacyEvent } from './event.ts';
import { isStepCount } from './rdp.ts';

/** Events of one mechanism as one event with all their steps; those without privacy as one. Zero steps are left out. */
export function mergeEqual(events: readonly PrivacyEvent[]): readonly PrivacyEvent[] {
  let unprotected = 0;
  /** Steps per noise multiplier per sampling rate: 0 and NaN are keys like any other. */
  const steps = new Map<number, Map<number, number>>();
  for (const event of events) {
    // NaN stays NaN: a step count that is none must not be hidden by the others' (and is charged as infinite).
    const counted = isStepCount(event.steps) ? event.steps : NaN;
    if (event.type === 'unprotected') {
      unprotected += counted;
      continue;
    }
    const ofRate = steps.get(event.samplingRate) ?? new Map<number, number>();
    steps.set(event.samplingRate, ofRate);
    ofRate.set(event.noiseMultiplier, (ofRate.get(event.noiseMultiplier) ?? 0) + counted);
  }
  const merged: PrivacyEvent[] = unprotected === 0 ? [] : [{ type: 'unprotected', steps: unprotected }];
  for (const [samplingRate, ofRate] of steps) {
    for (const [noiseMultiplier, total] of ofRate) if (total !== 0) merged.push({ type: 'poisson-gaussian', samplingRate, noiseMultiplier, steps: total });
  }
  return merged;
}
