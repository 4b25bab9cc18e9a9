import fc from 'fast-check';
import { freshBytes } from '../../shared/privacy/random.ts';
import { describe, expect, it } from 'vitest';
import { AntiphonError } from '../../shared/errors.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { createCanaryScorer, releaseWeights } from '../../shared/privacy/canary-scores.ts';
import { createDiscreteGaussian } from '../../shared/privacy/discrete-gaussian.ts';
import { auditPValue, countCorrect, epsilonLowerBound, planGuesses } from '../../shared/privacy/one-run-audit.ts';
import { areaUnderRoc } from '../../shared/privacy/membership.ts';

describe('the bound', () => {
  const outcome = fc.tuple(fc.integer({ min: 1, max: 300 }), fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })).map(([canaries, a, b]) => {
    const guesses = Math.max(1, Math.round(a * canaries));
    return { canaries, guesses, correct: Math.round(b * guesses) };
  });

  it('is refuted by its own test just above, and not just below', () => {
    fc.assert(fc.property(outcome, fc.constantFrom(0, 1e-6, 1e-4), fc.constantFrom(0.7, 0.95, 0.999), (one, delta, confidence) => {
      const bound = epsilonLowerBound({ ...one, delta }, confidence);
      if (bound > 0) expect(auditPValue({ ...one, delta }, bound)).toBeLessThanOrEqual(1 - confidence);
      expect(auditPValue({ ...one, delta }, bound + 1e-6)).toBeGreaterThan(1 - confidence - 1e-5);
    }));
  });

  it('grows with right guesses, and shrinks with delta, confidence and canaries that were not guessed', () => {
    fc.assert(fc.property(outcome, (one) => {
      const at = (change: Partial<typeof one & { delta: number; confidence: number }>): number => {
        const { confidence, ...rest } = { ...one, delta: 1e-5, confidence: 0.9, ...change };
        return epsilonLowerBound(rest, confidence);
      };
      const base = at({});
      if (one.correct < one.guesses) expect(at({ correct: one.correct + 1 })).toBeGreaterThanOrEqual(base - 1e-8);
      expect(at({ delta: 1e-3 })).toBeLessThanOrEqual(base + 1e-8);
      expect(at({ confidence: 0.99 })).toBeLessThanOrEqual(base + 1e-8);
      expect(at({ canaries: one.canaries + 50 })).toBeLessThanOrEqual(base + 1e-8);
    }));
  });

  it.each([[0.3, 50], [1.7, 120], [4, 400]])('randomised response at epsilon %f, the mechanism that is hardest to bound, exceeds it in at most 5 %% of all outcomes (%i guesses)', (epsilon, guesses) => {
    // Exactly: the sum of the probabilities of the outcomes whose bound is too high.
    const q = Math.exp(epsilon) / (1 + Math.exp(epsilon));
    let logMass = guesses * Math.log1p(-q);
    let wrong = 0;
    for (let correct = 0; correct <= guesses; correct += 1) {
      if (epsilonLowerBound({ canaries: guesses, guesses, correct, delta: 0 }, 0.95) > epsilon) wrong += Math.exp(logMass);
      logMass += Math.log((guesses - correct) / (correct + 1)) + epsilon;
    }
    console.log(`epsilon ${epsilon}: too high with probability ${wrong.toFixed(4)}`);
    expect(wrong).toBeLessThanOrEqual(0.05);
    // And it is no idle bound.
    expect(wrong).toBeGreaterThan(0.01);
  });

  it('counts a thousand right guesses of a thousand without losing a digit to underflow', () => {
    // q^1000 = 0.05 solved by hand: q = 0.05^(1/1000).
    const q = 0.05 ** (1 / 1000);
    expect(epsilonLowerBound({ canaries: 1000, guesses: 1000, correct: 1000, delta: 0 }, 0.95)).toBeCloseTo(Math.log(q / (1 - q)), 7);
    expect(auditPValue({ canaries: 20_000, guesses: 20_000, correct: 20_000, delta: 0 }, 2)).toBe(0);
  });

  it('refuses counts that cannot be', () => {
    expect(() => epsilonLowerBound({ canaries: 10, guesses: 11, correct: 3, delta: 0 }, 0.95)).toThrow(AntiphonError);
    expect(() => auditPValue({ canaries: 10, guesses: 5, correct: 6, delta: 0 }, 1)).toThrow(AntiphonError);
  });
});

