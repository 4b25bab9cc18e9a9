import { describe, expect, it } from 'vitest';
import { farewellText } from '../../coordinator/ended.ts';
import { studyEndedSchema } from '../../shared/protocol/messages.ts';

describe('what sites are told at the end of a study', () => {
  it('is its reason and detail', () => {
    expect(farewellText({ reason: 'completed', detail: 'all 4 rounds of the schedule' })).toBe('completed: all 4 rounds of the schedule');
  });

  it('fits the protocol whatever sites have refused with, and is never cut inside a character', () => {
    for (let before = 280; before < 300; before += 1) {
      const text = farewellText({ reason: 'failed', detail: `${'x'.repeat(before - 'failed: '.length)}${'\u{1F480}'.repeat(20)}` });
      expect(text.isWellFormed()).toBe(true);
      expect(text.startsWith('failed: xxx')).toBe(true);
      expect(studyEndedSchema.safeParse({ type: 'study-ended', reason: text }).success).toBe(true);
    }
  });
});
