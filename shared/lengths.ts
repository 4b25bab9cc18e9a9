import { utf8 } from './bytes.ts';

/**
 * How long a text may be that others must read, in UTF-8 bytes: a line that a ledger accepts can always be sent, so that no site can write one into it that no other
 * site will read. Half a frame (protocol/messages.ts); the longest honest lines, PLAN, RESERVE and COMMIT of 5000 sites, are far below.
 */
export const MAX_LINE_BYTES = 4 * 1024 * 1024;
/** Of a study as canonical JSON: sent whole on enrolment, and its PLAN, which says less, is one line. */
export const MAX_STUDY_BYTES = 3 * 1024 * 1024;

/** UTF-16 units become at most three bytes each: nearly every text is decided without encoding it. */
export function isWithin(text: string, bytes: number): boolean {
  return text.length <= bytes && (3 * text.length <= bytes || utf8(text).length <= bytes);
}
