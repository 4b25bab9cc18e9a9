import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { Command } from 'commander';
import { z } from 'zod';
import { loadPlotLibrary } from '../coordinator/report/page.ts';
import { AntiphonError } from '../shared/errors.ts';
import { writeFileAtomic } from '../shared/platform/atomic-file.ts';
import { rdpEpsilon } from '../shared/privacy/accountant.ts';
import type { PrivacyEvent } from '../shared/privacy/event.ts';
import { pldEpsilon } from '../shared/privacy/pld.ts';
import { parseStudy } from '../shared/study/parse.ts';
import { roundBounds } from '../shared/study/adaptive.ts';
import { resolveStudy } from '../shared/study/resolve.ts';
import { scheduleOrder } from '../shared/study/schedule.ts';
import type { Study } from '../shared/study/schema.ts';
import { numberOption, positiveOption } from '../shared/options.ts';
import { overrideStudy } from './overrides.ts';
import { answerPlan, planJson, type PlanAnswer, type PlanQuestion } from './plan-answer.ts';
import { MOST_ROUNDS, type Plan } from './plan-model.ts';
import { planPage, planSvg } from './plan-plot.ts';
import { formatEvents, formatPlan } from './plan-text.ts';
import type { StudyFile } from './study-file.ts';

export interface PlanCliParts {
  readonly readStudy: (given: string) => Promise<StudyFile>;
  readonly write: (text: string) => void;
  readonly color: boolean;
}

interface PlanOptions {
  readonly events?: string;
  readonly study?: string;
  readonly epsilon?: number;
  readonly delta?: number;
  readonly noiseMultiplier?: number;
  readonly samplingRate?: number;
  readonly steps?: number;
  readonly modalities?: number;
  readonly rounds?: number;
  readonly localSteps?: number;
  readonly patients?: number;
  readonly out?: string;
  readonly json?: boolean;
}

const whole = (most: number): ((text: string) => number) => numberOption(`a whole number from 1 to ${most}`, (value) => Number.isInteger(value) && value >= 1 && value <= most);
const delta = numberOption('a delta above 0 and below 1', (value) => value > 0 && value < 1);
const rate = numberOption('a sampling rate above 0 and at most 1', (value) => value > 0 && value <= 1);

const PLAIN_OPTIONS = ['samplingRate', 'steps', 'modalities', 'localSteps', 'patients'] as const;
const flag = (name: string): string => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** `antiphon plan`: how much noise, how much epsilon, how many rounds; nothing is run and no data are read. */
export function planCommand(parts: PlanCliParts): Command {
  return new Command('plan')
    .description('how much noise, epsilon or how many rounds: of a study file, of plain numbers, or of a list of releases; nothing is run')
    .option('--study <file>', 'a study file or the name of a shipped study; --epsilon, --delta, --rounds and --noise-multiplier replace what it says')
    .option('--events <file>', 'JSON list of {"samplingRate", "noiseMultiplier", "steps"}: epsilon of all of them together')
    .option('--epsilon <number>', 'the budget; without --noise-multiplier the noise is looked for', positiveOption)
    .option('--delta <number>', 'its delta', delta)
    .option('--noise-multiplier <number>', 'noise standard deviation / clip norm', positiveOption)
    .option('--sampling-rate <number>', 'probability with which a step takes a patient', rate)
    .option('--steps <number>', 'steps in all, of one modality (or --rounds)', whole(MOST_ROUNDS))
    .option('--rounds <number>', 'rounds in all, each of one modality in turn', whole(MOST_ROUNDS))
    .option('--local-steps <number>', 'steps of a round (default: 1)', whole(MOST_ROUNDS))
    .option('--modalities <number>', 'modalities in turn (default: 1)', whole(100))
    .option('--patients <number>', 'patients of a site, to see how many a step takes', whole(1e9))
    .option('--out <file>', 'write a plot of epsilon over the rounds: .html (a page) or .svg')
    .option('--json', 'print one JSON object and nothing else')
    .action((options: PlanOptions) => runPlan(options, parts));
}

