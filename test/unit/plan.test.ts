import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { planOfStudy } from '../../deploy/plan.ts';
import { answerPlan, planJson } from '../../deploy/plan-answer.ts';
import { epsilonAfter, milestones, MOST_ROUNDS, noiseFor, roundsThatFit, type Plan, type PlannedModality } from '../../deploy/plan-model.ts';
import { planPage, planSvg } from '../../deploy/plan-plot.ts';
import { assumptions, formatPlan, modalityRows } from '../../deploy/plan-text.ts';
import { epsilonOf } from '../../shared/privacy/accountant.ts';
import { pldEpsilon } from '../../shared/privacy/pld.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import { ledgerStudy } from '../support/ledger-study.ts';

const modality = (samplingRate: number, stepsPerRound: number, sites: number, sitesDisjoint: boolean, patients?: number): PlannedModality => ({
  samplingRate,
  stepsPerRound,
  sitesDisjoint,
  sites: Array.from({ length: sites }, (_, i) => ({ name: `s${i}`, patients: patients === undefined ? undefined : patients + 10 * i })),
});
/** privacy.md: n = 500, q = 0.064, sigma 1.5, T = 300, delta 1e-4 costs epsilon 3.2441. */
const single: Plan = { binding: 'pld', title: 'one', unit: 'round', modalities: new Map([['m', modality(0.064, 10, 1, true, 500)]]), order: ['m'], rounds: 30, delta: 1e-4 };
const mixed: Plan = {
  binding: 'pld',
  title: 'mixed',
  unit: 'round',
  modalities: new Map([['image', modality(0.05, 4, 3, true, 200)], ['lab', modality(0.1, 7, 2, false)]]),
  order: ['image', 'lab', 'lab'],
  rounds: 20,
  delta: 1e-5,
};

