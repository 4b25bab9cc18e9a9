import { failingLots } from '../../coordinator/evaluate.ts';
import { evaluateRobustness, evaluateSamples, type DegradedModality } from '../../shared/fusion/evaluate.ts';
import { fitFusedTemperatures } from '../../shared/fusion/fused-temperature.ts';
import type { DegradedMetrics, Metrics, Robustness, ScoredSamples } from '../../shared/fusion/evaluation.ts';
import { computeMetrics } from '../../shared/fusion/metrics.ts';
import { calibrationOf, fuse } from '../../shared/fusion/rules.ts';
import { canonicalJson } from '../../shared/ledger/canonical.ts';
import type { FusionSpec } from '../../shared/study/schema.ts';
import type { Reading } from './grid.ts';
import { groupBy } from './group-by.ts';
import type { CellMembership } from './cell-store.ts';
import type { FinishedCell } from './run-cell.ts';

/** A reading with its numbers: a line of results.csv. */
export interface ReadResult {
  readonly reading: Reading;
  readonly finished: FinishedCell;
  readonly test: Metrics;
  readonly selectionAccuracy: number;
  /** Accuracy by modality, each alone on the samples of which it says something under the calibration that the reading's rule sees. */
  readonly alone: Readonly<Record<string, number>>;
  /** Share of the mean non-private accuracy of the same study, preset, changes and rule; null where the experiment has none. */
  readonly kept: number | null;
  readonly attack: AttackFigures | null;
  /** Where one modality fails a share of the test part, a mean over the modalities; empty where the experiment does not ask. */
  readonly degraded: readonly (DegradedMetrics & Pick<Robustness, 'degradation' | 'share'>)[];
}

export interface AttackFigures {
  readonly auc: number;
  /** Share of members found at 0.1 % and 1 % false positives. */
  readonly tpr: readonly [number, number];
}

/** Applies every reading's fusion to the scores of its trained cell; readings of cells that are not finished are left out. Pure. */
export function readResults(readings: readonly Reading[], finishedOf: (reading: Reading) => FinishedCell | undefined, { degraded }: { readonly degraded: boolean }): readonly ReadResult[] {
  const aloneOf = rememberedAlone();
  const rows = readings.flatMap((reading) => {
    const finished = finishedOf(reading);
    if (finished === undefined) return [];
    const { selection, test } = finished.scores;
    const attack = finished.membership === undefined ? null : attackFigures(finished.membership);
    const tempered = { ...test, temperatures: fitFusedTemperatures(selection, reading.fusion, [reading.rule]) };
    const failing = degraded ? degradedOf(tempered, finished.scores.degraded, reading) : [];
    return [{ reading, finished, test: metricsOf(tempered, reading), selectionAccuracy: metricsOf(selection, reading).accuracy, alone: aloneOf(finished, reading), attack, degraded: failing }];
  });
  const reference = groupBy(rows.filter(({ reading }) => reading.cell.epsilon === 'none'), ({ reading }) => armOf(reading));
  return rows.map((row) => {
    const free = reference.get(armOf(row.reading));
    return { ...row, kept: free === undefined ? null : row.test.accuracy / spreadOf(free.map(({ test }) => test.accuracy)).mean };
  });
}

/** Of the fusion settings only the calibration that the rule sees decides who speaks (shared/fusion/rules.ts): once for each of them and each cell. */
function rememberedAlone(): (finished: FinishedCell, reading: Reading) => ReadResult['alone'] {
  const known = new Map<FinishedCell, Map<FusionSpec['calibration'], ReadResult['alone']>>();
  return (finished, { rule, fusion }) => {
    const calibration = calibrationOf(rule, fusion);
    const ofCell = known.get(finished) ?? new Map<FusionSpec['calibration'], ReadResult['alone']>();
    known.set(finished, ofCell);
    const alone = ofCell.get(calibration) ?? Object.fromEntries(Object.entries(evaluateSamples(finished.scores.test, { ...fusion, calibration }).perModality).map(([name, { accuracy }]) => [name, accuracy]));
    ofCell.set(calibration, alone);
    return alone;
  };
}

function metricsOf(samples: ScoredSamples, { rule, fusion }: Reading): Metrics {
  const { labels, classes } = samples;
  return computeMetrics({ probabilities: fuse(rule, samples, fusion).probabilities, labels, classes });
}

function degradedOf(samples: ScoredSamples, degraded: readonly DegradedModality[], { rule, fusion }: Reading): ReadResult['degraded'] {
  return evaluateRobustness(samples, { degraded, rules: [rule], spec: fusion, uniform: failingLots() }).map(({ degradation, share, fused }) => ({ degradation, share, ...fused[rule] }));
}

/** Of the study's own fused answer, the strongest of the attacks at each figure, as an auditor counts. */
function attackFigures({ rows }: CellMembership): AttackFigures | null {
  const fused = rows.filter(({ on }) => on === 'fused');
  if (fused.length === 0) return null;
  const found = (point: number): number => Math.max(...fused.map(({ points, members }) => (points[point]?.truePositives ?? 0) / members));
  return { auc: Math.max(...fused.map(({ auc }) => auc)), tpr: [found(0), found(1)] };
}

export interface Spread {
  readonly count: number;
  readonly mean: number;
  /** Sample standard deviation; null of fewer than two. */
  readonly deviation: number | null;
}

export function spreadOf(values: readonly number[]): Spread {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  return { count, mean, deviation: count < 2 ? null : Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1)) };
}

/** Results that differ in the seed alone: a line of the table. */
export interface Line {
  readonly first: ReadResult;
  readonly results: readonly ReadResult[];
}

/** The lines of one study on one set of records. */
export interface StudyLines {
  readonly title: string;
  readonly lines: readonly Line[];
}

export function studyLines(results: readonly ReadResult[]): readonly StudyLines[] {
  const placeOf = ({ reading: { cell } }: ReadResult): string => `${cell.study.name} (${cell.source.data.type === 'folder' ? cell.source.data.folder : cell.source.data.type})`;
  const groups = groupBy(results, placeOf);
  // The folder only where two studies have one name.
  const isAlone = (name: string): boolean => [...groups.keys()].filter((place) => place.startsWith(`${name} (`)).length === 1;
  return [...groups].map(([place, own]) => ({
    title: own[0] !== undefined && isAlone(own[0].reading.cell.study.name) ? own[0].reading.cell.study.name : place,
    lines: [...groupBy(own, ({ reading }) => `${armOf(reading)} ${reading.cell.epsilon}`).values()].flatMap((group) => (group[0] === undefined ? [] : [{ first: group[0], results: group }])),
  }));
}

/** Everything but epsilon and seed. */
export function armOf({ cell, preset, sites, settings, rule, fusion }: Reading): string {
  return canonicalJson([cell.source.path, cell.source.data, preset, sites ?? null, settings, rule, fusion]);
}
