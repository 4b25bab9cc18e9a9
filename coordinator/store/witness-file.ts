import { readFile } from 'node:fs/promises';
import { AntiphonError } from '../../shared/errors.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';

/** Cosignatures of a head come within milliseconds of each other, and are written together; a crash loses at most those of so long, which their sites repeat. */
const TOGETHER_MS = 250;

export interface WitnessFile {
  /** What the file held when it was opened. */
  readonly kept: readonly string[];
  /** There is more to keep: it is written soon, whole, atomically and durably, beside whatever else goes on. */
  readonly changed: () => void;
  /** Writes what is left. AntiphonError('storage-failed'). */
  readonly close: () => Promise<void>;
}

/** `witnesses.jsonl` of a run, which outlives its coordinator: `lines` are all that is to be in it. `failed` is told of what could not be written. */
export async function openWitnessFile(input: {
  readonly path: string;
  readonly lines: () => readonly string[];
  readonly setTimer: (callback: () => void, ms: number) => () => void;
  readonly failed: (error: unknown) => void;
}): Promise<WitnessFile> {
  const { path, lines, setTimer, failed } = input;
  let onDisk = await existing(path);
  let writing: Promise<void> | undefined;
  let cancel: (() => void) | undefined;
  const write = async (): Promise<void> => {
    const text = lines().map((line) => `${line}\n`).join('');
    if (text === onDisk) return;
    await writeFileAtomic(path, text);
    onDisk = text;
  };
  const changed = (): void => {
    cancel ??= setTimer(() => {
      writing = (writing ?? Promise.resolve()).then(() => {
        cancel = undefined;
        return write();
      }).catch(failed);
    }, TOGETHER_MS);
  };
  return {
    kept: (onDisk ?? '').split('\n').filter((line) => line !== ''),
    changed,
    close: async () => {
      cancel?.();
      await writing;
      await write();
    },
  };
}

async function existing(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new AntiphonError('storage-failed', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}; fix the permissions, then start again`, { cause: error });
  }
}
