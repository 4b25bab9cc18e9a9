import { utf8 } from './bytes.ts';

/**
 * How long a text may be that others must read, in UTF-8 bytes: a line that a ledger accepts can always be sent, so that no site can write one into it that no other
 * site will read. Half a frame (protocol/messages.ts); the longest honest line, an ABORT with the refusals of 5000 sites, is below.
 */
export const MAX_LINE_BYTES = 4 * 1024 * 1024;
/** Of a study as canonical JSON: sent whole on enrolment, and its PLAN, which says less, is one line. */
export const MAX_STUDY_BYTES = 3 * 1024 * 1024;
/** Of a refusal's reason, as JSON with its quotation marks. */
export const MAX_REASON_BYTES = 300;

/** UTF-16 units become at most three bytes each: nearly every text is decided without encoding it. */
export function isWithin(text: string, bytes: number): boolean {
  return text.length <= bytes && (3 * text.length <= bytes || utf8(text).length <= bytes);
}

/** The longest well-formed beginning that fits into so many bytes of JSON. */
export function shorten(text: string, bytes: number): string {
  let fitting = text.slice(0, bytes);
  while (!isWithin(JSON.stringify(fitting), bytes) || !fitting.isWellFormed()) fitting = fitting.slice(0, -1);
  return fitting;
}
