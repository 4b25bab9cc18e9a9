import { parse as parseYaml, stringify } from 'yaml';
import { AntiphonError } from '../../shared/errors.ts';
import { calibrationOf } from '../../shared/fusion/rules.ts';
import type { FusionRule } from '../../shared/fusion/evaluation.ts';
import { canonicalJson } from '../../shared/ledger/canonical.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { FusionSpec, Study } from '../../shared/study/schema.ts';
import { overrideStudy } from '../overrides.ts';
import { groupBy } from './group-by.ts';
import { PRESETS, type PresetName } from './presets.ts';
import { combinations, isFusion, pick, settingsText, withSettings, type Settings } from './settings.ts';
import type { AskedEpsilon, Experiment, ExperimentEntry } from './schema.ts';

/** A study of the experiment and where its records are. */
export interface StudySource {
  readonly path: string;
  readonly text: string;
  /** A folder, or records made up by the seed. */
  readonly data: { readonly type: 'folder'; readonly folder: string } | { readonly type: 'made-up' };
}

/** One training: what `antiphon simulate` would run. */
export interface Cell {
  readonly name: string;
  readonly study: Study;
  readonly source: StudySource;
  readonly epsilon: AskedEpsilon;
  readonly seed: number;
}

/** One number to report: a trained cell, fused by one rule with one set of fusion settings. Readings that differ in the seed alone make one line of the table. */
export interface Reading {
  readonly cell: Cell;
  readonly preset: PresetName;
  readonly sites: number | undefined;
  /** The changes to the study, as named in the experiment. */
  readonly settings: Settings;
  readonly rule: FusionRule;
  readonly fusion: FusionSpec;
  /** The named changes of fusion that this rule sees. */
  readonly fusionSettings: Settings;
}

export interface Grid {
  readonly cells: readonly Cell[];
  readonly readings: readonly Reading[];
}

/**
 * Every combination that the experiment names for one of its studies. Combinations that train the same study (`mla` and `pamrl` without privacy; clip norms without clipping) share a
 * cell, and fusion settings make readings, never cells. Pure. Throws AntiphonError('study-invalid') on the first that is no valid study.
 */
export function expandStudy(experiment: Experiment, { entry, source }: { readonly entry: ExperimentEntry; readonly source: StudySource }): Grid {
  const values = entry.overrides ?? experiment.overrides;
  const seeds = entry.seeds ?? experiment.seeds;
  const siteCounts = entry.sites ?? experiment.sites ?? [undefined];
  const trainings = combinations(Object.fromEntries(Object.entries(values).filter(([path]) => !isFusion(path))));
  const fusions = combinations(Object.fromEntries(Object.entries(values).filter(([path]) => isFusion(path))));
  const cells = new Map<string, Cell & { readonly presets: Set<PresetName> }>();
  const found: (Omit<Reading, 'cell'> & { readonly key: string })[] = [];
  for (const preset of entry.presets ?? experiment.presets) {
    const { settings: own, rule, private: hasPrivate } = PRESETS[preset];
    for (const sites of siteCounts) {
      for (const settings of trainings) {
        const trained = { ...pick(own, (path) => !isFusion(path)), ...settings };
        const specs = fusions.map((fusionSettings) => ({ fusionSettings, fusion: studyWith(source, { ...own, ...settings, ...fusionSettings }).fusion }));
        const variants = uniqueVariants((experiment.rules ?? [rule]).flatMap((one) => specs.map((spec) => variantOf(one, spec))));
        for (const epsilon of entry.epsilon ?? experiment.epsilon) {
          if (epsilon !== 'none' && !hasPrivate) continue;
          for (const seed of seeds) {
            const study = cellStudy(source, { settings: trained, sites, epsilon, seed });
            const key = canonicalJson(study);
            const cell = cells.get(key) ?? { name: nameOf({ study, entry, epsilon, seed, sites, settings }), study, source, epsilon, seed, presets: new Set() };
            cell.presets.add(preset);
            cells.set(key, cell);
            for (const variant of variants) found.push({ key, preset, sites, settings, ...variant });
          }
        }
      }
    }
  }
  // Which presets share a cell is known at the end only.
  const named = new Map([...cells].map(([key, { presets, name, ...cell }]) => [key, { ...cell, name: [name, ...presetWords(presets)].join(' ') }]));
  return { cells: [...named.values()], readings: found.flatMap(({ key, ...reading }) => { const cell = named.get(key); return cell === undefined ? [] : [{ cell, ...reading }]; }) };
}

