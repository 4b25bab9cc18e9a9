import { utf8 } from '../bytes.ts';
import type { Primitives } from '../crypto/primitives.ts';
import type { FilterSpec, SelectionSpec, ShareSpec } from '../study/schema.ts';

/** Which records belong to a site, or to a part of the evaluation. Both omitted: all of them. */
export interface Selection {
  readonly where?: SelectionSpec['where'];
  readonly share?: SelectionSpec['share'];
}

const SHARE_DOMAIN = 'antiphon/share/1\0';

/**
 * Where a patient falls in [0, 1): SHA-256 of the domain and the patient's id in UTF-8, its first 48 bits as a fraction. The same
 * everywhere and for ever, so that sites with shares that do not overlap hold different patients without comparing lists.
 */
export function shareOf(sha256: Primitives['sha256'], patient: string): number {
  const hash = sha256(utf8(SHARE_DOMAIN + patient));
  let first = 0;
  for (let i = 0; i < 6; i += 1) first = first * 256 + (hash[i] ?? 0);
  return first / 2 ** 48;
}

export function inShare(share: ShareSpec | undefined, position: number): boolean {
  return share === undefined || (position >= share.from && position < share.to);
}

/** The values a column may have, as text. */
export function allowedValues(condition: FilterSpec[string]): readonly string[] {
  return Array.isArray(condition) ? condition.map(String) : [String(condition)];
}

/** Whether a record passes: every condition of every filter (the modality's and the selection's), and the patient's share. */
export function selects(input: {
  readonly filters: readonly (FilterSpec | undefined)[];
  readonly share: ShareSpec | undefined;
  readonly cell: (column: string) => string;
  /** The patient's position, asked for only where there is a share. */
  readonly position: () => number;
}): boolean {
  const { filters, share, cell, position } = input;
  const passes = filters.every((filter) => Object.entries(filter ?? {}).every(([column, condition]) => allowedValues(condition).includes(cell(column))));
  return passes && (share === undefined || inShare(share, position()));
}
