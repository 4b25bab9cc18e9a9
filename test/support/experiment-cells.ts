import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expandStudy, type Cell, type Grid, type StudySource } from '../../deploy/experiment/grid.ts';
import { identityOf, type CellMembership } from '../../deploy/experiment/cell-store.ts';
import type { FinishedCell } from '../../deploy/experiment/run-cell.ts';
import { parseExperiment } from '../../deploy/experiment/schema.ts';
import { DEGRADATIONS } from '../../shared/fusion/degrade.ts';
import type { DegradedModality } from '../../shared/fusion/evaluate.ts';
import type { ScoredModality, ScoredSamples } from '../../shared/fusion/evaluation.ts';

export const shippedStudy = (name: string): StudySource => {
  const path = fileURLToPath(new URL(`../../deploy/studies/${name}.yaml`, import.meta.url));
  return { path, text: readFileSync(path, 'utf8'), data: { type: 'folder', folder: '/records' } };
};

/** The grid of an experiment over one shipped study; `lines` are added to the file. */
export function gridOf(study: string, ...lines: readonly string[]): Grid {
  const experiment = parseExperiment(['experiment: 1', 'name: grid', `studies: [{ study: ${study} }]`, ...lines].join('\n'), 'grid.yaml');
  return expandStudy(experiment, { entry: experiment.studies[0]!, source: shippedStudy(study) });
}

/**
 * Two modalities, one sure and one hardly, over three classes; of every ten samples the sure one is right in `right`, the other in seven. The last sample lacks the second.
 */
export function scoredSamples(right: number, samples = 50): ScoredSamples {
  const labels = Int32Array.from({ length: samples }, (_, i) => i % 3);
  const logits = (sureness: number, hits: number, turn: number): Float32Array =>
    Float32Array.from({ length: 3 * samples }, (_, at) => {
      const [i, c] = [Math.floor(at / 3), at % 3];
      const chosen = (i * turn) % 10 < hits ? labels[i]! : (labels[i]! + 1 + (i % 2)) % 3;
      return c === chosen ? sureness + (i % 7) / 10 : 0;
    });
  // Calibration has left them as they were.
  const scored = (own: Float32Array): Pick<Required<ScoredModality>, 'logits' | 'temperature' | 'reliability'> => ({ logits: own, temperature: 1, reliability: new Float32Array(samples).fill(1) });
  return {
    classes: 3,
    labels,
    modalities: {
      sure: { ...scored(logits(2.5, right, 1)), present: new Uint8Array(samples).fill(1) },
      hardly: { ...scored(logits(0.8, 7, 3)), present: Uint8Array.from({ length: samples }, (_, i) => (i === samples - 1 ? 0 : 1)) },
    },
  };
}

/** Every way to fail makes a modality say what is right of the sample after. */
export function degradedModalities({ modalities, classes }: ScoredSamples): readonly DegradedModality[] {
  return Object.entries(modalities).flatMap(([modality, { logits, present }]) =>
    DEGRADATIONS.map((degradation) => ({ modality, degradation, logits: logits.map((_, k) => logits[(k + classes) % logits.length]!), present: degradation === 'missing' ? new Uint8Array(present.length) : present, temperature: 1, reliability: new Float32Array(present.length).fill(degradation === 'noise' ? 0.25 : 1) })),
  );
}

export function finishedCell(cell: Cell, { right, membership }: { readonly right: number; readonly membership?: CellMembership }): FinishedCell {
  return {
    result: {
      antiphonCell: 1,
      name: cell.name,
      identity: identityOf(cell, 'records'),
      run: 'run-1',
      reason: 'completed',
      rounds: 30,
      spent: cell.epsilon === 'none' ? { epsilon: null, pld: null, rdp: null, delta: 1e-4 } : { epsilon: cell.epsilon, pld: cell.epsilon, rdp: 1.1 * cell.epsilon, delta: 1e-4 },
      seconds: 12.5,
      accuracy: { hybrid: right / 10 },
    },
    scores: { selection: scoredSamples(right, 20), test: scoredSamples(right), degraded: degradedModalities(scoredSamples(right)) },
    membership,
  };
}