function studyWith({ path, text }: StudySource, settings: Settings): Study {
  // The file alone first: then a fault of it is told with its own line.
  const study = parseStudy(text, path);
  if (Object.keys(settings).length === 0) return study;
  return parseStudy(stringify(withSettings(parseYaml(text, { maxAliasCount: 100 }), settings)), `${path} with ${settingsText(settings)}`);
}

function cellStudy(source: StudySource, { settings, sites, epsilon, seed }: { readonly settings: Settings; readonly sites: number | undefined; readonly epsilon: AskedEpsilon; readonly seed: number }): Study {
  const study = studyWith(source, settings);
  if (study.evaluation === undefined) throw new AntiphonError('study-invalid', `${source.path} has no "evaluation": an experiment compares accuracies, so every study of it needs public test records`);
  return overrideStudy(study, { ...(sites === undefined ? {} : { sites }), ...(epsilon === 'none' ? { noPrivacy: true } : { epsilon }), seed });
}

type Variant = Pick<Reading, 'rule' | 'fusion' | 'fusionSettings'>;

function variantOf(rule: FusionRule, { fusion, fusionSettings }: Pick<Reading, 'fusion' | 'fusionSettings'>): Variant {
  const seen = keysSeen(rule, fusion);
  const isSeen = (path: string): boolean => seen.some((key) => path === 'fusion' || path === `fusion.${key}` || path.startsWith(`fusion.${key}.`));
  return { rule, fusion, fusionSettings: pick(fusionSettings, isSeen) };
}

/** The first of those that give the same numbers: an equal-weight rule sees no alpha. */
function uniqueVariants(variants: readonly Variant[]): readonly Variant[] {
  const keyOf = ({ rule, fusion }: Variant): string => canonicalJson([rule, calibrationOf(rule, fusion), ...keysSeen(rule, fusion).map((key) => (key === 'calibration' ? null : (fusion[key] ?? null)))]);
  return [...groupBy(variants, keyOf).values()].flatMap(([first]) => first ?? []);
}

/** What of the fusion settings a rule depends on (shared/fusion/rules.ts). */
export function keysSeen(rule: FusionRule, { alpha, pool }: Pick<FusionSpec, 'alpha' | 'pool'>): readonly (keyof FusionSpec)[] {
  // With alpha 1 there is no divergence, so nothing for it to refer to.
  const weights = ['alpha', 'tau', ...(alpha === 1 ? [] : (['reference'] as const))] as const;
  switch (rule) {
    case 'equal':
    case 'entropy':
      return ['calibration'];
    case 'product':
      return ['calibration', 'prior'];
    case 'product-uncalibrated':
      return ['prior'];
    case 'robust':
      return ['calibration', 'contamination', 'prior'];
    case 'hybrid-linear':
      return ['calibration', ...weights];
    case 'hybrid-log':
      return ['calibration', ...weights, 'prior'];
    case 'hybrid':
      return ['pool', ...keysSeen(pool === 'robust' ? 'robust' : `hybrid-${pool}`, { alpha, pool })];
  }
}

/** None where the study is trained as it is, and for nothing else. */
function presetWords(presets: ReadonlySet<PresetName>): readonly string[] {
  return presets.size === 1 && presets.has('antiphon') ? [] : [...presets].map((preset) => `preset=${preset}`);
}

/** Says what is trained; `--only` looks in it. */
function nameOf(input: { readonly study: Study; readonly entry: ExperimentEntry; readonly epsilon: AskedEpsilon; readonly seed: number; readonly sites: number | undefined; readonly settings: Settings }): string {
  const { study, entry, epsilon, seed, sites, settings } = input;
  return [study.name, ...(entry.data === undefined || entry.data === '.' ? [] : [`data=${entry.data}`]), `epsilon=${epsilon}`, `seed=${seed}`, ...(sites === undefined ? [] : [`sites=${sites}`]), settingsText(settings)].filter((part) => part !== '').join(' ');
}
