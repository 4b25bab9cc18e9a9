import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { auditPValue, epsilonLowerBound } from '../../shared/privacy/one-run-audit.ts';
import { describeWithShared, sharedFile } from '../support/shared-data.ts';

interface Golden {
  one_run_audit: { rows: { m_canaries: number; guesses: number; correct: number; delta: number; confidence: number; eps_lower_bound: number; p_value_at_eps_1: number; p_value_at_eps_3: number }[] };
}

describeWithShared('the one-run audit against the golden values', ['golden/dp_golden.json'], () => {
  const { rows } = (JSON.parse(readFileSync(sharedFile('golden/dp_golden.json') ?? '', 'utf8')) as Golden).one_run_audit;

  it('lower bounds agree to 1e-6, probabilities to 1e-9 relative', () => {
    let worst = { bound: 0, probability: 0 };
    for (const { m_canaries, guesses, correct, delta, confidence, eps_lower_bound, p_value_at_eps_1, p_value_at_eps_3 } of rows) {
      const outcome = { canaries: m_canaries, guesses, correct, delta };
      const probability = Math.max(Math.abs(auditPValue(outcome, 1) / p_value_at_eps_1 - 1), Math.abs(auditPValue(outcome, 3) / p_value_at_eps_3 - 1));
      worst = { bound: Math.max(worst.bound, Math.abs(epsilonLowerBound(outcome, confidence) - eps_lower_bound)), probability: Math.max(worst.probability, probability) };
    }
    console.log(`worst deviation over ${rows.length} rows: bound ${worst.bound.toExponential(1)}, probability ${worst.probability.toExponential(1)}`);
    expect(rows.length).toBeGreaterThan(20);
    expect(worst.bound).toBeLessThan(1e-6);
    expect(worst.probability).toBeLessThan(1e-9);
  });
});

it('without noise 200 right guesses of 200 give 4.194, 550 of 1000 give 0.0942, at 95 %', () => {
  expect(epsilonLowerBound({ canaries: 200, guesses: 200, correct: 200, delta: 0 }, 0.95)).toBeCloseTo(4.194, 3);
  expect(epsilonLowerBound({ canaries: 1000, guesses: 1000, correct: 550, delta: 0 }, 0.95)).toBeCloseTo(0.0942, 4);
});
