import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { AntiphonError } from '../../shared/errors.ts';
import { FUSION_RULES } from '../../shared/fusion/evaluation.ts';
import { describeIssue, formatPath, inOurWords } from '../../shared/study/parse.ts';
import { PRESET_NAMES } from './presets.ts';

/** The experiment file: a grid of studies. `deploy/experiments/` has some; grid.ts says what it becomes. */

const epsilons = z.array(z.union([z.literal('none'), z.number().positive()])).min(1);
const seeds = z.array(z.int().min(0).max(2 ** 31 - 1)).min(1);
const siteCounts = z.array(z.int().positive()).min(1);
const presets = z.array(z.enum(PRESET_NAMES)).min(1);

/** What the grid itself sets, and would overwrite in silence. */
const OWN_KEYS: Readonly<Record<string, string>> = { seed: 'seeds', 'privacy.epsilon': 'epsilon', 'privacy.noiseMultiplier': 'epsilon (noise is calibrated for it)', 'privacy.protection': 'epsilon: [none]', sites: 'sites' };

/** A dotted path into the study file -> the values it takes in turn, as they would stand there. */
const overrides = z.record(
  z
    .string()
    .regex(/^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$/, 'expected a dotted path into the study file, such as head.protection')
    .refine((path) => !Object.hasOwn(OWN_KEYS, path), { error: ({ input }) => `not as an override: use the experiment's own key ${OWN_KEYS[String(input)] ?? ''}` }),
  z.array(z.unknown(), 'expected a list of values, such as [0.1, 0.5]').min(1),
);

const entry = z.strictObject({
  /** A path from the experiment file's folder, or the name of a shipped study. */
  study: z.string().min(1),
  /** Folder of its records, below --data. Omitted: --data itself; for the shipped `synthetic`: made up, by the seed. */
  data: z
    .string()
    .min(1)
    .refine((path) => !path.startsWith('/') && !path.split(/[\\/]/).includes('..'), 'expected a folder below --data, without ".."')
    .optional(),
  /** Each replaces the experiment's own for this study. */
  presets: presets.optional(),
  epsilon: epsilons.optional(),
  seeds: seeds.optional(),
  sites: siteCounts.optional(),
  overrides: overrides.optional(),
});

const experimentSchema = z.strictObject({
  experiment: z.literal(1),
  name: z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/, 'expected lower-case letters, digits and inner hyphens, at most 64'),
  description: z.string().max(2000).optional(),
  studies: z.array(entry).min(1),
  presets: presets.default(['antiphon']),
  epsilon: epsilons,
  seeds: seeds.default([1]),
  /** Sites per modality, as `simulate --sites`; omitted: those of the study. */
  sites: siteCounts.optional(),
  overrides: overrides.default({}),
  /** The fusion rules that are reported; omitted: the preset's own. */
  rules: z.array(z.enum(FUSION_RULES)).min(1).optional(),
  /** Also where one modality fails 10, 30 and 50 % of the test samples (shared/fusion/degrade.ts). */
  degraded: z.boolean().default(false),
  /** Attack every trained model, as `audit --membership`. */
  membership: z.boolean().default(false),
  /** Its reference models. */
  references: z.int().min(2).max(64).refine((count) => count % 2 === 0, 'expected an even number').default(4),
});

export type Experiment = z.output<typeof experimentSchema>;
export type ExperimentEntry = Experiment['studies'][number];
export type AskedEpsilon = Experiment['epsilon'][number];

/** `source` names the text in messages. Throws AntiphonError('study-invalid') with every fault, its line, and the key that was probably meant. */
export function parseExperiment(text: string, source: string): Experiment {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, strict: true });
  const [syntax] = document.errors;
  if (syntax !== undefined) throw new AntiphonError('study-invalid', `${source} is not valid YAML: ${syntax.message}`);
  const result = experimentSchema.safeParse(document.toJS({ maxAliasCount: 100 }), { error: inOurWords });
  if (result.success) return result.data;
  const lineOf = (path: readonly PropertyKey[]): string => {
    const node: unknown = document.getIn(path, true);
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) return `:${lines.linePos(Number(node.range[0])).line}`;
    return path.length === 0 ? '' : lineOf(path.slice(0, -1));
  };
  const faults = result.error.issues.flatMap((issue) => describeIssue(issue, experimentSchema)).map(({ path, message }) => `  ${source}${lineOf(path)} ${formatPath(path)}: ${message}`);
  throw new AntiphonError('study-invalid', `the experiment file has ${faults.length} fault${faults.length === 1 ? '' : 's'}:\n${faults.join('\n')}`);
}
