import fc from 'fast-check';
import { parse } from 'csv-parse/sync';
import { describe, expect, it } from 'vitest';
import type { CellMembership } from '../../deploy/experiment/cell-store.ts';
import { csvField, degradedCsv, resultsCsv } from '../../deploy/experiment/csv.ts';
import type { Cell, Grid } from '../../deploy/experiment/grid.ts';
import { epsilonPlots, experimentPage } from '../../deploy/experiment/page.ts';
import { createProgress, durationText, secondsLeft } from '../../deploy/experiment/progress.ts';
import { readResults, spreadOf, studyLines, type ReadResult } from '../../deploy/experiment/results.ts';
import { accuracyText, degradedTable, formatTables, spreadText } from '../../deploy/experiment/table.ts';
import { failingLots } from '../../coordinator/evaluate.ts';
import { evaluateRobustness, evaluateSamples } from '../../shared/fusion/evaluate.ts';
import { fitFusedTemperatures } from '../../shared/fusion/fused-temperature.ts';
import { finishedCell, gridOf, scoredSamples } from '../support/experiment-cells.ts';

/** Of ten samples the sure modality is right in so many. */
const RIGHT: Readonly<Record<string, number>> = { 'none 1': 9, 'none 2': 10, '2 1': 8, '2 2': 7, '0.5 1': 6, '0.5 2': 6 };
const rightOf = ({ epsilon, seed }: Cell): number => RIGHT[`${epsilon} ${seed}`] ?? 5;

function read(grid: Grid, more: { readonly without?: (cell: Cell) => boolean; readonly membership?: CellMembership; readonly degraded?: boolean } = {}): readonly ReadResult[] {
  const finished = new Map(grid.cells.filter((cell) => more.without?.(cell) !== true).map((cell) => [cell, finishedCell(cell, { right: rightOf(cell), ...(more.membership === undefined ? {} : { membership: more.membership }) })]));
  return readResults(grid.readings, ({ cell }) => finished.get(cell), { degraded: more.degraded ?? false });
}

const grid = gridOf('synthetic', 'epsilon: [none, 2, 0.5]', 'seeds: [1, 2]', 'rules: [hybrid, product]', 'overrides: { fusion.pool: [log], fusion.alpha: [0.3, 0.8] }');

describe('mean and spread', () => {
  it('are those of the textbook, with no spread of one value', () => {
    expect(spreadOf([2, 4, 4, 4, 5, 5, 7, 9])).toEqual({ count: 8, mean: 5, deviation: Math.sqrt(32 / 7) });
    expect(spreadOf([0.7])).toEqual({ count: 1, mean: 0.7, deviation: null });
    expect(spreadText([0.8, 0.84, null])).toBe('82.0 ± 2.8');
    expect([spreadText([0.4567]), spreadText([null])]).toEqual(['45.7', '–']);
  });
});

