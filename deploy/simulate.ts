import { spawn, type ChildProcess } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { freemem } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { stringify } from 'yaml';
import { enrolSite } from '../client/enrol.ts';
import { siteFiles } from '../client/keystore.ts';
import type { EventSink, StudyEvent } from '../coordinator/events.ts';
import { issueInvite } from '../coordinator/invite.ts';
import { enterRunFolder, readAddress, runFiles } from '../coordinator/store/run-folder.ts';
import { AntiphonError, EXIT_CODES, type ErrorCode } from '../shared/errors.ts';
import { EVERY_OTHER_SITE } from '../shared/ledger/spending.ts';
import type { BackendChoice } from '../shared/platform/backend-choice.ts';
import { writeFileAtomic } from '../shared/platform/atomic-file.ts';
import { nodePrimitives } from '../shared/platform/primitives.ts';
import { studyHash } from '../shared/study/hash.ts';
import type { Study } from '../shared/study/schema.ts';

export interface SimulateInput {
  readonly study: Study;
  /** The text to keep as `study.yaml`; generated from the study when it was changed by options. */
  readonly folder: string;
  readonly data: string;
  readonly backend: BackendChoice;
  readonly signal: AbortSignal;
  readonly show: EventSink;
}

export interface Simulation {
  readonly events: readonly StudyEvent[];
  /** Sum over all processes of each one's own peak resident memory, MiB: an upper bound of the peak. */
  readonly peakMemoryMiB: number;
  readonly processes: number;
}

/** A site's process with TFJS on wasm stays below this; it decides how many sites share a process. */
const MIB_PER_SITE_PROCESS = 300;

/**
 * A whole federation on one machine: a coordinator's process, invites, enrolments, and the sites' processes, exactly as a study
 * lead and the hospitals would start them by hand. Nothing here trains, aggregates or decides.
 */
export async function simulate(input: SimulateInput): Promise<Simulation> {
  const { study, folder, data, signal } = input;
  const events: StudyEvent[] = [];
  const children: Child[] = [];
  // Behind a failure of ours the coordinator only says that it was stopped.
  let failed = false;
  // One listener per process.
  setMaxListeners(0, signal);
  await enterRunFolder(folder);
  const studyFile = join(folder, 'study.yaml');
  const port = await portOfEarlierRun(folder, study);
  await writeFileAtomic(studyFile, stringify(study));
  try {
    // 1. antiphon coordinator start
    const coordinator = startChild(['coordinator', 'start', '--study', studyFile, '--out', folder, '--data', data, '--port', port ?? '0', '--backend', input.backend, '--events'], signal);
    children.push(coordinator);
    const listening = new Promise<void>((settle) => {
      coordinator.onLine((line) => {
        const event = JSON.parse(line) as StudyEvent;
        events.push(event);
        // It enrols them itself, in a moment.
        if (!failed) input.show(event.type === 'listening' ? { ...event, notEnrolled: [] } : event);
        if (event.type === 'listening') settle();
      });
    });
    await Promise.race([listening, coordinator.ended]);
    // Over before, and known to every site: there is nothing to start.
    if (!events.some(({ type }) => type === 'listening')) return { events, peakMemoryMiB: Math.round(process.resourceUsage().maxRSS / 1024), processes: 2 };
    // 2. antiphon coordinator invite, antiphon site enroll
    const homes: string[] = [];
    for (const { name, modality } of study.sites) {
      const home = join(folder, 'sites', name);
      homes.push(home);
      // Of a run that goes on: its sites know their coordinator.
      if (port !== undefined && existsSync(siteFiles(home).settings)) continue;
      const invite = await issueInvite({ folder, study, site: name, hours: 1, url: undefined });
      const disjointFrom = study.modalities[modality]?.sitesDisjoint === true ? [EVERY_OTHER_SITE] : [];
      // A vault of the simulation's own: made-up institutions have no other studies.
      await Promise.race([enrolSite({ invite, home, data: resolve(data), backend: input.backend, disjointFrom, mayOverlap: true, vault: home, dataset: 'spend', limits: undefined }), coordinator.failed]);
    }
    // 3. antiphon site start: one process per site as long as memory allows
    const groups = groupByMemory(homes);
    const sites = groups.map((group) => startChild(['site', 'start', '--home', ...group, '--events'], signal, `the process of ${group.length === 1 ? 'site' : 'sites'} ${group.map((home) => basename(home)).join(', ')}`, `; the same command with --out ${folder} goes on where it stopped`));
    children.push(...sites);
    // 4. until the coordinator has ended; a site that dies ends the simulation
    await Promise.race([coordinator.ended, ...sites.map(({ failed }) => failed)]);
    await Promise.all(sites.map(({ ended }) => ended));
    const peaks = [...sites.map((site) => site.peakMemoryMiB()), events.flatMap((event) => (event.type === 'ended' ? [event.peakMemoryMiB] : [])).at(-1) ?? 0];
    return { events, peakMemoryMiB: peaks.reduce((a, b) => a + b, 0) + Math.round(process.resourceUsage().maxRSS / 1024), processes: children.length + 1 };
  } catch (error) {
    failed = !signal.aborted;
    throw error;
  } finally {
    await Promise.all(children.map((child) => child.stop()));
  }
}

