import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

/** The built command: real processes run what a user runs (`npm test` builds first). */
const ANTIPHON = fileURLToPath(new URL('../../dist/deploy/antiphon.js', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Nobody's own vault is touched. */
const VAULT = mkdtempSync(join(tmpdir(), 'antiphon-test-vault-'));
process.on('exit', () => {
  rmSync(VAULT, { recursive: true, force: true });
});

export interface Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves with the first output line that matches; rejects when the process ends without one. */
  readonly line: (matches: (line: string) => boolean) => Promise<string>;
}

export function start(...args: readonly string[]): Running {
  return launch(process.execPath, [ANTIPHON, ...args]);
}

export function startIn(folder: string, ...args: readonly string[]): Running {
  return launch(process.execPath, [ANTIPHON, ...args], folder);
}

/** The same where no file may grow beyond so many KiB: what a full disk does, without filling one. */
export function startOnSmallDisk(kib: number, ...args: readonly string[]): Running {
  return launch('bash', ['-c', 'ulimit -f "$0" && exec "$@"', String(kib), process.execPath, ANTIPHON, ...args]);
}

/** The same, killed (SIGKILL) right before its Nth durable step: `datasync`, `sync` and `rename` of the file system (crash-before.mjs). */
export function startToCrash(step: number, ...args: readonly string[]): Running {
  return launch(process.execPath, ['--import', new URL('crash-before.mjs', import.meta.url).href, ANTIPHON, ...args], process.cwd(), { CRASH_BEFORE: String(step) });
}

/** The same, asked to stop (SIGTERM) right before its Nth file is opened, read or written (stop-before.mjs). */
export function startToStop(step: number, ...args: readonly string[]): Running {
  return launch(process.execPath, ['--import', new URL('stop-before.mjs', import.meta.url).href, ANTIPHON, ...args], process.cwd(), { STOP_BEFORE: String(step) });
}

function launch(command: string, args: readonly string[], cwd = process.cwd(), environment: Readonly<Record<string, string>> = {}): Running {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '1', ANTIPHON_VAULT: VAULT, ...environment } });
  const output = { stdout: '', stderr: '' };
  const watchers = new Set<() => void>();
  child.stdout.on('data', (part: Buffer) => {
    output.stdout += part.toString();
    for (const watch of [...watchers]) watch();
  });
  child.stderr.on('data', (part: Buffer) => (output.stderr += part.toString()));
  const finished = new Promise<Finished>((resolve) => child.on('close', (code) => resolve({ code, ...output })));
  return {
    child,
    finished,
    line: (matches) =>
      new Promise((resolve, reject) => {
        const watch = (): void => {
          const found = output.stdout.split('\n').slice(0, -1).find(matches);
          if (found === undefined) return;
          watchers.delete(watch);
          resolve(found);
        };
        watchers.add(watch);
        watch();
        void finished.then(({ code, stderr, stdout }) => reject(new Error(`ended with ${code}: ${stderr}\n${stdout.slice(-2000)}`)));
      }),
  };
}

export async function run(...args: readonly string[]): Promise<Finished> {
  return start(...args).finished;
}

/** A folder that goes when the test is over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'antiphon-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}
