import type { PrivacyEvent } from './event.ts';
import { isStepCount } from './rdp.ts';

/** Events of one mechanism as one event with all their steps: a Map per samplingRate of steps per noiseMultiplier (0 and NaN are keys like any other). */
export function mergeEqual(events: readonly PrivacyEvent[]): PrivacyEvent[] {
  const merged: PrivacyEvent[] = [];
  const steps = new Map<number, Map<number, number>>();
  for (const event of events) {
    if (event.type === 'unprotected') {
      merged.push(event);
      continue;
    }
    const { samplingRate, noiseMultiplier } = event;
    const ofRate = steps.get(samplingRate) ?? new Map<number, number>();
    steps.set(samplingRate, ofRate);
    // NaN stays NaN: a step count that is none must not be hidden by the others' (and is charged as infinite).
    ofRate.set(noiseMultiplier, (ofRate.get(noiseMultiplier) ?? 0) + (isStepCount(event.steps) ? event.steps : NaN));
  }
  for (const [samplingRate, ofRate] of steps) {
    for (const [noiseMultiplier, total] of ofRate) merged.push({ type: 'poisson-gaussian', samplingRate, noiseMultiplier, steps: total });
  }
  return merged;
}
