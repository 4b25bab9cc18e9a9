import Table from 'cli-table3';
import { createColors } from 'picocolors';
import { tableStyle } from '../display.ts';
import { epsilonFigure } from '../../shared/epsilon-text.ts';
import type { DegradedMetrics } from '../../shared/fusion/evaluation.ts';
import { poolName } from '../../coordinator/report/fusion-rows.ts';
import type { Reading } from './grid.ts';
import { spreadOf, type Line, type ReadResult, type StudyLines } from './results.ts';
import { settingsText } from './settings.ts';
import { counted } from '../../shared/plural.ts';

/** What a line is of, without its study and epsilon. */
export function methodOf({ first: { reading } }: Line): string {
  return methodName(reading);
}

export function methodName({ preset, sites, settings, rule: key, fusion, fusionSettings }: Pick<Reading, 'preset' | 'sites' | 'settings' | 'rule' | 'fusion' | 'fusionSettings'>): string {
  const rule = key === 'hybrid' ? `fused (${poolName(fusion.pool)})` : key;
  return [preset, ...(sites === undefined ? [] : [counted(sites, 'site')]), settingsText(settings), rule, settingsText(fusionSettings).replaceAll('fusion.', '')].filter((part) => part !== '').join(' ');
}

/** Per cent, mean and sample standard deviation; "–" where there is no number. */
export function spreadText(values: readonly (number | null)[], digits = 1): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return '–';
  const { mean, deviation } = spreadOf(known);
  return `${(100 * mean).toFixed(digits)}${deviation === null ? '' : ` ± ${(100 * deviation).toFixed(digits)}`}`;
}

export interface StudyTable {
  /** How many seeds and samples. */
  readonly basis: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Shares in per cent; macro averages are in the CSV. */
export function studyTable({ lines }: StudyLines): StudyTable {
  const modalities = [...new Set(lines.flatMap(({ first }) => Object.keys(first.alone)))];
  const attacked = lines.some(({ results }) => results.some(({ attack }) => attack !== null));
  const counts = lines.map(({ results }) => results.length);
  const [fewest, most] = [Math.min(...counts), Math.max(...counts)];
  return {
    basis: `${fewest === most ? most : `${fewest} to ${most}`} seed${most === 1 ? '' : 's'} a line, ${lines[0]?.first.test.samples ?? 0} test samples`,
    head: ['method', 'epsilon', 'Acc', 'Prec', 'F1', 'Recall', 'ECE10', 'ECE15', 'ConfAcc_Low (n)', 'kept', ...modalities, 'spent', ...(attacked ? ['AUC', 'TPR@0.1%', 'TPR@1%'] : [])],
    rows: lines.map((line) => rowOf(line, { modalities, attacked })),
  };
}

function rowOf(line: Line, { modalities, attacked }: { readonly modalities: readonly string[]; readonly attacked: boolean }): readonly string[] {
  const { results } = line;
  const of = (valueOf: (result: ReadResult) => number | null): string => spreadText(results.map(valueOf));
  const low = spreadOf(results.map(({ test }) => test.confAccLowCount)).mean;
  const spent = results.flatMap(({ finished }) => finished.result.spent.epsilon ?? []);
  return [
    methodOf(line),
    String(line.first.reading.cell.epsilon),
    of(({ test }) => test.accuracy),
    of(({ test }) => test.weighted.precision),
    of(({ test }) => test.weighted.f1),
    of(({ test }) => test.weighted.recall),
    of(({ test }) => test.ece10),
    of(({ test }) => test.ece15),
    `${of(({ test }) => test.confAccLow)} (${Number(low.toFixed(1))})`,
    of(({ kept }) => kept),
    ...modalities.map((name) => of(({ alone }) => alone[name] ?? null)),
    spent.length === 0 ? '∞' : String(Number(epsilonFigure(Math.max(...spent), 3))),
    ...(attacked ? [areaText(results.flatMap(({ attack }) => attack?.auc ?? [])), of(({ attack }) => attack?.tpr[0] ?? null), of(({ attack }) => attack?.tpr[1] ?? null)] : []),
  ];
}

/** The share of failing samples that tables show; the others are in degraded.csv. */
const SHOWN_SHARE = 0.3;

/** Accuracy and calibration error in per cent, negative log-likelihood in nats, means over modalities and seeds, where one modality fails some samples; undefined where nobody asked. */
export function degradedTable({ lines }: StudyLines): StudyTable | undefined {
  const kinds = (lines[0]?.first.degraded ?? []).filter(({ share }) => share === SHOWN_SHARE).map(({ degradation }) => degradation);
  if (kinds.length === 0) return undefined;
  const text = (all: readonly (DegradedMetrics | undefined)[]): string => {
    const some = all.filter((one) => one !== undefined);
    const mean = (of: (one: DegradedMetrics) => number): number => spreadOf(some.map(of)).mean;
    return `${(100 * mean(({ accuracy }) => accuracy)).toFixed(1)} / ${(100 * mean(({ ece15 }) => ece15)).toFixed(1)} / ${mean(({ nll }) => nll).toFixed(3)}`;
  };
  return {
    basis: `accuracy / ECE15 in per cent / NLL in nats, means over seeds and modalities, where one modality fails ${100 * SHOWN_SHARE} % of the samples; other shares are in degraded.csv`,
    head: ['method', 'epsilon', 'intact', ...kinds],
    rows: lines.map((line) => [
      methodOf(line),
      String(line.first.reading.cell.epsilon),
      text(line.results.map(({ test }) => test)),
      ...kinds.map((kind) => text(line.results.map(({ degraded }) => degraded.find(({ degradation, share }) => degradation === kind && share === SHOWN_SHARE)))),
    ]),
  };
}

/** An area is no share of anything: as a number. */
function areaText(areas: readonly number[]): string {
  if (areas.length === 0) return '–';
  const { mean, deviation } = spreadOf(areas);
  return `${mean.toFixed(3)}${deviation === null ? '' : ` ± ${deviation.toFixed(3)}`}`;
}

export function formatTables(studies: readonly StudyLines[], { color }: { readonly color: boolean }): string {
  const paint = createColors(color);
  return studies
    .map((study) => {
      const draw = ({ head, rows }: StudyTable): string => {
        const table = new Table({ head: [...head], colAligns: head.map((_, i) => (i === 0 ? 'left' : 'right')), style: tableStyle(color) });
        for (const row of rows) table.push([...row]);
        return `${table.toString()}\n`;
      };
      const [all, failing] = [studyTable(study), degradedTable(study)];
      const main = `${paint.bold(study.title)}: per cent, mean ± standard deviation; ${all.basis}\n${draw(all)}`;
      return failing === undefined ? main : `${main}\n${paint.bold(study.title)}: ${failing.basis}\n${draw(failing)}`;
    })
    .join('\n');
}

const TOLD = 3;

/** The first few of the table's own numbers of one cell: each by its preset's rule and pool. */
export function accuracyText(results: readonly ReadResult[]): string {
  const told = results.slice(0, TOLD).map(({ reading: { preset, rule, fusion, fusionSettings }, test }) => `${methodName({ preset, rule, fusion, fusionSettings, sites: undefined, settings: {} })} ${(100 * test.accuracy).toFixed(1)} %`);
  return [...told, ...(results.length > TOLD ? [`${results.length - TOLD} readings more`] : [])].join(', ');
}