describe('guesses', () => {
  it('take a third of the canaries where that can refute the claim, more where it takes more, a third where nothing can', () => {
    const plan = (canaries: number, claim: number): number => planGuesses({ canaries, claim, delta: 1e-5, confidence: 0.95 }).included;
    expect(plan(600, 1)).toBe(100);
    expect(plan(600, 4.2)).toBe(150);
    expect(plan(600, 5)).toBe(300);
    expect(plan(600, 8)).toBe(100);
    expect(plan(600, Infinity)).toBe(100);
  });

  it('go to the highest and the lowest scores, ties by position', () => {
    const scores = Float64Array.of(3, -1, 7, 0, 0, 5, -4, 0);
    const included = Uint8Array.of(1, 0, 1, 1, 0, 0, 1, 0);
    // Highest: 7, 5, 3; lowest: -4, -1.
    expect(countCorrect({ scores, included, guesses: { included: 3, excluded: 2 } })).toBe(3);
    // Then 0 at position 3; 0 at position 7 is the lowest of the three.
    expect(countCorrect({ scores, included, guesses: { included: 4, excluded: 3 } })).toBe(5);
    expect(() => countCorrect({ scores, included, guesses: { included: 5, excluded: 4 } })).toThrow(/invariant/);
    expect(() => countCorrect({ scores: scores.fill(NaN), included, guesses: { included: 1, excluded: 1 } })).toThrow(/invariant/);
  });
});

describe('scores of canaries', () => {
  const [n, size] = [60, 90];
  const random = createKeyStream();
  const normal = createDiscreteGaussian(2 ** 20, random);
  const one = new Float64Array(1);
  const draw = (): number => {
    normal.fill(one);
    return one[0]! / 2 ** 20;
  };
  const q = 0.4;

  /** Rounds of releases of canaries whose gradients overlap strongly, with so much noise; AUC of a score over the coins. */
  function auc(score: (rounds: readonly { gradients: Float32Array; released: Float64Array }[], noise: number) => Float64Array, noise: number, factor = 1): number {
    const included = freshBytes(random, n).map((byte) => byte & 1);
    const common = Float64Array.from({ length: size }, draw);
    const rounds = Array.from({ length: 8 }, () => {
      const gradients = Float32Array.from({ length: n * size }, (_, i) => (draw() + 3 * common[i % size]!) / 10);
      const released = Float64Array.from({ length: size }, () => noise * draw());
      for (let i = 0; i < n; i += 1) if (included[i] === 1 && freshBytes(random, 1)[0]! < 256 * q) for (let k = 0; k < size; k += 1) released[k]! += factor * gradients[i * size + k]!;
      return { gradients, released };
    });
    const scores = score(rounds, noise);
    const of = (coin: number): Float64Array => scores.filter((_, i) => included[i] === coin);
    return areaUnderRoc({ members: of(1), nonMembers: of(0) });
  }

  const estimated = (claimed: (noise: number) => number, lengths = 1) => (rounds: readonly { gradients: Float32Array; released: Float64Array }[], noise: number): Float64Array => {
    const scorer = createCanaryScorer(n);
    for (const round of rounds) scorer.observe({ ...round, lengths: new Float64Array(n).fill(lengths), signal: q, coinVariance: q * (1 - q), noiseVariance: claimed(noise) ** 2 });
    return scorer.scores();
  };
  const innerProduct = (rounds: readonly { gradients: Float32Array; released: Float64Array }[]): Float64Array =>
    Float64Array.from({ length: n }, (_, i) => rounds.reduce((sum, { gradients, released }) => sum + released.reduce((dot, value, k) => dot + value * gradients[i * size + k]!, 0), 0));

  it('tell overlapping canaries apart where the plain inner product cannot', () => {
    const [plain, best] = [auc(innerProduct, 0.1), auc(estimated((noise) => noise), 0.1)];
    console.log(`area under the curve: inner product ${plain.toFixed(3)}, estimate ${best.toFixed(3)}`);
    expect(plain).toBeLessThan(0.8);
    expect(best).toBeGreaterThan(0.92);
  });

  it('find out by themselves that there is hardly any noise, or no clipping', () => {
    expect(auc(estimated(() => 3), 1e-3)).toBeGreaterThan(0.9);
    expect(auc(estimated(() => 3, 30), 3, 30)).toBeGreaterThan(0.9);
  });

  it('tell nothing where there is nothing to tell', () => {
    expect(Math.abs(auc(estimated((noise) => noise), 100) - 0.5)).toBeLessThan(0.35);
  });
});

it('the releases of a round weigh as momentum makes them', () => {
  expect([...releaseWeights(3, 0.5)]).toEqual([1.75, 1.5, 1]);
  expect([...releaseWeights(2, 0)]).toEqual([1, 1]);
});