async function runPlan(options: PlanOptions, { readStudy, write, color }: PlanCliParts): Promise<void> {
  const { out, json } = options;
  const kind = out === undefined ? undefined : extname(out).toLowerCase();
  if (kind !== undefined && kind !== '.html' && kind !== '.svg') throw new AntiphonError('usage', `expected an --out that ends in .html or .svg, found "${out ?? ''}"`);
  if (options.events !== undefined) {
    write(await eventsText(options, { events: options.events, color }));
    return;
  }
  const answer = options.study === undefined ? plainAnswer(plainQuestion(options)) : answerPlan(await studyQuestion(options, { given: options.study, readStudy }));
  if (out !== undefined) await writeFileAtomic(out, kind === '.svg' ? planSvg(answer) : planPage(answer, await loadPlotLibrary()));
  write(json === true ? `${JSON.stringify(planJson(answer))}\n` : formatPlan(answer, { color, out }));
}

/** Without a study file whatever cannot be planned is a fault of the command line. */
function plainAnswer(question: PlanQuestion): PlanAnswer {
  try {
    return answerPlan(question);
  } catch (error) {
    throw error instanceof AntiphonError && error.code === 'study-invalid' ? new AntiphonError('usage', error.message, { cause: error }) : error;
  }
}

/** Refuses options that have no meaning beside another, so that none is ignored in silence. */
function refuse(options: PlanOptions, beside: string, names: readonly (keyof PlanOptions)[]): void {
  const found = names.filter((name) => options[name] !== undefined);
  if (found.length > 0) throw new AntiphonError('usage', `${beside} excludes ${found.map(flag).join(', ')}`);
}

const eventSchema = z.strictObject({
  samplingRate: z.number('expected a number').gt(0, 'expected a number above 0').lte(1, 'expected a number of at most 1'),
  noiseMultiplier: z.number('expected a number').positive('expected a number above 0'),
  steps: z.int('expected a whole number').positive('expected a whole number above 0'),
});

async function eventsText(options: PlanOptions, { events: path, color }: { readonly events: string; readonly color: boolean }): Promise<string> {
  refuse(options, '--events', ['study', 'epsilon', 'noiseMultiplier', 'rounds', 'out', ...PLAIN_OPTIONS]);
  if (options.delta === undefined) throw new AntiphonError('usage', '--events needs --delta');
  const events = await readEvents(path);
  const epsilon = { pld: pldEpsilon({ events, delta: options.delta }), rdp: rdpEpsilon({ events, delta: options.delta }).epsilon };
  const { delta: atDelta } = options;
  return options.json === true ? `${JSON.stringify({ epsilon, delta: atDelta, events: events.length })}\n` : formatEvents({ events, epsilon, delta: atDelta, color });
}

