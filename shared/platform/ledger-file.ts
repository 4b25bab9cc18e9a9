import { open, readFile, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AntiphonError } from '../errors.ts';
import { takeLock } from './lock.ts';

export interface LedgerFile {
  readonly lines: readonly string[];
  /** A last line without its newline: a write that a crash cut short. It was never acknowledged, so it is cut off. */
  readonly tornTail: string | undefined;
  /** Durable (fdatasync) when it resolves. A failure leaves the file as it was: AntiphonError('storage-failed'). */
  readonly append: (texts: readonly string[]) => Promise<void>;
  /** Keeps the first `count` of the lines it was opened with: for an append whose end a crash lost. Before any append. */
  readonly cut: (count: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Without the lock: for auditors. `complete` is false when the file does not end with a newline. */
export async function readLedgerFile(path: string): Promise<{ readonly lines: readonly string[]; readonly complete: boolean }> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw new AntiphonError('audit-unreadable', `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  });
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new AntiphonError('audit-tampered', `${path} is not UTF-8 text: some byte of it was changed`, { cause: error });
  }
  const parts = text.split('\n');
  const tail = parts.pop() ?? '';
  return { lines: tail === '' ? parts : [...parts, tail], complete: tail === '' };
}

/** Opens (or creates) a ledger for its one writer. A second writer is refused while the first one's process lives. */
export async function openLedgerFile(path: string): Promise<LedgerFile> {
  const unlock = await takeLock(`${path}.lock`, (pid) => `the ledger is in use by process ${pid} (${path}.lock); one coordinator writes it at a time: stop that one, or use another folder`);
  try {
    const file = await open(path, 'a+', 0o644);
    await syncFolder(dirname(path));
    const text = (await file.readFile()).toString('utf8');
    const durable = text.lastIndexOf('\n') + 1;
    const tornTail = durable < text.length ? text.slice(durable) : undefined;
    let size = Buffer.byteLength(text.slice(0, durable));
    if (tornTail !== undefined) await file.truncate(size);
    const lines = text.slice(0, durable).split('\n').slice(0, -1);
    return {
      lines,
      tornTail,
      cut: async (count) => {
        size = Buffer.byteLength(lines.slice(0, count).map((line) => `${line}\n`).join(''));
        await file.truncate(size);
        await file.datasync();
      },
      append: async (texts) => {
        const bytes = Buffer.from(texts.map((line) => `${line}\n`).join(''), 'utf8');
        await writeDurably(file, { path, bytes, size });
        size += bytes.length;
      },
      close: async () => {
        await file.close();
        await unlock();
      },
    };
  } catch (error) {
    await unlock();
    throw error instanceof AntiphonError ? error : new AntiphonError('storage-failed', `cannot open ${path}: ${messageOf(error)}`, { cause: error });
  }
}

async function writeDurably(file: FileHandle, { path, bytes, size }: { readonly path: string; readonly bytes: Buffer; readonly size: number }): Promise<void> {
  try {
    await file.appendFile(bytes);
    await file.datasync();
  } catch (error) {
    await file.truncate(size).catch(() => undefined);
    throw new AntiphonError('storage-failed', `could not append to ${path}: ${messageOf(error)}; nothing was recorded: free space or fix the disk, then start again with the same folder`, { cause: error });
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
