import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AntiphonError } from '../errors.ts';
import { syncFolder } from './append-durably.ts';
import { fileLines, messageOf, wholeLines } from './lines.ts';
import { takeLock } from './lock.ts';

export interface LedgerFile {
  readonly lines: readonly string[];
  /** Durable (fdatasync) when it resolves. A failure leaves the file as it was: AntiphonError('storage-failed'). */
  readonly append: (texts: readonly string[]) => Promise<void>;
  /** Keeps the first `count` of the lines it was opened with: for an append whose end a crash lost. Before any append. */
  readonly cut: (count: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Opens (or creates) a ledger for its one writer. A second writer is refused while the first one's process lives. */
export async function openLedgerFile(path: string): Promise<LedgerFile> {
  const unlock = await takeLock(`${path}.lock`, (pid) => `the ledger is in use by process ${pid} (${path}.lock); one coordinator writes it at a time: stop that one, or use another folder`);
  try {
    const file = await open(path, 'a+', 0o644);
    await syncFolder(dirname(path));
    const lines: string[] = [];
    for await (const line of wholeLines(fileLines(path, { notLines: 'ledger-tampered', unreadable: 'storage-failed' }))) lines.push(line);
    let size = bytesOf(lines);
    // A last line without its newline: a write that a crash cut short. It was never acknowledged.
    if ((await file.stat()).size > size) await file.truncate(size);
    return {
      lines,
      cut: async (count) => {
        size = bytesOf(lines.slice(0, count));
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

/** In a file, each with its newline. */
function bytesOf(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
}