describe('a plan', () => {
  it('of one modality costs what its steps cost, by both accountants', () => {
    const { pld, rdp } = epsilonAfter(single, 30, 1.5);
    expect(pld).toBeCloseTo(3.2441, 4);
    expect(rdp).toBeGreaterThan(1.05 * pld);
    expect(epsilonAfter(single, 7, 1.5).pld).toBe(pldEpsilon({ events: [{ type: 'poisson-gaussian', samplingRate: 0.064, noiseMultiplier: 1.5, steps: 70 }], delta: 1e-4 }));
  });

  it('counts disjoint sites once and others each, and follows an order in which a modality has two turns', () => {
    // 20 rounds of image, lab, lab: 7 of image, 13 of lab.
    const events = [
      { type: 'poisson-gaussian' as const, samplingRate: 0.05, noiseMultiplier: 3, steps: 7 * 4 },
      { type: 'poisson-gaussian' as const, samplingRate: 0.1, noiseMultiplier: 3, steps: 2 * 13 * 7 },
    ];
    expect(epsilonAfter(mixed, 20, 3).pld).toBe(pldEpsilon({ events, delta: 1e-5 }));
    expect(modalityRows(mixed)).toEqual([
      ['image', '3, disjoint', '0.05', '7 x 4', '10 to 11'],
      ['lab', '2, may overlap', '0.1', '13 x 7', '–'],
    ]);
  });

  it('states the RDP of a run on the way too: at the order that the run would fix for all its rounds', () => {
    const study = parseStudy(readFileSync(new URL('../../deploy/studies/synthetic.yaml', import.meta.url), 'utf8'), 'study.yaml');
    const { modalities, accountant } = resolveStudy(study);
    const plan = planOfStudy(study, 1e-4);
    const noiseMultiplier = [...modalities.values()].flatMap(({ mechanism }) => ('noiseMultiplier' in mechanism ? [mechanism.noiseMultiplier] : []))[0] ?? NaN;
    for (const [rounds, ofEach] of [[6, 2], [21, 7], [30, 10]] as const) {
      const events = [...modalities.values()].map(({ mechanism }) => ({ type: 'poisson-gaussian' as const, samplingRate: mechanism.samplingRate, noiseMultiplier, steps: ofEach * mechanism.steps }));
      expect(epsilonAfter(plan, rounds, noiseMultiplier).rdp).toBeCloseTo(epsilonOf({ events, delta: 1e-4, rdpOrder: accountant.rdpOrder }).rdp, 12);
    }
    // The best order of few rounds is another one, and no run may choose it.
    expect(epsilonAfter({ ...plan, rounds: 6 }, 6, noiseMultiplier).rdp).toBeLessThan(epsilonAfter(plan, 6, noiseMultiplier).rdp);
  });

  it('is calibrated to the published noise multiplier', () => {
    expect(Math.abs(noiseFor('pld', { ...single, modalities: new Map([['m', modality(0.01, 20, 1, true)]]), rounds: 50, delta: 1e-5 }, 1) - 1.4146)).toBeLessThan(1e-3);
    expect(Math.abs(noiseFor('pld', single, 4) - 1.313)).toBeLessThan(1e-3);
    expect(noiseFor('rdp', single, 4)).toBeCloseTo(1.4088, 3);
  });

  it('has room for exactly the rounds whose epsilon is at most the budget', () => {
    for (const accountant of ['pld', 'rdp'] as const) {
      for (const budget of [0.9, 2.5, 3.3, 6]) {
        const fit = roundsThatFit(accountant, single, 1.5, budget);
        if (fit > 0) expect(epsilonAfter(single, fit, 1.5)[accountant]).toBeLessThanOrEqual(budget);
        expect(epsilonAfter(single, fit + 1, 1.5)[accountant]).toBeGreaterThan(budget);
      }
    }
    expect(roundsThatFit('pld', single, 1.5, 1e-3)).toBe(0);
    expect(roundsThatFit('rdp', single, 1e4, 50)).toBe(MOST_ROUNDS);
  });

  it('plans the noise that the study will have, by the accountant that it binds', () => {
    for (const accountant of ['pld', 'rdp'] as const) {
      const study = ledgerStudy('epsilon: 3, noiseMultiplier: 1.7', `epsilon: 3, accountant: ${accountant}`);
      const [mechanism] = [...resolveStudy(study).modalities.values()].map((modality) => modality.mechanism);
      const { noiseMultiplier, epsilon } = answerPlan({ plan: planOfStudy(study, 1e-5), epsilon: 3, noiseMultiplier: undefined });
      expect(mechanism).toMatchObject({ noiseMultiplier });
      expect(epsilon[accountant]).toBeLessThanOrEqual(3);
      expect(epsilon[accountant]).toBeGreaterThan(2.99);
    }
  });

  it('answers each question: noise for a budget, epsilon for a noise, rounds for both', () => {
    const noise = answerPlan({ plan: single, epsilon: 4, noiseMultiplier: undefined });
    expect(noise.noiseMultiplier).toBe(noise.calibrated?.pld);
    expect(noise.roundsThatFit?.pld).toBe(30);
    expect(noise.roundsThatFit?.rdp).toBeLessThan(30);
    const epsilon = answerPlan({ plan: single, epsilon: undefined, noiseMultiplier: 1.5 });
    expect(epsilon.epsilon.pld).toBeCloseTo(3.2441, 4);
    expect(epsilon.roundsThatFit).toBeUndefined();
    const rounds = answerPlan({ plan: single, epsilon: 3.3, noiseMultiplier: 1.5 });
    expect(rounds.calibrated).toBeUndefined();
    expect(rounds.roundsThatFit?.pld).toBe(roundsThatFit('pld', single, 1.5, 3.3));
    expect(rounds.curve.at(-1)).toEqual({ round: 30, modality: 'm', epsilon: rounds.epsilon });
    expect(rounds.curve).toHaveLength(30);
    expect(planJson(noise)).toMatchObject({ noiseMultiplier: noise.noiseMultiplier, epsilon: noise.epsilon, delta: 1e-4, budget: 4, rounds: 30 });
    expect(Object.keys(planJson(epsilon))).not.toContain('budget');
  });

  it('is answered where no noise is enough for the accountant that does not bind, which says so', () => {
    const answer = answerPlan({ plan: { ...single, rounds: 3 }, epsilon: 1e-5, noiseMultiplier: undefined });
    expect(answer.epsilon.pld).toBeLessThanOrEqual(1e-5);
    expect(answer.calibrated?.rdp).toBe(Infinity);
    expect(planJson(answer)).toMatchObject({ noiseMultiplierRdp: null });
    const text = formatPlan(answer, { color: false, out: undefined });
    expect(text).toContain('is enough by PLD; by RDP none is (no more than 10000 is tried)');
    expect(text).toMatch(/by PLD, 0\.00\d+ by RDP/);
    expect(() => answerPlan({ plan: { ...single, rounds: 3, delta: 1e-12 }, epsilon: 1e-7, noiseMultiplier: undefined })).toThrow(/no noise reaches epsilon 1e-7: even a noise multiplier of 10000/);
  });

  it('is followed along the way at few rounds, the first and the last among them', () => {
    expect(milestones(5, 33)).toEqual([1, 2, 3, 4, 5]);
    const many = milestones(14_063, 20);
    expect(many[0]).toBe(1);
    expect(many.at(-1)).toBe(14_063);
    expect(many.length).toBeLessThanOrEqual(20);
    expect([...many].sort((a, b) => a - b)).toEqual(many);
    expect(new Set(many).size).toBe(many.length);
  });
});

describe('what a plan says', () => {
  const answer = answerPlan({ plan: mixed, epsilon: 2, noiseMultiplier: 1.1 });

  it('names which modalities add up and which do not', () => {
    expect(assumptions(mixed)).toContain('No patient is at two sites of image, which each site signs');
    expect(assumptions(mixed)).toContain('A patient may be at every site of lab');
    expect(assumptions(single)).not.toContain('modalities add up');
  });

  it('warns on a terminal when the plan does not fit its budget', () => {
    const text = formatPlan(answer, { color: false, out: 'x.svg' });
    expect(text).toContain('the plan does not fit its budget');
    expect(text).toMatch(/noise multiplier {2}1\.1, as given/);
    expect(text).toContain('plot in x.svg');
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120);
  });

  it('escapes names in both plots, and draws both curves and the budget', () => {
    const nasty = { ...answer, plan: { ...mixed, title: '</script><script>alert(1)</script>&', modalities: new Map([['<b>', modality(0.1, 2, 1, true)], ['lab', modality(0.1, 2, 1, true)]]) } };
    const svg = planSvg(nasty);
    const page = planPage(nasty, { script: '/* plot */', style: '' });
    for (const text of [svg, page]) {
      expect(text).not.toContain('<script>alert');
      expect(text).not.toContain('<b>,');
      expect(text).toContain('&lt;/script&gt;');
    }
    expect(page).toContain('&lt;b&gt;');
    expect(svg.match(/<path d="M[\d. ]+(L[\d. ]+)+"/g)).toHaveLength(2);
    expect(svg).toContain('stroke-dasharray');
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(planSvg(answerPlan({ plan: single, epsilon: undefined, noiseMultiplier: 2 }))).not.toContain('budget');
  });
});
