import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { checkSeparation } from '../../shared/data/evaluation-set.ts';
import { networksOf } from '../../coordinator/model-state.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { proveBackend } from '../../shared/model/self-check.ts';
import { BACKEND_CHOICES, openBackend, type BackendChoice } from '../../shared/platform/backend.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import { empiricalExitCode, empiricalJson, formatEmpirical } from './empirical-report.ts';
import { auditEmpirically } from './empirical.ts';
import { formatMembership, membershipJson } from './membership-report.ts';
import { attackRun } from './membership.ts';
import { writeSyntheticData } from '../synthetic.ts';

/** Options of `antiphon audit` that train: they attack what a ledger only counts. */
export interface TrainingAuditOptions {
  readonly empirical?: boolean;
  readonly membership?: string;
  readonly study?: string;
  readonly data?: string;
  readonly modality?: string;
  readonly canaries?: string;
  readonly confidence?: string;
  readonly references?: string;
  readonly backend?: BackendChoice;
  readonly json?: boolean;
}

export interface TrainingAuditContext {
  /** The embedded study's file. */
  readonly syntheticStudy: string;
  readonly color: boolean;
  readonly signal: AbortSignal;
  /** For what is not the report itself. */
  readonly note: (text: string) => void;
}

const DEFAULT_CANARIES = 800;
const DEFAULT_CONFIDENCE = 0.95;
const DEFAULT_REFERENCES = 4;

export function addTrainingAuditOptions(command: Command): Command {
  return command
    .option('--empirical', 'measure instead: train with canaries, guess who took part, bound epsilon from below')
    .option('--study <file>', 'with --empirical: the study file (default: the embedded synthetic study)')
    .option('--modality <name>', 'with --empirical: only this modality')
    .option('--canaries <number>', `with --empirical: made-up patients per audited site (default: ${DEFAULT_CANARIES})`)
    .option('--confidence <number>', `with --empirical: of each bound (default: ${DEFAULT_CONFIDENCE})`)
    .option('--membership <folder>', "measure instead: attack the last model of this run's folder, member or not?")
    .option('--references <number>', `with --membership: reference models to train, an even number (default: ${DEFAULT_REFERENCES})`)
    .option('--data <folder>', "with --study or --membership: the study's records, of all sites")
    .addOption(new Option('--backend <name>', 'with --empirical or --membership: compute backend').choices([...BACKEND_CHOICES]));
}

/** What only one of the two asks for. */
const BELONGS: Readonly<Record<string, 'empirical' | 'membership' | 'either'>> = { study: 'empirical', modality: 'empirical', canaries: 'empirical', confidence: 'empirical', references: 'membership', data: 'either', backend: 'either' };

/** Runs the audit that the options ask for; undefined: a ledger is to be verified. Throws AntiphonError('usage') on combinations without a meaning. */
export async function trainingAudit(file: string | undefined, options: TrainingAuditOptions, context: TrainingAuditContext): Promise<{ readonly text: string; readonly exitCode: number } | undefined> {
  const kinds = [...(file === undefined ? [] : ['ledger']), ...(options.empirical === true ? ['empirical'] : []), ...(options.membership === undefined ? [] : ['membership'])];
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    throw new AntiphonError('usage', `expected one of: a ledger (file, folder or address), --empirical, --membership RUNFOLDER; found ${kinds.length === 0 ? 'none of them' : kinds.map((one) => (one === 'ledger' ? 'a ledger' : `--${one}`)).join(' and ')}`);
  }
  for (const [name, owner] of Object.entries(BELONGS)) {
    const fits = kind === owner || (owner === 'either' && kind !== 'ledger');
    if (!fits && options[name as keyof TrainingAuditOptions] !== undefined) throw new AntiphonError('usage', `--${name} belongs to ${owner === 'either' ? '--empirical or --membership' : `--${owner}`}; leave it out here`);
  }
  if (kind === 'empirical') return empirical(options, context);
  if (options.membership !== undefined) return membership(options.membership, options, context);
  return undefined;
}

async function empirical(options: TrainingAuditOptions, { syntheticStudy, color, signal, note }: TrainingAuditContext): Promise<{ readonly text: string; readonly exitCode: number }> {
  const canaries = within('--canaries', options.canaries, { from: 20, to: 20_000, whole: true }) ?? DEFAULT_CANARIES;
  const confidence = within('--confidence', options.confidence, { from: 0.5, to: 0.999999, whole: false }) ?? DEFAULT_CONFIDENCE;
  const path = options.study ?? syntheticStudy;
  const study = parseStudy(await text(path, 'give the path of the study file with --study'), path);
  if (options.study !== undefined && options.data === undefined) throw new AntiphonError('data-invalid', "the study reads its patients' records from files: give their folder with --data DIR");
  checkSeparation(study);
  const networks = networksOf(study);
  await prepare(options.backend, networks);
  const made = options.data === undefined ? await mkdtemp(join(tmpdir(), 'antiphon-audit-')) : undefined;
  try {
    if (made !== undefined) await writeSyntheticData(made, { seed: study.seed });
    const { rounds } = study.schedule;
    note(`training ${rounds} rounds with ${canaries} canaries per audited site ...\n`);
    const rows = await auditEmpirically({ study, resolved: resolveStudy(study), networks, files: openDataFolder(options.data ?? made ?? '.'), primitives, canaries, confidence, modality: options.modality, signal });
    const report = { study: study.name, rows };
    return { text: options.json === true ? JSON.stringify(empiricalJson(report)) : formatEmpirical(report, { color }), exitCode: empiricalExitCode(report) };
  } finally {
    if (made !== undefined) await rm(made, { recursive: true, force: true });
  }
}

async function membership(folder: string, options: TrainingAuditOptions, { color, signal, note }: TrainingAuditContext): Promise<{ readonly text: string; readonly exitCode: number }> {
  const references = within('--references', options.references, { from: 2, to: 64, whole: true }) ?? DEFAULT_REFERENCES;
  if (references % 2 !== 0) throw new AntiphonError('usage', `expected an even number of --references (each pair is trained on halves that complete each other), found ${references}`);
  if (options.data === undefined) throw new AntiphonError('usage', "--membership needs the records of all the study's sites: give their folder with --data DIR");
  if (!existsSync(folder)) throw new AntiphonError('usage', `there is no run in ${folder}; give the folder that a coordinator or \`antiphon simulate\` has written`);
  await openBackend(options.backend ?? 'auto');
  note(`training ${references} reference models ...\n`);
  const report = await attackRun({ folder, data: options.data, references, signal });
  return { text: options.json === true ? JSON.stringify(membershipJson(report)) : formatMembership(report, { color }), exitCode: 0 };
}

async function prepare(backend: BackendChoice | undefined, networks: ReturnType<typeof networksOf>): Promise<void> {
  await openBackend(backend ?? 'auto');
  await proveBackend([...networks.values()]);
}

async function text(path: string, advice: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new AntiphonError('study-invalid', `cannot read ${path}; ${advice}`, { cause: error });
  });
}

function within(name: string, given: string | undefined, { from, to, whole }: { readonly from: number; readonly to: number; readonly whole: boolean }): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (given.trim() !== '' && value >= from && value <= to && (!whole || Number.isInteger(value))) return value;
  throw new AntiphonError('usage', `expected ${whole ? 'a whole number' : 'a number'} from ${from} to ${to} for ${name}, found "${given}"`);
}
