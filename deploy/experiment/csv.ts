import { calibrationOf } from '../../shared/fusion/rules.ts';
import { keysSeen, type Reading } from './grid.ts';
import type { ReadResult } from './results.ts';
import { settingsText } from './settings.ts';

type Fields = Readonly<Record<string, string | number | null>>;

/** RFC 4180: quoted where it has to be. */
export function csvField(value: string | number | null): string {
  if (value === null) return '';
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * results.csv: one row per cell and reported rule. Shares in [0, 1]; an empty field where there is no number (epsilon spent: infinite, without privacy)
 * and where the rule does not see a setting. `rule` is the key of an experiment file: `hybrid` is the study's own rule, by its `pool`. */
export function resultsCsv(results: readonly ReadResult[]): string {
  const modalities = [...new Set(results.flatMap(({ alone }) => Object.keys(alone)))];
  return csvText(results.map((row) => fieldsOf(row, modalities)));
}

function fieldsOf({ reading, finished, test, selectionAccuracy, alone, kept, attack }: ReadResult, modalities: readonly string[]): Fields {
  const { result } = finished;
  return {
    ...readingFields(reading),
    samples: test.samples,
    accuracy: test.accuracy,
    precision_weighted: test.weighted.precision,
    f1_weighted: test.weighted.f1,
    recall_weighted: test.weighted.recall,
    precision_macro: test.macro.precision,
    f1_macro: test.macro.f1,
    recall_macro: test.macro.recall,
    ece10: test.ece10,
    ece15: test.ece15,
    ece15_perfect: test.ece15Perfect,
    conf_acc_low: test.confAccLow,
    conf_acc_low_count: test.confAccLowCount,
    nll: test.nll,
    kept,
    selection_accuracy: selectionAccuracy,
    ...Object.fromEntries(modalities.map((name) => [`accuracy_${name}`, alone[name] ?? null])),
    epsilon_spent: result.spent.epsilon,
    epsilon_pld: result.spent.pld,
    epsilon_rdp: result.spent.rdp,
    delta: result.spent.delta,
    rounds: result.rounds,
    seconds: result.seconds,
    membership_auc: attack?.auc ?? null,
    membership_tpr_at_fpr_0_001: attack?.tpr[0] ?? null,
    membership_tpr_at_fpr_0_01: attack?.tpr[1] ?? null,
    study_hash: result.identity.study,
    data: result.identity.data,
    software: result.identity.software,
  };
}

/** degraded.csv: one row per cell, reported rule, way to fail and share of the samples; `none` is the intact test part. */
export function degradedCsv(results: readonly ReadResult[]): string {
  const rows = results.flatMap(({ reading, test, degraded }) =>
    [{ degradation: 'none', share: 0, ...test }, ...degraded].map(({ degradation, share, accuracy, ece15, nll }) => ({ ...readingFields(reading), degradation, share, accuracy, ece15, nll })),
  );
  return csvText(rows);
}

/** Which reading it is. */
function readingFields({ cell, preset, sites, settings, rule, fusion }: Reading): Fields {
  const seen = new Set(keysSeen(rule, fusion));
  return {
    study: cell.study.name,
    preset,
    epsilon: cell.epsilon,
    seed: cell.seed,
    sites: sites ?? null,
    settings: settingsText(settings),
    rule,
    alpha: seen.has('alpha') ? fusion.alpha : null,
    tau: seen.has('tau') ? fusion.tau : null,
    pool: seen.has('pool') ? fusion.pool : null,
    reference: seen.has('reference') ? fusion.reference : null,
    contamination: seen.has('contamination') ? fusion.contamination : null,
    calibration: calibrationOf(rule, fusion),
  };
}

function csvText(rows: readonly Fields[]): string {
  return [Object.keys(rows[0] ?? {}), ...rows.map((row) => Object.values(row))].map((fields) => `${fields.map(csvField).join(',')}\n`).join('');
}
