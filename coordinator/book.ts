import { utf8 } from '../shared/bytes.ts';
import { AntiphonError, invariant } from '../shared/errors.ts';
import type { Identity } from '../shared/crypto/keys.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { originOf, signCheckpoint } from '../shared/ledger/checkpoint.ts';
import type { EntryBody } from '../shared/ledger/entry.ts';
import { emptyLedger, foldLine, isSigned, type LedgerState } from '../shared/ledger/fold.ts';
import { formatLine, readLine } from '../shared/ledger/line.ts';
import { leafHash, rootOf } from '../shared/ledger/merkle.ts';
import { isLedgerProblem } from '../shared/ledger/problem.ts';

/** Where the lines are kept (shared/platform/ledger-file.ts). */
export interface LineStore {
  readonly lines: readonly string[];
  /** Durable when it resolves; all of them or none. */
  readonly append: (texts: readonly string[]) => Promise<void>;
  /** Keeps the first `count` lines. */
  readonly cut: (count: number) => Promise<void>;
}

/** The coordinator's ledger: the lines and the state they fold to. The only writer of either. */
export interface Book {
  readonly state: () => LedgerState;
  readonly lines: () => readonly string[];
  /** The note of the last signed head; undefined before the first. */
  readonly head: () => string | undefined;
  /** Checks by the same fold that sites and auditors use, signs the tree's head behind it, and appends durably, all or none. */
  readonly append: (...bodies: readonly EntryBody[]) => Promise<void>;
}

export interface BookKeeper {
  readonly store: LineStore;
  readonly identity: Identity;
  readonly primitives: Primitives;
  readonly now: () => number;
}

/**
 * Folds what is there. Lines behind the last signed head are an append that a crash cut short: never acknowledged, cut off. Throws
 * AntiphonError('ledger-tampered') when any other line does not verify: nothing is repaired silently.
 */
export async function openBook({ store, identity, primitives, now }: BookKeeper): Promise<Book> {
  let state = emptyLedger();
  let signed = state;
  const lines: string[] = [];
  const fold = (text: string): LedgerState => {
    const line = readLine(text);
    const next = isLedgerProblem(line) ? line : foldLine({ state, line, leaf: leafHash(primitives, utf8(text)), primitives });
    if (isLedgerProblem(next)) {
      throw new AntiphonError('ledger-tampered', `ledger line ${state.length + 1}: ${next.message}; run \`npx antiphon audit\` on it and restore an intact copy`);
    }
    return next;
  };
  for (const text of store.lines) {
    state = fold(text);
    lines.push(text);
    if (isSigned(state)) signed = state;
  }
  if (!isSigned(state)) {
    await store.cut(signed.length);
    lines.length = signed.length;
    state = signed;
  }

  /** The line that closes an append: the head over everything before it. */
  const headOf = ({ plan, length, tree }: LedgerState): EntryBody => {
    invariant(plan !== undefined, 'a PLAN before any head');
    return { type: 'head', note: signCheckpoint({ primitives, identity, checkpoint: { origin: originOf(plan.study), size: length, root: rootOf(primitives, tree) } }) };
  };
  let writing: Promise<void> = Promise.resolve();
  const append = async (bodies: readonly EntryBody[]): Promise<void> => {
    const before = state;
    const texts: string[] = [];
    const write = (body: EntryBody): void => {
      const text = formatLine({ index: state.length, time: new Date(now()).toISOString(), body });
      state = fold(text);
      texts.push(text);
    };
    try {
      for (const body of bodies) write(body);
      write(headOf(state));
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
    head: () => {
      const last = readLine(lines.at(-1) ?? '');
      return isLedgerProblem(last) || last.body.type !== 'head' ? undefined : last.body.note;
    },
    append: (...bodies) => {
      const appended = writing.then(() => append(bodies));
      // A refused append is its caller's affair; the next one starts from the state before it.
      writing = appended.catch(() => undefined);
      return appended;
    },
  };
}
