import canonicalize from 'canonicalize';
import { AntiphonError } from '../errors.ts';

/** RFC 8785 (JSON Canonicalization Scheme). Refuses what JSON cannot hold exactly: undefined, non-finite numbers, lone surrogates. */
export function canonicalJson(value: unknown): string {
  assertExact(value);
  const text = hasSortedKeys(value) ? JSON.stringify(value) : canonicalize(value);
  if (text === undefined) throw new AntiphonError('internal', 'expected a JSON value to canonicalise, found undefined');
  return text;
}

/** The value of a text that is exactly its own canonical form; undefined for every other spelling of it (spaces, escapes, duplicate keys). */
export function parseCanonical(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return isPlainlyCanonical(value, text) || canonicalJson(value) === text ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Nearly every line, at a third of the cost. Surrogates may stand alone: not decided here. */
function isPlainlyCanonical(value: unknown, text: string): boolean {
  return !text.includes('\\ud') && JSON.stringify(value) === text && hasSortedKeys(value);
}

/** Then its canonical form is what JSON.stringify gives: ECMAScript's own spelling of numbers and text is the RFC's, and only the order of keys is left. */
function hasSortedKeys(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(hasSortedKeys);
  let last: string | undefined;
  for (const [key, inner] of Object.entries(value)) {
    if ((last !== undefined && key <= last) || !hasSortedKeys(inner)) return false;
    last = key;
  }
  return true;
}

function assertExact(value: unknown): void {
  if (value === undefined || typeof value === 'bigint' || typeof value === 'function' || typeof value === 'symbol' || (typeof value === 'number' && !Number.isFinite(value))) {
    throw new AntiphonError('internal', `expected a JSON value, found ${typeof value === 'number' ? String(value) : typeof value}`);
  }
  if (typeof value === 'string' && !value.isWellFormed()) throw new AntiphonError('internal', 'expected well-formed Unicode, found a lone surrogate');
  if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      assertExact(key);
      assertExact(inner);
    }
  }
}