describe('readings of trained cells', () => {
  it('are what the evaluation of the same scores gives, rule by rule', () => {
    for (const { reading, test } of read(grid)) {
      const [selection, samples] = [scoredSamples(rightOf(reading.cell), 20), scoredSamples(rightOf(reading.cell))];
      const whole = evaluateSamples({ ...samples, temperatures: fitFusedTemperatures(selection, reading.fusion) }, reading.fusion);
      expect(test).toEqual(whole.fused[reading.rule]);
    }
  });

  it('keep a share of the mean non-private accuracy of the same method', () => {
    const results = read(grid);
    const accuracies = (epsilon: unknown): number[] => results.filter(({ reading: { cell, rule } }) => cell.epsilon === epsilon && rule === 'product').map(({ test }) => test.accuracy);
    const free = (accuracies('none')[0]! + accuracies('none')[1]!) / 2;
    const kept = results.filter(({ reading: { cell, rule } }) => cell.epsilon === 0.5 && rule === 'product').map((result) => result.kept);
    expect(kept).toEqual(accuracies(0.5).map((accuracy) => accuracy / free));
    expect(kept[0]).toBeLessThan(1);
    expect(read(grid, { without: ({ epsilon }) => epsilon === 'none' }).every((result) => result.kept === null)).toBe(true);
  });

  it('tell what each rule is worth where a modality fails, if the experiment asks, in a table and a file of their own', () => {
    const results = read(grid, { degraded: true });
    const [first] = results;
    expect(first!.degraded.map(({ degradation, share }) => `${degradation} ${share}`)).toEqual(['noise', 'blank', 'swap', 'missing'].flatMap((kind) => [0.1, 0.3, 0.5].map((share) => `${kind} ${share}`)));
    const { finished, reading } = first!;
    const { selection, test, degraded } = finished.scores;
    const whole = evaluateRobustness({ ...test, temperatures: fitFusedTemperatures(selection, reading.fusion) }, { degraded, rules: ['hybrid'], spec: reading.fusion, uniform: failingLots() });
    expect(first!.degraded[4]).toEqual({ degradation: 'blank', share: 0.3, ...whole[4]!.fused.hybrid });
    expect(first!.degraded[8]!.accuracy).toBeLessThan(first!.test.accuracy);

    const rows: Record<string, string>[] = parse(degradedCsv(results), { columns: true });
    expect(rows).toHaveLength(13 * results.length);
    expect(rows[0]).toMatchObject({ degradation: 'none', share: '0', accuracy: String(first!.test.accuracy) });
    expect(rows[5]).toMatchObject({ study: 'synthetic', rule: 'hybrid', alpha: '0.3', pool: 'log', calibration: 'selection', degradation: 'blank', share: '0.3', nll: String(first!.degraded[4]!.nll) });
    expect(rows.find(({ rule }) => rule === 'product')).toMatchObject({ calibration: 'temperature', alpha: '' });

    const [study] = studyLines(results);
    const table = degradedTable(study!);
    expect(table?.head).toEqual(['method', 'epsilon', 'intact', 'noise', 'blank', 'swap', 'missing']);
    const line = study!.lines[0]!;
    const swaps = line.results.map(({ degraded: all }) => all[7]!);
    const mean = (of: (one: (typeof swaps)[number]) => number): number => swaps.reduce((sum, one) => sum + of(one), 0) / swaps.length;
    expect(swaps.map(({ degradation, share }) => [degradation, share])).toEqual([['swap', 0.3], ['swap', 0.3]]);
    expect(table?.rows[0]?.[5]).toBe(`${(100 * mean((one) => one.accuracy)).toFixed(1)} / ${(100 * mean((one) => one.ece15)).toFixed(1)} / ${mean((one) => one.nll).toFixed(3)}`);
    expect(formatTables([study!], { color: false })).toContain('one modality fails 30 % of the samples');

    const [unasked] = studyLines(read(grid));
    expect(degradedTable(unasked!)).toBeUndefined();
    expect(formatTables([unasked!], { color: false })).not.toContain('fails');
  });

  it('tell what a modality is worth alone by the calibration that their own rule sees, in whatever order they come', () => {
    const calibrated = gridOf('synthetic', 'epsilon: [2]', 'rules: [hybrid, product]', 'overrides: { fusion.calibration: [none, selection] }');
    const [cell] = calibrated.cells;
    const finished = finishedCell(cell!, { right: 8 });
    const { sure } = finished.scores.test.modalities;
    // Of every record that it is wrong about, calibration believes nothing: who does not calibrate counts them.
    const wrong = (i: number): boolean => i % 10 >= 8;
    const test = { ...finished.scores.test, modalities: { ...finished.scores.test.modalities, sure: { ...sure!, reliability: Float32Array.from({ length: 50 }, (_, i) => (wrong(i) ? 0 : 1)) } } };
    const silenced = { ...finished, scores: { ...finished.scores, test } };
    for (const readings of [calibrated.readings, calibrated.readings.toReversed()]) {
      const alone = new Map(readResults(readings, () => silenced, { degraded: false }).map(({ reading: { rule, fusion }, alone: { sure: accuracy } }) => [`${rule} ${fusion.calibration}`, accuracy]));
      expect(Object.fromEntries(alone)).toEqual({ 'hybrid none': 0.8, 'hybrid selection': 1, 'product none': 0.8, 'product selection': 0.8 });
    }
  });

  it('make one line of the seeds, and leave out what has not been run', () => {
    const [study, ...others] = studyLines(read(grid, { without: ({ epsilon, seed }) => epsilon === 2 && seed === 2 }));
    expect(others).toEqual([]);
    // Three rules seen (hybrid twice), three budgets.
    expect(study?.lines.map(({ results }) => results.length).sort()).toEqual([1, 1, 1, 2, 2, 2, 2, 2, 2]);
    expect(study?.title).toBe('synthetic');
  });

  it('take the strongest attack on the fused answer', () => {
    const row = (on: string, attack: string, auc: number, found: readonly [number, number]): CellMembership['rows'][number] => ({ on, attack, members: 40, nonMembers: 90, auc, chance: 0.05, points: found.map((truePositives, i) => ({ truePositives, rate: [0.001, 0.01][i]! })) });
    const membership: CellMembership = { audit: 'membership', references: 4, rows: [row('sure', 'loss', 0.9, [30, 30]), row('fused', 'loss', 0.58, [1, 6]), row('fused', 'rmia', 0.63, [0, 4])] };
    const results = read(grid, { membership });
    expect(results[0]?.attack).toEqual({ auc: 0.63, tpr: [1 / 40, 6 / 40] });
    expect(formatTables(studyLines(results), { color: false })).toMatch(/│ 0\.630 ± 0\.000 │ +2\.5 ± 0\.0 │ 15\.0 ± 0\.0 │/);
  });
});

