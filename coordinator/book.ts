import { AntiphonError, invariant } from '../shared/errors.ts';
import type { Identity } from '../shared/crypto/keys.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import type { EntryBody } from '../shared/ledger/entry.ts';
import { emptyLedger, foldLine, type LedgerState } from '../shared/ledger/fold.ts';
import { hashLine, readLine, signLine } from '../shared/ledger/line.ts';
import { isLedgerProblem } from '../shared/ledger/problem.ts';

/** Where the lines are kept; `append` is durable when it resolves (shared/platform/ledger-file.ts). */
export interface LineStore {
  readonly lines: readonly string[];
  readonly append: (texts: readonly string[]) => Promise<void>;
}

/** The coordinator's ledger: the lines and the state they fold to. The only writer of either. */
export interface Book {
  readonly state: () => LedgerState;
  readonly lines: () => readonly string[];
  /** Signs, checks by the same fold that sites and auditors use, and appends durably, all or none. */
  readonly append: (...bodies: readonly EntryBody[]) => Promise<void>;
}

export interface BookKeeper {
  readonly store: LineStore;
  readonly identity: Identity;
  readonly primitives: Primitives;
  readonly now: () => number;
}

/** Folds what is there. Throws AntiphonError('ledger-tampered') when any line does not verify: nothing is repaired silently. */
export function openBook({ store, identity, primitives, now }: BookKeeper): Book {
  let state = emptyLedger();
  const lines: string[] = [];
  const fold = (text: string): LedgerState => {
    const line = readLine(text);
    const next = isLedgerProblem(line) ? line : foldLine({ state, line, hash: hashLine(primitives, text), primitives });
    if (isLedgerProblem(next)) {
      throw new AntiphonError('ledger-tampered', `ledger line ${lines.length}: ${next.message}; run \`antiphon audit\` on it and restore an intact copy`);
    }
    return next;
  };
  for (const text of store.lines) {
    state = fold(text);
    lines.push(text);
  }

  let writing: Promise<void> = Promise.resolve();
  const append = async (bodies: readonly EntryBody[]): Promise<void> => {
    const before = state;
    const texts: string[] = [];
    try {
      for (const body of bodies) {
        const { text } = signLine({ primitives, identity, index: state.length, previous: state.head, time: new Date(now()).toISOString(), body });
        state = fold(text);
        texts.push(text);
      }
      await store.append(texts);
    } catch (error) {
      state = before;
      throw error;
    }
    lines.push(...texts);
    invariant(lines.length === state.length, 'one line per folded entry');
  };
  return {
    state: () => state,
    lines: () => lines,
    append: (...bodies) => {
      const appended = writing.then(() => append(bodies));
      // A refused append is its caller's affair; the next one starts from the state before it.
      writing = appended.catch(() => undefined);
      return appended;
    },
  };
}
