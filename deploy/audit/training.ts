import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { networksOf } from '../../coordinator/model-state.ts';
import { checkSeparation } from '../../shared/data/evaluation-set.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { proveBackend } from '../../shared/model/self-check.ts';
import type { BackendChoice } from '../../shared/platform/backend-choice.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import { writeSyntheticData } from '../synthetic.ts';
import { empiricalExitCode, empiricalJson, empiricalFindings } from './empirical-report.ts';
import { auditEmpirically } from './empirical.ts';
import { membershipFindings, membershipJson } from './membership-report.ts';
import { formatFindings, renderFindings, type Findings } from './findings.ts';
import { attackRun } from './membership.ts';
import { DEFAULT_CANARIES, DEFAULT_CONFIDENCE, DEFAULT_REFERENCES, type TrainingAuditContext, type TrainingAuditOptions } from './training-options.ts';

/** Canaries against the claim (deploy/audit/empirical.ts). */
export async function empirical(options: TrainingAuditOptions, { syntheticStudy, color, signal, note }: TrainingAuditContext): Promise<{ readonly text: string; readonly exitCode: number }> {
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
    const { rounds, adaptive } = study.schedule;
    note(`training ${rounds} rounds with ${canaries} canaries per audited site${adaptive === undefined ? '' : ', in turn: one of the ways in which an adaptive schedule can fall'} ...\n`);
    const rows = await auditEmpirically({ study, resolved: resolveStudy(study), networks, files: openDataFolder(options.data ?? made ?? '.'), primitives, canaries, confidence, modality: options.modality, signal });
    const report = { study: study.name, rows };
    return { text: await told(empiricalFindings(report), { json: empiricalJson(report), options, color }), exitCode: empiricalExitCode(report) };
  } finally {
    if (made !== undefined) await rm(made, { recursive: true, force: true });
  }
}

/** Attacks on the last model of a run (deploy/audit/membership.ts). */
export async function membership(folder: string, options: TrainingAuditOptions, { color, signal, note }: TrainingAuditContext): Promise<{ readonly text: string; readonly exitCode: number }> {
  const references = within('--references', options.references, { from: 2, to: 64, whole: true }) ?? DEFAULT_REFERENCES;
  if (references % 2 !== 0) throw new AntiphonError('usage', `expected an even number of --references (each pair is trained on halves that complete each other), found ${references}`);
  if (options.data === undefined) throw new AntiphonError('usage', "--membership needs the records of all the study's sites: give their folder with --data DIR");
  if (!existsSync(folder)) throw new AntiphonError('usage', `there is no run in ${folder}; give the folder that a coordinator or \`npx antiphon simulate\` has written`);
  await openBackend(options.backend ?? 'auto');
  note(`training ${references} reference models ...\n`);
  const report = await attackRun({ folder, data: options.data, references, signal });
  return { text: await told(membershipFindings(report), { json: membershipJson(report), options, color }), exitCode: 0 };
}

/** Writes the page where one was asked for; returns what is printed. */
async function told(findings: Findings, { json, options, color }: { readonly json: Record<string, unknown>; readonly options: TrainingAuditOptions; readonly color: boolean }): Promise<string> {
  if (options.html !== undefined) await writeFileAtomic(resolve(options.html), await renderFindings(findings));
  return options.json === true ? JSON.stringify(json) : formatFindings(findings, { color });
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
