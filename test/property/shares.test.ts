import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inShare, shareOf } from '../../shared/data/selection.ts';

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();

describe('shares of patients', () => {
  it('put every patient into exactly one of the shares that partition [0, 1)', () => {
    const cuts = fc.uniqueArray(fc.double({ min: 0.01, max: 0.99, noNaN: true }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(cuts, fc.string({ unit: 'grapheme' }), (inner, patient) => {
        const borders = [0, ...inner.sort((a, b) => a - b), 1];
        const position = shareOf(sha256, patient);
        const homes = borders.slice(1).filter((to, i) => inShare({ from: borders[i] ?? 0, to }, position));
        expect(position).toBeGreaterThanOrEqual(0);
        expect(position).toBeLessThan(1);
        expect(homes).toHaveLength(1);
      }),
    );
  });

  it('are the first 48 bits of SHA-256 over the domain and the id', () => {
    const hash = createHash('sha256').update('antiphon/share/1\0p-ä1', 'utf8').digest();
    expect(shareOf(sha256, 'p-ä1')).toBe(hash.readUIntBE(0, 6) / 2 ** 48);
  });

  it('spread patients evenly', () => {
    const count = Array.from({ length: 10_000 }, (_, i) => shareOf(sha256, `patient-${i}`)).filter((position) => position < 0.3).length;
    expect(Math.abs(count - 3000)).toBeLessThan(5 * Math.sqrt(10_000 * 0.3 * 0.7));
  });
});
