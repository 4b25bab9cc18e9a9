import { wholeLines } from '../../shared/platform/lines.ts';
import type { LineSource } from './source.ts';

export interface CopyComparison {
  /** Compares the next line of the ledger with the next one of every copy. */
  readonly line: (text: string) => Promise<void> | undefined;
  readonly finish: () => Promise<readonly { readonly verdict: 'forked'; readonly message: string }[]>;
  readonly checks: () => readonly { readonly name: string; readonly lines: number }[];
}

/** A site's copy must be a beginning of the ledger: another line is a fork, a line more is one that the ledger has lost. A last line without newline is none: the site was stopped while it wrote. */
export function compareCopies(copies: readonly LineSource[]): CopyComparison {
  const readers = copies.map((copy) => ({ name: copy.name, lines: wholeLines(copy.lines()), count: 0, over: false, problem: undefined as string | undefined }));
  type Reader = (typeof readers)[number];
  const step = async (reader: Reader, text: string): Promise<void> => {
    const next = await reader.lines.next();
    if (next.done === true) reader.over = true;
    else if (next.value === text) reader.count += 1;
    else {
      reader.over = true;
      reader.problem = `line ${reader.count + 1} of the copy ${reader.name} is another one: the ledger was rewritten, or forked for this site`;
    }
  };
  return {
    line: (text) => {
      const open = readers.filter(({ over }) => !over);
      return open.length === 0 ? undefined : Promise.all(open.map((reader) => step(reader, text))).then(() => undefined);
    },
    finish: async () => {
      for (const reader of readers) {
        if (reader.over) continue;
        const next = await reader.lines.next();
        if (next.done !== true) reader.problem = `the copy ${reader.name} goes on after line ${reader.count}: the ledger has lost lines that this site has seen`;
      }
      return readers.flatMap(({ problem }) => (problem === undefined ? [] : [{ verdict: 'forked' as const, message: problem }]));
    },
    checks: () => readers.map(({ name, count }) => ({ name, lines: count })),
  };
}
