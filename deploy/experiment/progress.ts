import { createLogUpdate } from 'log-update';
import { createColors } from 'picocolors';
import type { StudyEvent } from '../../coordinator/events.ts';
import type { DisplayInput } from '../display.ts';
import type { Cell } from './grid.ts';
import { spreadOf } from './results.ts';

export interface ExperimentProgress {
  readonly started: (cell: Cell) => void;
  readonly event: (cell: Cell, event: StudyEvent) => void;
  /** Any line of its own. */
  readonly say: (line: string) => void;
  readonly finished: (cell: Cell, outcome: { readonly seconds: number; readonly text: string; readonly failed: boolean }) => void;
  readonly close: () => void;
}

/**
 * Seconds until all is done; undefined while nothing is known. A cell is expected to take as long as those of the same study with, or without, privacy took on average, else as those of
 * the same study, else as all.
 */
export function secondsLeft(input: { readonly known: readonly { readonly cell: Cell; readonly seconds: number }[]; readonly waiting: readonly Cell[]; readonly running: readonly { readonly cell: Cell; readonly seconds: number }[]; readonly jobs: number }): number | undefined {
  const { known, waiting, running, jobs } = input;
  if (known.length === 0) return undefined;
  const expected = (cell: Cell): number => {
    const ofStudy = known.filter((one) => one.cell.source.path === cell.source.path);
    const alike = ofStudy.filter((one) => (one.cell.epsilon === 'none') === (cell.epsilon === 'none'));
    const [best = known] = [alike, ofStudy].filter((list) => list.length > 0);
    return spreadOf(best.map(({ seconds }) => seconds)).mean;
  };
  const work = waiting.reduce((sum, cell) => sum + expected(cell), 0) + running.reduce((sum, { cell, seconds }) => sum + Math.max(0, expected(cell) - seconds), 0);
  return work / jobs;
}

/** The grid as it goes, on a terminal: a few lines drawn again and again; elsewhere a line per cell. */
export function createProgress({ stream, live: isLive, color }: DisplayInput, grid: { readonly cells: readonly Cell[]; readonly done: readonly { readonly cell: Cell; readonly seconds: number }[]; readonly jobs: number; readonly now: () => number }): ExperimentProgress {
  const { cells, jobs, now } = grid;
  const paint = createColors(color);
  const live = isLive ? createLogUpdate(stream) : undefined;
  const known = [...grid.done];
  const ended = new Set(grid.done.map(({ cell }) => cell));
  const running = new Map<Cell, { readonly since: number; round: string }>();
  const print = (line: string): void => {
    live?.clear();
    stream.write(`${line}\n`);
    redraw();
  };
  const left = (): string => {
    const waiting = cells.filter((cell) => !ended.has(cell) && !running.has(cell));
    const seconds = secondsLeft({ known, waiting, jobs, running: [...running].map(([cell, { since }]) => ({ cell, seconds: (now() - since) / 1000 })) });
    return seconds === undefined || ended.size === cells.length ? '' : ` · about ${durationText(seconds)} left`;
  };
  const redraw = (): void => {
    if (live === undefined) return;
    const width = 30;
    const filled = Math.round((width * ended.size) / Math.max(1, cells.length));
    live([`${paint.cyan('█'.repeat(filled))}${paint.dim('░'.repeat(width - filled))}  ${ended.size} of ${cells.length} cells${left()}`, ...[...running].map(([cell, { round }]) => `  ${cell.name}${round}`)].join('\n'));
  };
  return {
    started: (cell) => {
      running.set(cell, { since: now(), round: '' });
      if (live === undefined) print(`running ${cell.name}`);
      redraw();
    },
    event: (cell, event) => {
      const state = running.get(cell);
      if (state === undefined || event.type !== 'round-ended') return;
      state.round = ` · round ${event.round} of ${cell.study.schedule.rounds}`;
      redraw();
    },
    say: print,
    finished: (cell, { seconds, text, failed }) => {
      running.delete(cell);
      ended.add(cell);
      if (!failed) known.push({ cell, seconds });
      print(`${ended.size}/${cells.length} ${cell.name}: ${text}, ${durationText(seconds)}${live === undefined ? left() : ''}`);
    },
    close: () => {
      live?.clear();
      live?.done();
    },
  };
}

export function durationText(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  return whole < 3600 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
