import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../shared/bytes.ts';
import { fnv1a, hashedTextReader, hashTerm, termsOf } from '../../shared/data/text.ts';

const words = { unit: 'word', ngrams: 1 } as const;

describe('terms', () => {
  it.each<[string, string[]]>([
    ['Dr. Müller’s  X-ray: 37,5°C!', ['dr', "müller's", 'x', 'ray', '37', '5', 'c']],
    ['ＦＵＬＬ ﬁne #happy @you https://t.co', ['full', 'fine', 'happy', 'you', 'https', 't', 'co']],
    ['Привет, мир', ['привет', 'мир']],
    ['नमस्ते दुनिया', ['नमस्ते', 'दुनिया']],
    ['مرحبا بالعالم', ['مرحبا', 'بالعالم']],
    ['今日は良い天気。', ['今日は良い天気']],
    ['STRASSE straße', ['strasse', 'straße']],
    [' \t…😀 ', []],
  ])('of %j are the words of its script', (text, expected) => {
    expect(termsOf(text, words)).toEqual(expected);
  });

  it('are runs of neighbouring words, or of characters where a script does not part words', () => {
    expect(termsOf('no fever today', { unit: 'word', ngrams: 2 })).toEqual(['no', 'no fever', 'fever', 'fever today', 'today']);
    expect(termsOf('良い。A𠮷', { unit: 'character', ngrams: 2 })).toEqual(['良', '良い', 'い', 'い ', ' ', ' a', 'a', 'a𠮷', '𠮷']);
  });

  it('do not depend on composed or decomposed letters, nor on which apostrophe', () => {
    expect(termsOf('Cafe\u0301 it’s', words)).toEqual(termsOf('CAFÉ it\'s', words));
  });
});

describe('the hash of a term', () => {
  it('is FNV-1a by its published vectors, then mixed; golden (computed apart from this code), for sites count alike for ever', () => {
    expect(['', 'a', 'foobar'].map((text) => fnv1a(utf8(text)))).toEqual([0x811c9dc5, 0xe40c292c, 0xbf9cf968]);
    expect(['fever', 'no fever', 'привет', '良い'].map(hashTerm)).toEqual([2_837_234_268, 3_724_223_663, 77_316_350, 954_881_605]);
  });

  it('spreads 40 000 terms over buckets and signs as chance would', () => {
    const [count, buckets] = [40_000, 64];
    const cells = new Float64Array(2 * buckets);
    for (let i = 0; i < count; i += 1) {
      const hash = hashTerm(`term${i}`);
      cells[2 * ((hash >>> 1) % buckets) + (hash & 1)]! += 1;
    }
    const expected = count / cells.length;
    const chiSquare = cells.reduce((sum, found) => sum + (found - expected) ** 2 / expected, 0);
    // 127 degrees of freedom: mean 127, standard deviation 16; the input is fixed, so this is not left to chance.
    expect(chiSquare).toBeLessThan(127 + 3 * 16);
  });
});

describe('hashed text', () => {
  it('adds the signs of its terms to their buckets', () => {
    const buckets = 13;
    const text = 'pain pain pain no fever no';
    const expected = new Float64Array(buckets);
    for (const term of text.split(' ')) expected[(hashTerm(term) >>> 1) % buckets]! += hashTerm(term) % 2 === 0 ? 1 : -1;
    const read = (counts: 'count' | 'log' | 'sign') => Array.from(hashedTextReader({ ...words, counts, unitLength: false }, buckets)(text));
    expect(read('count')).toEqual([...expected]);
    expect(read('sign')).toEqual([...expected].map(Math.sign));
    expect(read('log')).toEqual([...expected].map((c) => Math.fround(Math.sign(c) * Math.log(1 + Math.abs(c)))));
  });

  it('is the same whenever it is read, finite, of unit length where asked, and zero without any term', () => {
    const spec = fc.record({ unit: fc.constantFrom('word' as const, 'character' as const), ngrams: fc.integer({ min: 1, max: 4 }), counts: fc.constantFrom('count' as const, 'log' as const, 'sign' as const), unitLength: fc.constant(true) });
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 80 }), spec, fc.integer({ min: 2, max: 300 }), (text, one, buckets) => {
        const found = hashedTextReader(one, buckets)(text);
        expect(found).toHaveLength(buckets);
        expect(found).toEqual(hashedTextReader(one, buckets)(text));
        const length = Math.hypot(...found);
        // Signs may cancel to nothing, as no terms do.
        expect(length === 0 || Math.abs(length - 1) < 1e-5).toBe(true);
        if (termsOf(text, one).length === 0) expect(length).toBe(0);
      }),
    );
  });
});
