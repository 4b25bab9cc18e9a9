import { appendFileSync, readFileSync, truncateSync } from 'node:fs';
import { AntiphonError } from '../../shared/errors.ts';
import { parseJson } from '../../shared/json.ts';
import type { StudyEvent } from '../events.ts';

export interface MetricsFile {
  /** What was told before: of a study that goes on, the report tells all of it. */
  readonly events: readonly StudyEvent[];
  /** Whole lines only: what a full disk cut short is taken back. AntiphonError('storage-failed'). */
  readonly append: (event: StudyEvent) => void;
}

/** Opens `metrics.jsonl`. A last line without its newline, which a crash cut short, is cut off. */
export function openMetrics(path: string): MetricsFile {
  const bytes = existing(path);
  const whole = bytes.lastIndexOf('\n') + 1;
  let size = whole;
  const lines = bytes.subarray(0, whole).toString('utf8').split('\n').slice(0, -1);
  const storing = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      throw new AntiphonError('storage-failed', `could not append to ${path}: ${messageOf(error)}; free space or fix the permissions, then start again with the same folder`, { cause: error });
    }
  };
  if (whole < bytes.length) storing(() => { truncateSync(path, whole); });
  return {
    events: lines.flatMap((line) => {
      const event = parseJson(line);
      return typeof event === 'object' && event !== null && 'type' in event ? [event as StudyEvent] : [];
    }),
    append: (event) => {
      const line = Buffer.from(`${JSON.stringify(event)}\n`, 'utf8');
      storing(() => {
        try {
          appendFileSync(path, line);
        } catch (error) {
          takeBack(path, size);
          throw error;
        }
        size += line.length;
      });
    },
  };
}

/** Where even that fails, the next start cuts the line off. */
function takeBack(path: string, size: number): void {
  try {
    truncateSync(path, size);
  } catch {
    return;
  }
}

function existing(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return Buffer.alloc(0);
    throw new AntiphonError('storage-failed', `cannot read ${path}: ${messageOf(error)}; fix the permissions, then start again`, { cause: error });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