describe('results.csv', () => {
  it('quotes what it has to, and any text comes back (property)', () => {
    expect([csvField('plain'), csvField('a,b'), csvField('say "a"'), csvField(0.25), csvField(null)]).toEqual(['plain', '"a,b"', '"say ""a"""', '0.25', '']);
    fc.assert(fc.property(fc.array(fc.string(), { minLength: 2, maxLength: 4 }), (fields) => {
      expect(parse(`${fields.map(csvField).join(',')}\n`, { skip_empty_lines: false })).toEqual([fields]);
    }));
  });

  it('has a row per cell and rule with weighted and macro averages, and empty fields where there is no number', () => {
    const results = read(gridOf('synthetic', 'epsilon: [none, 2]', 'seeds: [1, 2]', 'overrides: { head.features: [7], modalities.image.encoder.hidden: [[5, 4]] }'));
    const rows: Record<string, string>[] = parse(resultsCsv(results), { columns: true });
    expect(rows).toHaveLength(4);
    const [first] = rows;
    expect(first?.['settings']).toBe('head.features=7 modalities.image.encoder.hidden=[5,4]');
    expect([first?.['epsilon'], first?.['epsilon_spent'], first?.['membership_auc']]).toEqual(['none', '', '']);
    const [product]: Record<string, string>[] = parse(resultsCsv(read(grid).filter(({ reading: { rule } }) => rule === 'product')), { columns: true });
    expect([first?.['alpha'], first?.['pool'], product?.['alpha'], product?.['pool']]).toEqual(['', 'robust', '', '']);
    const { test, alone } = results[0]!;
    expect(Number(first?.['recall_weighted'])).toBe(test.accuracy);
    expect(Number(first?.['f1_macro'])).toBe(test.macro.f1);
    expect(Number(first?.['accuracy_hardly'])).toBe(alone['hardly']);
    expect(Number(rows[2]?.['epsilon_rdp'])).toBe(2.2);
  });
});