/** The port where the sites of a run that was stopped will look for it; undefined for a folder without a run. */
async function portOfEarlierRun(folder: string, study: Study): Promise<string | undefined> {
  if (!existsSync(runFiles(folder).ledger) || !existsSync(runFiles(folder).address)) return undefined;
  const address = await readAddress(folder);
  if (address.study !== studyHash(study, nodePrimitives)) {
    throw new AntiphonError('usage', `${folder} holds a run of another study, or of this one with other options; go on with those that it was started with, or choose another --out`);
  }
  return new URL(address.url).port;
}

function groupByMemory(homes: readonly string[]): readonly (readonly string[])[] {
  const affordable = Math.max(1, Math.floor((0.6 * freemem()) / 2 ** 20 / MIB_PER_SITE_PROCESS));
  const processes = Math.min(homes.length, affordable);
  return Array.from({ length: processes }, (_, p) => homes.filter((_home, i) => i % processes === p));
}

export interface Child {
  readonly onLine: (listener: (line: string) => void) => void;
  /** Resolves when the process ends well; rejects with its own message otherwise. */
  readonly ended: Promise<void>;
  /** Never resolves: rejects when the process ends badly. */
  readonly failed: Promise<never>;
  readonly peakMemoryMiB: () => number;
  readonly stop: () => Promise<void>;
}

/** `antiphon ARGS` as a process that ends with this one; `name` and `advice` are what is said of it where it ends without a word of its own. */
export function startChild(args: readonly string[], signal: AbortSignal, name = `\`antiphon ${args.slice(0, 2).join(' ')}\``, advice = ''): Child {
  const child: ChildProcess = spawn(process.execPath, [process.argv[1] ?? '', ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // A group of its own: Ctrl-C in the terminal reaches `simulate` alone, which stops its children once and in order.
    detached: true,
  });
  const listeners: ((line: string) => void)[] = [];
  let peak = 0;
  let errors = '';
  child.stderr?.on('data', (part: Buffer) => (errors = (errors + part.toString()).slice(-4000)));
  const { stdout } = child;
  if (stdout === null) throw new AntiphonError('internal', 'a child without output');
  createInterface({ input: stdout }).on('line', (line) => {
    for (const listener of listeners) listener(line);
    const match = /"type":"process-ended","peakMemoryMiB":(\d+)/.exec(line);
    if (match !== null) peak = Number(match[1]);
  });
  const ended = new Promise<void>((settle, reject) => {
    child.on('error', reject);
    child.on('close', (code, killedBy) => {
      if (code === 0) settle();
      else if (signal.aborted) reject(new AntiphonError('interrupted', 'stopped'));
      else if (killedBy !== null) reject(new AntiphonError('study-failed', `${name} was ended from outside, by ${killedBy}${killedBy === 'SIGKILL' ? ', as a machine out of memory does' : ''}${advice}`));
      else reject(new AntiphonError(codeOf(code), errors.trim().replace(/^antiphon: /, '') || `${name} ended with code ${code ?? 'none'}`));
    });
  });
  const failed = ended.then(() => new Promise<never>(() => undefined));
  ended.catch(() => undefined);
  failed.catch(() => undefined);
  // Asked once: the second time it would leave at once, without its last report and with its lock.
  let asked = false;
  const ask = (): void => {
    if (!asked && child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    asked = true;
  };
  const stop = async (): Promise<void> => {
    ask();
    await ended.catch(() => undefined);
  };
  if (signal.aborted) ask();
  else signal.addEventListener('abort', ask);
  return { onLine: (listener) => void listeners.push(listener), ended, failed, peakMemoryMiB: () => peak, stop };
}

function codeOf(exitCode: number | null): ErrorCode {
  return (Object.entries(EXIT_CODES).find(([, code]) => code === exitCode)?.[0] as ErrorCode | undefined) ?? 'internal';
}
