import { utf8 } from '../bytes.ts';
import type { TextSpec } from '../study/schema.ts';

/**
 * Feature hashing (Weinberger et al. 2009, "Feature hashing for large scale multitask learning"): every term of a text adds its sign to its bucket, so that
 * terms that share a bucket cancel on average. Bucket and sign come from a public hash, so nothing is learnt from any text, and every site counts alike.
 * Golden terms are in test/unit/text.test.ts: the rules below are for ever.
 */
export function hashedTextReader(spec: Pick<TextSpec, 'unit' | 'ngrams' | 'counts' | 'unitLength'>, buckets: number): (text: string) => Float32Array {
  return (text) => {
    const counts = new Float64Array(buckets);
    for (const term of termsOf(text, spec)) {
      const hash = hashTerm(term);
      counts[(hash >>> 1) % buckets]! += (hash & 1) === 0 ? 1 : -1;
    }
    if (spec.counts === 'log') counts.forEach((c, i) => (counts[i] = Math.sign(c) * Math.log1p(Math.abs(c))));
    if (spec.counts === 'sign') counts.forEach((c, i) => (counts[i] = Math.sign(c)));
    const length = spec.unitLength ? Math.sqrt(counts.reduce((sum, c) => sum + c * c, 0)) : 1;
    return Float32Array.from(counts, (c) => (length > 0 ? c / length : 0));
  };
}

/** What is not a token in a row of token numbers. */
export const PADDING = 0;

/**
 * The first `tokens` terms of a text in their order, as numbers 1 .. vocabulary - 1 of the same public hash, then padding: no vocabulary is learnt, and terms may share a number.
 * Golden rows are in test/unit/text.test.ts.
 */
export function tokenReader(spec: Pick<TextSpec, 'unit' | 'ngrams'>, { tokens, vocabulary }: { readonly tokens: number; readonly vocabulary: number }): (text: string) => Float32Array {
  return (text) => {
    const row = new Float32Array(tokens).fill(PADDING);
    termsOf(text, spec).slice(0, tokens).forEach((term, i) => (row[i] = 1 + (hashTerm(term) % (vocabulary - 1))));
    return row;
  };
}

/**
 * Runs of 1 to `ngrams` neighbours, joined by a space. Words are what letters, marks and digits make, apostrophes inside them included, after Unicode's
 * compatibility form (NFKC) and lower case; all else parts them. Characters are code points of the words, with a space where a word ends.
 */
export function termsOf(text: string, { unit, ngrams }: Pick<TextSpec, 'unit' | 'ngrams'>): string[] {
  const words = text.normalize('NFKC').toLowerCase().replaceAll('\u2019', "'").match(/[\p{L}\p{M}\p{N}]+(?:'[\p{L}\p{M}\p{N}]+)*/gu) ?? [];
  const units = unit === 'word' ? [...words] : Array.from(words.join(' '));
  const terms: string[] = [];
  for (let first = 0; first < units.length; first += 1) {
    for (let length = 1; length <= Math.min(ngrams, units.length - first); length += 1) {
      terms.push(units.slice(first, first + length).join(unit === 'word' ? ' ' : ''));
    }
  }
  return terms;
}

/** FNV-1a of the UTF-8 bytes (Fowler, Noll, Vo; 32 bits), then MurmurHash3's finaliser (Appleby), which spreads it over all bits. */
export function hashTerm(term: string): number {
  let hash = fnv1a(utf8(term));
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

export function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