describe('the table and the page', () => {
  it('show every line with its mean and spread, and say how many seeds it has', () => {
    const text = formatTables(studyLines(read(grid)), { color: false });
    expect(text).toContain('2 seeds a line, 50 test samples');
    expect(text).toMatch(/antiphon fused \(log pool, uncertainty weights\) .*alpha=0\.3 +│ +2 │/);
    expect(text).toMatch(/antiphon product +│ +none │/);
    expect(text.match(/∞/g)).toHaveLength(3);
    expect(text).not.toContain('TPR');
  });

  it('plot means against epsilon in rising order, with the non-private line level', () => {
    const [study] = studyLines(read(grid));
    const [accuracy, ece] = epsilonPlots(study!.lines, 3);
    expect([accuracy?.id, ece?.id]).toEqual(['accuracy-3', 'ece15-3']);
    expect(accuracy?.epsilons).toEqual([0.5, 2]);
    const [solid, dashed] = accuracy!.series;
    expect(dashed).toMatchObject({ name: `${solid!.name}, no privacy`, color: solid!.color, dash: [6, 4] });
    expect(dashed!.values[0]).toBe(dashed!.values[1]);
    expect(solid!.values[0]).toBeLessThan(solid!.values[1]!);
    expect(accuracy?.series).toHaveLength(6);
    expect(epsilonPlots(study!.lines.filter(({ first }) => first.reading.cell.epsilon !== 2), 0)).toEqual([]);
  });

  it('let no name out of the page\'s text', () => {
    const page = experimentPage({ name: 'grid', description: 'of <script>alert(7)</script>', studies: studyLines(read(grid)), remarks: ['failed <img src=x>'], plotLibrary: { script: '', style: '' } });
    expect(page).not.toContain('<script>alert');
    expect(page).not.toContain('<img');
    expect(page).toContain('ConfAcc_Low');
  });
});

describe('progress', () => {
  const [none, two, half] = gridOf('synthetic', 'epsilon: [none, 2, 0.5]').cells;
  const [heart] = gridOf('uci-heart', 'epsilon: [2]').cells;

  it('expects of a cell what cells like it took, less what it has run, shared by the jobs', () => {
    const known = [{ cell: none!, seconds: 30 }, { cell: two!, seconds: 10 }];
    expect(secondsLeft({ known: [], waiting: [half!], running: [], jobs: 1 })).toBeUndefined();
    expect(secondsLeft({ known, waiting: [half!], running: [], jobs: 1 })).toBe(10);
    expect(secondsLeft({ known, waiting: [half!, heart!], running: [{ cell: none!, seconds: 12 }], jobs: 2 })).toBe((10 + 20 + 18) / 2);
    expect(secondsLeft({ known, waiting: [], running: [{ cell: two!, seconds: 25 }], jobs: 1 })).toBe(0);
    expect([durationText(41.2), durationText(125), durationText(7325)]).toEqual(['42 s', '2 min 5 s', '2 h 2 min']);
  });

  it('tells the numbers of the table, each by the pool of its preset, though one cell serves several', () => {
    const shared = gridOf('avmnist-hard', 'epsilon: [none]', 'presets: [mla, pamrl]');
    expect(shared.cells).toHaveLength(1);
    const results = read(shared);
    const [entropy, linear] = results.map(({ test }) => `${(100 * test.accuracy).toFixed(1)} %`);
    expect(accuracyText(results)).toBe(`mla entropy ${entropy}, pamrl fused (linear pool, uncertainty weights) ${linear}`);
    expect(accuracyText(read(grid))).toMatch(/, \d+ readings more$/);
  });

  it('is a plain line a cell where there is no terminal', () => {
    const lines: string[] = [];
    const stream = { write: (text: string) => lines.push(text) > 0 } as unknown as NodeJS.WriteStream;
    let now = 5000;
    const progress = createProgress({ stream, live: false, color: false }, { cells: [none!, two!, half!], done: [{ cell: none!, seconds: 20 }], jobs: 1, now: () => now });
    progress.started(two!);
    now += 8000;
    progress.finished(two!, { seconds: 8, text: 'fused 71.0 %', failed: false });
    progress.started(half!);
    progress.finished(half!, { seconds: 2, text: 'FAILED: no disk', failed: true });
    progress.close();
    expect(lines).toEqual(['running synthetic epsilon=2 seed=1\n', '2/3 synthetic epsilon=2 seed=1: fused 71.0 %, 8 s · about 8 s left\n', 'running synthetic epsilon=0.5 seed=1\n', '3/3 synthetic epsilon=0.5 seed=1: FAILED: no disk, 2 s\n']);
  });
});
