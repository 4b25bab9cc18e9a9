import { readFile, readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { AntiphonError } from '../../shared/errors.ts';
import { parseJson } from '../../shared/json.ts';
import { fileLines as linesOfFile, messageOf, splitLines, type Lines } from '../../shared/platform/lines.ts';

const FAULTS = { notLines: 'audit-tampered', unreadable: 'audit-unreadable' } as const;

/** What an audit is given: a ledger, the witnesses' notes beside it, and whatever sites and witnesses have kept. */
export interface AuditSources {
  readonly ledger: LineSource;
  readonly witnesses: readonly LineSource[];
  /** Copies of the ledger that sites keep. */
  readonly copies: readonly LineSource[];
  /** Spend logs of data sets. */
  readonly spendLogs: readonly LineSource[];
}

export interface LineSource {
  readonly name: string;
  /** Lines without their newline; streamed. Throws AntiphonError('audit-unreadable' | 'audit-tampered'). */
  readonly lines: () => Lines;
}

/** A ledger file, a run's folder, or the address of a running coordinator; with the folders or files of sites. */
export async function findSources(target: string, siteLogs: readonly string[]): Promise<AuditSources> {
  const kept = await withoutAbsent((await Promise.all(siteLogs.map(findKept))).flat());
  if (/^https?:\/\//.test(target)) {
    const at = (path: string): string => new URL(path, target.endsWith('/') ? target : `${target}/`).href;
    return withKept(urlLines(at('ledger.jsonl')), [urlLines(at('witnesses.jsonl'))], kept);
  }
  const kind = await stat(target).catch((error: unknown) => {
    throw new AntiphonError('audit-unreadable', `cannot read ${target}: ${messageOf(error)}; give a ledger.jsonl, the folder of a run, or the address of a coordinator`, { cause: error });
  });
  if (!kind.isDirectory()) return withKept(fileLines(target), [], kept);
  if (!(await exists(join(target, 'ledger.jsonl')))) throw new AntiphonError('audit-unreadable', `the folder ${target} holds no ledger.jsonl: expected a run's folder; give that one, a ledger file, or the address of a coordinator`);
  const witnesses = await exists(join(target, 'witnesses.jsonl'));
  // A simulation keeps its sites inside the run's folder.
  const simulated = (await Promise.all((await readdir(join(target, 'sites')).catch(() => [])).map((site) => findKept(join(target, 'sites', site))))).flat();
  const isHere = await Promise.all(simulated.map(exists));
  return withKept(fileLines(join(target, 'ledger.jsonl')), witnesses ? [fileLines(join(target, 'witnesses.jsonl'))] : [], [...kept, ...simulated.filter((_, i) => isHere[i] === true)]);
}

/** The JSONL files of a site's folder or vault, or of a witness's folder, or one such file. */
async function findKept(path: string): Promise<readonly string[]> {
  const kind = await stat(path).catch((error: unknown) => {
    throw new AntiphonError('audit-unreadable', `cannot read ${path}: ${messageOf(error)}; give the folder of a site or a witness, a vault, or one of their .jsonl files with --site-logs`, { cause: error });
  });
  if (!kind.isDirectory()) return [path];
  const kept = (await readdir(path)).filter((name) => name.endsWith('.jsonl')).map((name) => join(path, name));
  const log = await spendLogOf(path);
  return log === undefined || kept.includes(log) ? kept : [...kept, log];
}

/** A log that a site's folder names, and that is not at its place, may be given as a file of the same name. */
async function withoutAbsent(paths: readonly string[]): Promise<readonly string[]> {
  const isHere = await Promise.all(paths.map(exists));
  const here = paths.filter((_, i) => isHere[i] === true);
  const absent = paths.find((path, i) => isHere[i] !== true && !here.some((other) => basename(other) === basename(path)));
  if (absent === undefined) return here;
  throw new AntiphonError('audit-unreadable', `a site's folder names its spend log ${absent}, which is not here: add a copy of it, called ${basename(absent)}, with --site-logs`);
}

/** Of a site's folder: its log in the vault, as its settings say; undefined where there are none, or it has spent nothing. */
async function spendLogOf(folder: string): Promise<string | undefined> {
  const settings = parseJson(await readFile(join(folder, 'site.json'), 'utf8').catch(() => ''));
  if (typeof settings !== 'object' || settings === null || !('vault' in settings) || !('dataset' in settings)) return undefined;
  const { vault, dataset } = settings;
  if (typeof vault !== 'string' || typeof dataset !== 'string') return undefined;
  const log = join(vault, `${dataset}.jsonl`);
  // Beside the settings, as a simulation keeps it: that one, wherever the folder has been copied to.
  if (await exists(join(folder, basename(log)))) return join(folder, basename(log));
  // Where even the vault is not here, the folder is a copy from another machine: whoever asks is to add the log.
  return (await exists(log)) || !(await exists(vault)) ? log : undefined;
}

/** What a kept file is: a site's copy of the ledger, heads of a witness, or a spend log. */
async function withKept(ledger: LineSource, witnesses: readonly LineSource[], paths: readonly string[]): Promise<AuditSources> {
  // A run's own sites may be named by --site-logs, too: a file counts once.
  const unique = [...new Map(await Promise.all(paths.map(async (path) => [await realpath(path), path] as const))).values()];
  const kept = await Promise.all(unique.map(async (path) => ({ kind: await kindOf(path), source: fileLines(path) })));
  const of = (wanted: KeptKind): readonly LineSource[] => kept.flatMap(({ kind, source }) => (kind === wanted ? [source] : []));
  return { ledger, witnesses: [...witnesses, ...of('heads')], copies: of('copy'), spendLogs: of('spend-log') };
}

type KeptKind = 'copy' | 'heads' | 'spend-log';

const KINDS_BY_NAME: Readonly<Record<string, KeptKind>> = { 'ledger.jsonl': 'copy', 'witnesses.jsonl': 'heads', 'heads.jsonl': 'heads', 'evidence.jsonl': 'heads' };

/** By the first line, because a vault names its spend logs after data sets, which may be called "ledger" or "heads"; where that tells nothing, by the whole name. */
async function kindOf(path: string): Promise<KeptKind> {
  const first = parseJson(await firstLine(path));
  if (typeof first === 'object' && first !== null) {
    if ('antiphon' in first) return 'copy';
    if ('note' in first) return 'heads';
    if ('type' in first) return 'spend-log';
  }
  return KINDS_BY_NAME[basename(path)] ?? 'spend-log';
}

async function firstLine(path: string): Promise<string> {
  const lines = fileLines(path).lines();
  try {
    const { value, done } = await lines.next();
    return done === true ? '' : value;
  } catch (error) {
    // Whoever reads the file as what its name says meets the same fault, and tells it.
    if (error instanceof AntiphonError && error.code === 'audit-tampered') return '';
    throw error;
  } finally {
    await lines.return({ complete: false });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

function fileLines(path: string): LineSource {
  return { name: path, lines: () => linesOfFile(path, FAULTS) };
}

function urlLines(url: string): LineSource {
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    const response = await fetch(url).catch((error: unknown) => {
      throw new AntiphonError('network-unreachable', `cannot reach ${url}: ${error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)}; is the coordinator running?`, { cause: error });
    });
    if (!response.ok || response.body === null) throw new AntiphonError('audit-unreadable', `${url} answered ${response.status}; is it the address of an Antiphon coordinator?`);
    yield* response.body;
  };
  return { name: url, lines: () => splitLines(bytes(), url, FAULTS) };
}
