export interface Terminal {
  /** Lines may be drawn again. */
  readonly live: boolean;
  readonly color: boolean;
}

/** What may be written to a stream: no escape code at all to a file, a pipe, a dumb terminal, or where NO_COLOR (no-color.org: set and not empty) asks for plain text. */
export function terminalOf({ isTTY }: { readonly isTTY: boolean }, environment: Readonly<Record<string, string | undefined>>): Terminal {
  const plain = environment['TERM'] === 'dumb' || (environment['NO_COLOR'] ?? '') !== '';
  return { live: isTTY && !plain, color: isTTY && !plain };
}
