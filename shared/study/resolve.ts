import { calibrateNoiseMultiplier } from '../privacy/calibrate.ts';
import { globalEpsilon } from '../privacy/composition.ts';
import type { PrivacyEvent } from '../privacy/event.ts';
import { invariant } from '../errors.ts';
import type { Study } from './schema.ts';
import { roundsPerModality } from './schedule.ts';

/** What one site of a modality does in one round: K releases of one mechanism. */
export type RoundMechanism =
  | { readonly protection: 'local-noise'; readonly samplingRate: number; readonly noiseMultiplier: number; readonly clipNorm: number; readonly steps: number }
  | { readonly protection: 'none'; readonly samplingRate: number; readonly steps: number };

export interface ResolvedModality {
  readonly mechanism: RoundMechanism;
  readonly rounds: number;
  readonly learningRate: number;
  readonly sitesDisjoint: boolean;
}

/** The study in numbers: overrides applied, noise calibrated, the budget known. */
export interface ResolvedStudy {
  readonly modalities: ReadonlyMap<string, ResolvedModality>;
  /** Infinity without privacy. */
  readonly budget: { readonly epsilon: number; readonly delta: number };
}

export function eventOf(mechanism: RoundMechanism): PrivacyEvent {
  const { steps, samplingRate } = mechanism;
  return mechanism.protection === 'none'
    ? { type: 'unprotected', steps }
    : { type: 'poisson-gaussian', samplingRate, noiseMultiplier: mechanism.noiseMultiplier, steps };
}

/**
 * With `epsilon` alone the one noise multiplier of all modalities is calibrated so that every planned round just fits the budget;
 * with `noiseMultiplier` alone the budget is what the planned rounds spend; with both the study ends where the budget does.
 */
export function resolveStudy(study: Study): ResolvedStudy {
  const { privacy } = study;
  const noiseMultiplier = privacy.protection === 'none' ? undefined : (privacy.noiseMultiplier ?? calibrated(study));
  const modalities = modalitiesAt(study, noiseMultiplier);
  if (privacy.protection === 'none') return { modalities, budget: { epsilon: Infinity, delta: 0 } };
  const epsilon = privacy.epsilon ?? plannedEpsilon(study, modalities, privacy.delta);
  return { modalities, budget: { epsilon, delta: privacy.delta } };
}

function calibrated(study: Study): number {
  const { privacy } = study;
  invariant(privacy.protection === 'local-noise' && privacy.epsilon !== undefined, 'a target to calibrate for');
  const { delta, epsilon: targetEpsilon } = privacy;
  return calibrateNoiseMultiplier({ targetEpsilon, epsilonOf: (z) => plannedEpsilon(study, modalitiesAt(study, z), delta) });
}

function modalitiesAt(study: Study, noiseMultiplier: number | undefined): ReadonlyMap<string, ResolvedModality> {
  const { privacy, schedule, optimiser } = study;
  const rounds = roundsPerModality(study);
  return new Map(
    Object.entries(study.modalities).map(([name, modality]) => {
      const samplingRate = modality.samplingRate ?? privacy.samplingRate;
      const steps = modality.localSteps ?? schedule.localSteps;
      const mechanism: RoundMechanism =
        privacy.protection === 'none' || noiseMultiplier === undefined
          ? { protection: 'none', samplingRate, steps }
          : { protection: 'local-noise', samplingRate, noiseMultiplier, clipNorm: modality.clipNorm ?? privacy.clipNorm, steps };
      const learningRate = modality.learningRate ?? optimiser.local.learningRate;
      return [name, { mechanism, rounds: rounds.get(name) ?? 0, learningRate, sitesDisjoint: modality.sitesDisjoint }];
    }),
  );
}

/** Epsilon when every planned round is run with every site in it. */
function plannedEpsilon(study: Study, modalities: ReadonlyMap<string, ResolvedModality>, delta: number): number {
  const sites = study.sites.map(({ name, modality }) => {
    const resolved = modalities.get(modality);
    invariant(resolved !== undefined, `site ${name} of modality ${modality}`);
    const event = eventOf(resolved.mechanism);
    return { site: name, modality, events: resolved.rounds === 0 ? [] : [{ ...event, steps: event.steps * resolved.rounds }] };
  });
  const disjointModalities = new Set([...modalities].filter(([, { sitesDisjoint }]) => sitesDisjoint).map(([name]) => name));
  return globalEpsilon({ sites, disjointModalities, delta }).epsilon;
}
