import type { LineStore } from '../../coordinator/book.ts';
import { AntiphonError } from '../../shared/errors.ts';

export interface MemoryLines extends LineStore {
  /** What a reader of the disk would find. */
  readonly disk: () => readonly string[];
  /** The next append fails, and leaves the disk as it was. */
  readonly failNext: () => void;
}

/** A ledger file in memory; an append takes a turn of the event loop. */
export function createMemoryLines(initial: readonly string[] = []): MemoryLines {
  const disk = [...initial];
  let failing = false;
  return {
    lines: [...initial],
    disk: () => disk,
    failNext: () => {
      failing = true;
    },
    append: async (texts) => {
      await new Promise((resolve) => void setImmediate(resolve));
      if (failing) {
        failing = false;
        throw new AntiphonError('storage-failed', 'the disk is full');
      }
      disk.push(...texts);
    },
    cut: (count) => {
      disk.length = count;
      return Promise.resolve();
    },
  };
}
