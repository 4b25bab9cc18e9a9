import { createReadStream } from 'node:fs';
import { TextDecoder } from 'node:util';
import { AntiphonError, type ErrorCode } from '../errors.ts';
import { MAX_LINE_BYTES } from '../lengths.ts';

/** Yields lines without their newline; returns whether the last one had its own. What stands behind the last newline is yielded too. */
export type Lines = AsyncGenerator<string, { readonly complete: boolean }>;

/** What a fault is called: bytes that no ledger has, and bytes that cannot be read. */
export interface LineFaults {
  readonly notLines: ErrorCode;
  readonly unreadable: ErrorCode;
}

/** Of a file, streamed: it may be longer than any string. */
export function fileLines(path: string, faults: LineFaults): Lines {
  return splitLines(createReadStream(path, { highWaterMark: 1 << 20 }), path, faults);
}

/** Throws AntiphonError, `notLines` for bytes that are not UTF-8 and for a line of more than MAX_LINE_BYTES, `unreadable` for what the source throws. */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>, name: string, { notLines, unreadable }: LineFaults): Lines {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const decode = (chunk: Uint8Array): string => {
    try {
      return decoder.decode(chunk, { stream: true });
    } catch (error) {
      throw new AntiphonError(notLines, `${name} is not UTF-8 text: some byte of it was changed`, { cause: error });
    }
  };
  /** A character that a crash cut short is part of a torn line. */
  const cutCharacter = (): string => {
    try {
      return decoder.decode();
    } catch {
      return '\ufffd';
    }
  };
  let rest = '';
  try {
    for await (const chunk of chunks) {
      const lines = (rest + decode(chunk)).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > MAX_LINE_BYTES) throw new AntiphonError(notLines, `${name} holds a line of more than ${MAX_LINE_BYTES} characters: it is no ledger`);
      yield* lines;
    }
  } catch (error) {
    throw error instanceof AntiphonError ? error : new AntiphonError(unreadable, `cannot read ${name}: ${messageOf(error)}`, { cause: error });
  }
  rest += cutCharacter();
  if (rest !== '') yield rest;
  return { complete: rest === '' };
}

/** Lines that end with a newline. What stands behind the last one was cut short while it was written, and never acted upon. */
export async function* wholeLines(lines: Lines): AsyncGenerator<string, void> {
  let held: string | undefined;
  for (;;) {
    const next = await lines.next();
    if (next.done === true) {
      if (held !== undefined && next.value.complete) yield held;
      return;
    }
    if (held !== undefined) yield held;
    held = next.value;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? (error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message) : String(error);
}