async function readEvents(path: string): Promise<readonly (PrivacyEvent & { readonly type: 'poisson-gaussian' })[]> {
  const wanted = 'expected a JSON list of {"samplingRate": 0.1, "noiseMultiplier": 2, "steps": 100}';
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new AntiphonError('data-invalid', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}; give the path of a file with --events`, { cause: error });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new AntiphonError('data-invalid', `${path} is not JSON: ${error instanceof Error ? error.message : String(error)}; ${wanted}`, { cause: error });
  }
  const parsed = z.array(eventSchema).safeParse(value);
  if (parsed.success) return parsed.data.map((event) => ({ type: 'poisson-gaussian', ...event }));
  const faults = parsed.error.issues.map(({ path: [entry, ...keys], message }) => `  ${entry === undefined ? '(whole file)' : [`entry ${Number(entry) + 1}`, ...keys.map(String)].join(', ')}: ${message}`);
  throw new AntiphonError('data-invalid', `${path} has ${faults.length} fault${faults.length === 1 ? '' : 's'}, ${wanted}:\n${faults.slice(0, 20).join('\n')}`);
}

function plainQuestion(options: PlanOptions): PlanQuestion {
  const { epsilon, noiseMultiplier, samplingRate, steps, rounds, localSteps = 1, modalities = 1, patients } = options;
  if (samplingRate === undefined && steps === undefined && rounds === undefined) {
    throw new AntiphonError('usage', 'give --study FILE, --events FILE, or numbers: --delta, --sampling-rate, --steps or --rounds, and --epsilon or --noise-multiplier (or both)');
  }
  const missing = [
    ...(options.delta === undefined ? ['--delta'] : []),
    ...(samplingRate === undefined ? ['--sampling-rate'] : []),
    ...(steps === undefined && rounds === undefined ? ['--steps or --rounds'] : []),
    ...(epsilon === undefined && noiseMultiplier === undefined ? ['--epsilon (the noise is looked for) or --noise-multiplier (epsilon is computed)'] : []),
  ];
  if (options.delta === undefined || samplingRate === undefined || missing.length > 0) throw new AntiphonError('usage', `missing ${missing.join(', ')}`);
  if (steps !== undefined) refuse(options, '--steps', ['rounds', 'localSteps', 'modalities']);
  const names = modalities === 1 ? ['the modality'] : Array.from({ length: modalities }, (_, i) => `modality ${i + 1}`);
  const plan: Plan = {
    binding: 'pld',
    title: steps === undefined ? `${rounds ?? 0} rounds` : `${steps} steps`,
    unit: steps === undefined ? 'round' : 'step',
    modalities: new Map(names.map((name) => [name, { samplingRate, stepsPerRound: localSteps, sites: [{ name: `a site of ${name}`, patients }], sitesDisjoint: true }])),
    order: names,
    rounds: steps ?? rounds ?? 0,
    delta: options.delta,
  };
  return { plan, epsilon, noiseMultiplier };
}

async function studyQuestion(options: PlanOptions, { given: name, readStudy }: Pick<PlanCliParts, 'readStudy'> & { readonly given: string }): Promise<PlanQuestion> {
  refuse(options, '--study', PLAIN_OPTIONS);
  const { path, text } = await readStudy(name);
  const { epsilon, delta: newDelta, rounds, noiseMultiplier } = options;
  const given = Object.entries({ epsilon, delta: newDelta, rounds, noiseMultiplier }).filter(([, value]) => value !== undefined);
  const study = overrideStudy(parseStudy(text, path), Object.fromEntries(given));
  const { privacy } = study;
  if (privacy.protection === 'none') throw new AntiphonError('usage', `${path} describes a study without privacy (privacy.protection: none): there is no epsilon to plan`);
  return { plan: planOfStudy(study, privacy.delta), epsilon: privacy.epsilon, noiseMultiplier: privacy.noiseMultiplier };
}

/** A study file's plan, but for its noise. */
export function planOfStudy(study: Study, atDelta: number): Plan {
  // Rates and steps, the modalities' own values in force, do not depend on the noise; without it nothing is calibrated.
  const { modalities } = resolveStudy({ ...study, privacy: { protection: 'none', samplingRate: study.privacy.samplingRate } });
  return {
    title: study.name,
    unit: 'round',
    modalities: new Map(
      [...modalities].map(([name, { mechanism, sitesDisjoint }]) => [
        name,
        { samplingRate: mechanism.samplingRate, stepsPerRound: mechanism.steps, sitesDisjoint, sites: study.sites.filter((site) => site.modality === name) },
      ]),
    ),
    order: scheduleOrder(study),
    rounds: study.schedule.rounds,
    delta: atDelta,
    binding: study.privacy.protection === 'none' ? 'pld' : study.privacy.accountant,
    ...(study.schedule.adaptive === undefined
      ? {}
      : { adaptive: { bounds: (rounds) => roundBounds({ ...study, schedule: { ...study.schedule, rounds } }) } }),
  };
}
