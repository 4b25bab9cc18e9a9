import { SOFTWARE } from '../shared/protocol/software.ts';
import { roundBounds } from '../shared/study/adaptive.ts';
import type { StudyEvent } from './events.ts';
import type { StudyContext } from './run.ts';

/** What a study is, as its first event tells. */
export function startedEvent({ study, resolved, studyHash: hash, networks }: StudyContext, run: { readonly folder: string; readonly backend: string; readonly backendSummary: string; readonly resumedAfterRound: number }): StudyEvent {
  const { epsilon, delta } = resolved.budget;
  return {
    type: 'started',
    time: new Date().toISOString(),
    study: study.name,
    studyHash: hash,
    software: SOFTWARE,
    rounds: study.schedule.rounds,
    protection: study.privacy.protection,
    accountant: resolved.accountant.binding,
    budget: { epsilon: Number.isFinite(epsilon) ? epsilon : null, delta },
    classes: study.classes,
    pool: study.fusion.pool,
    modalities: [...resolved.modalities].map(([modality, { mechanism, rounds }]) => ({
      modality,
      encoder: study.modalities[modality]?.encoder.type ?? '',
      parameters: networks.get(modality)?.size ?? 0,
      rounds,
      ...(study.schedule.adaptive === undefined ? {} : { leastRounds: roundBounds(study).get(modality)?.least ?? 0 }),
      localSteps: mechanism.steps,
      samplingRate: mechanism.samplingRate,
      noiseMultiplier: mechanism.protection === 'none' ? null : mechanism.noiseMultiplier,
      clipNorm: mechanism.protection === 'none' ? null : mechanism.clipNorm,
    })),
    sites: study.sites.map(({ name, modality, patients }) => ({ site: name, modality, patients })),
    ...run,
  };
}
