import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { calibrateNoiseMultiplier } from '../../shared/privacy/calibrate.ts';
import type { PrivacyEvent } from '../../shared/privacy/event.ts';
import { epsilonOfDelta, gaussianDelta, oneStepDelta } from '../../shared/privacy/pld-exact.ts';
import { pldDelta, pldEpsilon } from '../../shared/privacy/pld.ts';
import { pldWhere } from '../support/cliques.ts';
import { describeWithShared, sharedFile } from '../support/shared-data.ts';

type Triple = readonly [samplingRate: number, noiseMultiplier: number, steps: number];
interface Bracket {
  readonly lower: number;
  readonly upper: number;
}
interface StopRule {
  readonly pld: { readonly first_refused_round_0based: number; readonly eps_if_run: number; readonly eps_after_round: readonly number[] };
}

interface Golden {
  gaussian_eps: { sigma: number; delta: number; eps_exact: string }[];
  gaussian_sigma: { eps: number; delta: number; sigma_exact: string }[];
  gaussian_delta: { sigma: number; eps: number; delta_exact: string }[];
  one_step_delta: { q: number; sigma: number; eps: number; delta_remove: string; delta_add: string }[];
  homogeneous: { id: string; q: number; sigma: number; T: number; delta: number; bracket: Bracket; eps_exact?: string; pld_pess_tilted: { eps: number } }[];
  heterogeneous: { name: string; parts_q_sigma_T: Triple[]; delta: number; bracket: Bracket }[];
  delta_for_eps: { q: number; sigma: number; T: number; eps: number; delta_pld_pess: number }[];
  calibration: { target_eps: number; delta: number; q: number; T: number; sigma_pld_pess: number; pld_disc: number; sigma_exact?: string }[];
  group_privacy: { records_per_patient: number; q: number; sigma: number; T: number; delta: number; eps_patient_level_clip_and_sample: number }[];
  truncated_poisson: { q: number; sigma: number; T: number; delta: number; eps_untruncated: number }[];
  distributed_noise: {
    z_target: number;
    q: number;
    T: number;
    delta: number;
    sigma_per_client_distributed: number;
    eps_guaranteed: number;
    'eps_if_secagg_fails (single masked update seen)': number;
  }[];
  ledger_scenario: {
    sites_modality_q_sigma: Record<string, [string, number, number]>;
    round_robin: string[];
    steps_per_round_per_site: number;
    delta: number;
    final_steps: Record<string, number>;
    eps_per_clique_pld: Record<string, number>;
    eps_all_sequential_pld: number;
    eps_each_site_pld: Record<string, number>;
    stop_rule: Record<string, StopRule>;
  };
}

const eventsOf = (parts: readonly Triple[]): PrivacyEvent[] => parts.map(([samplingRate, noiseMultiplier, steps]) => ({ type: 'poisson-gaussian', samplingRate, noiseMultiplier, steps }));
const epsilonOf = (parts: readonly Triple[], delta: number): number => pldEpsilon({ events: eventsOf(parts), delta });

/** The largest of some numbers, printed: what a test allows says little about how close it came. */
function printWorst(what: string, values: readonly number[]): number {
  const worst = values.reduce((a, b) => Math.max(a, b), -Infinity);
  console.log(`${what}, worst of ${values.length}: ${worst.toExponential(2)}`);
  return worst;
}

function expectInBracket(cases: readonly { readonly name: string; readonly parts: readonly Triple[]; readonly delta: number; readonly bracket: Bracket }[]): void {
  const excess = cases.map(({ name, parts, delta, bracket }) => {
    const epsilon = epsilonOf(parts, delta);
    expect(epsilon, name).toBeGreaterThanOrEqual(bracket.lower);
    expect(epsilon, name).toBeLessThanOrEqual(bracket.upper * 1.001 + 1e-4);
    return epsilon / bracket.upper - 1;
  });
  expect(printWorst('epsilon above the certified upper bound (negative: tighter everywhere)', excess)).toBeLessThan(1e-4);
}

describe('PLD against published numbers', () => {
  it('two modalities: epsilon between 3.0837 and 3.0881, the same to 1e-9 in the other order', () => {
    const epsilon = epsilonOf([[0.02, 1.2, 500], [0.1, 2, 100]], 1e-5);
    expect(epsilon).toBeGreaterThanOrEqual(3.0837);
    expect(epsilon).toBeLessThanOrEqual(3.0881);
    expect(epsilonOf([[0.1, 2, 100], [0.02, 1.2, 500]], 1e-5)).toBeCloseTo(epsilon, 9);
  });

  it('400 and 600 steps are 1000 steps', () => {
    expect(epsilonOf([[0.01, 1, 400], [0.01, 1, 600]], 1e-5)).toBeCloseTo(epsilonOf([[0.01, 1, 1000]], 1e-5), 9);
    expect(epsilonOf([[1, 5, 4], [1, 5, 6]], 1e-5)).toBeCloseTo(epsilonOf([[1, 5, 10]], 1e-5), 9);
  });

  it.each([
    [0.01, 1, 1000, 1e-5, 1.8271, 1.8283],
    [0.064, 1.5, 300, 1e-4, 3.2428, 3.2442],
    [0.02, 1.2, 500, 1e-5, 1.9562, 1.9576],
    // A fixed grid of 1e-4 gives 0.247 (privacy.md, section 5).
    [1e-4, 1, 100_000, 1e-10, 0.234, 0.2358],
  ] as const)('q = %d, sigma = %d, T = %d, delta = %d', (samplingRate, noiseMultiplier, steps, delta, lower, upper) => {
    const epsilon = epsilonOf([[samplingRate, noiseMultiplier, steps]], delta);
    expect(epsilon).toBeGreaterThanOrEqual(lower);
    expect(epsilon).toBeLessThanOrEqual(upper);
  });

  it.each([
    [1, 1e-5, 0.01, 1000, 1.4146],
    [4, 1e-4, 0.064, 300, 1.313],
  ] as const)('epsilon %d at delta %d, q = %d, T = %d needs a noise multiplier near the published one', (targetEpsilon, delta, samplingRate, steps, expected) => {
    const noiseMultiplier = calibrateNoiseMultiplier({ targetEpsilon, epsilonOf: (z) => epsilonOf([[samplingRate, z, steps]], delta) });
    expect(epsilonOf([[samplingRate, noiseMultiplier, steps]], delta)).toBeLessThanOrEqual(targetEpsilon);
    expect(Math.abs(noiseMultiplier - expected)).toBeLessThan(1e-3);
  });
});

describeWithShared('PLD against the golden values', ['golden/dp_golden.json'], () => {
  const golden = JSON.parse(readFileSync(sharedFile('golden/dp_golden.json') ?? '', 'utf8')) as Golden;

  it('one step: delta of both directions to 1e-12 relative wherever it is above 1e-30', () => {
    const deviations = golden.one_step_delta.flatMap(({ q, sigma, eps, delta_remove, delta_add }) =>
      ([['remove', delta_remove], ['add', delta_add]] as const).flatMap(([direction, text]) => {
        const found = oneStepDelta({ samplingRate: q, noiseMultiplier: sigma, direction }, eps);
        if (Number(text) === 0) expect(found).toBe(0);
        return Number(text) < 1e-30 ? [] : [Math.abs(found / Number(text) - 1)];
      }),
    );
    expect(printWorst('relative deviation', deviations)).toBeLessThan(1e-12);
  });

  it('Gaussian: delta to 1e-12, epsilon and noise multiplier to 1e-9 relative', () => {
    const deltas = golden.gaussian_delta
      .filter(({ delta_exact }) => Number(delta_exact) >= 1e-30)
      .map(({ sigma, eps, delta_exact }) => Math.abs(gaussianDelta(1 / sigma, eps) / Number(delta_exact) - 1));
    expect(printWorst('delta, relative deviation', deltas)).toBeLessThan(1e-12);
    const epsilons = golden.gaussian_eps.map(({ sigma, delta, eps_exact }) => Math.abs(epsilonOf([[1, sigma, 1]], delta) / Number(eps_exact) - 1));
    expect(printWorst('epsilon, relative deviation', epsilons)).toBeLessThan(1e-9);
    const sigmas = golden.gaussian_sigma.map(({ eps, delta, sigma_exact }) => Math.abs(epsilonOfDelta((epsilon) => gaussianDelta(1 / Number(sigma_exact), epsilon), delta) / eps - 1));
    expect(printWorst('epsilon at the exact noise, relative deviation', sigmas)).toBeLessThan(1e-9);
  });

  it('homogeneous epsilons lie in their certified brackets', () => {
    expectInBracket(golden.homogeneous.map(({ id, q, sigma, T, delta, bracket }) => ({ name: id, parts: [[q, sigma, T]], delta, bracket })));
  });

  it('are exact to 1e-9 where a closed form exists, and nowhere more than 1e-5 above the sharpest published bound', () => {
    const exact = golden.homogeneous.filter(({ eps_exact }) => eps_exact !== undefined);
    const deviations = exact.map(({ q, sigma, T, delta, eps_exact }) => Math.abs(epsilonOf([[q, sigma, T]], delta) / Number(eps_exact) - 1));
    expect(printWorst('relative deviation', deviations)).toBeLessThan(1e-9);
    const above = golden.homogeneous.map(({ q, sigma, T, delta, pld_pess_tilted }) => epsilonOf([[q, sigma, T]], delta) / pld_pess_tilted.eps - 1);
    expect(printWorst('above the tilted pessimistic reference', above)).toBeLessThan(1e-5);
  });

  it('heterogeneous epsilons lie in their certified brackets', () => {
    expectInBracket(golden.heterogeneous.map(({ name, parts_q_sigma_T, delta, bracket }) => ({ name, parts: parts_q_sigma_T, delta, bracket })));
  });

  it('delta for an epsilon is at most 0.1 % above the published upper bound and, where the published digits are good, at most 10 % below', () => {
    const excess = golden.delta_for_eps.map(({ q, sigma, T, eps, delta_pld_pess }) => {
      const delta = pldDelta({ events: eventsOf([[q, sigma, T]]), epsilon: eps });
      if (delta_pld_pess > 1e-11) expect(delta / delta_pld_pess).toBeGreaterThan(0.9);
      // Below 1e-13 a plain transform has no digits left.
      return delta_pld_pess > 1e-13 ? delta / delta_pld_pess - 1 : -1;
    });
    expect(printWorst('delta above the published bound, relative', excess)).toBeLessThan(1e-3);
  });

  it('calibration meets every target; the noise multiplier is within 0.03 % of the reference on its fine grid, and below it on its coarse one', () => {
    const excess = golden.calibration.map(({ target_eps, delta, q, T, sigma_pld_pess, pld_disc, sigma_exact }) => {
      const z = calibrateNoiseMultiplier({ targetEpsilon: target_eps, epsilonOf: (noise) => epsilonOf([[q, noise, T]], delta) });
      expect(epsilonOf([[q, z, T]], delta)).toBeLessThanOrEqual(target_eps);
      if (pld_disc < 1e-3) expect(Math.abs(z / sigma_pld_pess - 1)).toBeLessThan(3e-4);
      if (sigma_exact !== undefined) expect(z).toBeGreaterThanOrEqual(Number(sigma_exact));
      return z / sigma_pld_pess - 1;
    });
    expect(printWorst('above the reference noise multiplier, relative', excess)).toBeLessThan(3e-4);
  });

  it('agrees with the reference on plain compositions of the other sections to its own grid error', () => {
    const found = [
      ...golden.group_privacy.map(({ q, sigma, T, delta, eps_patient_level_clip_and_sample: published }) => epsilonOf([[q, sigma, T]], delta) / published),
      ...golden.truncated_poisson.map(({ q, sigma, T, delta, eps_untruncated: published }) => epsilonOf([[q, sigma, T]], delta) / published),
      ...golden.distributed_noise.map(({ z_target, q, T, delta, eps_guaranteed: published }) => epsilonOf([[q, z_target, T]], delta) / published),
      ...golden.distributed_noise.map((row) => epsilonOf([[row.q, row.sigma_per_client_distributed, row.T]], row.delta) / row['eps_if_secagg_fails (single masked update seen)']),
    ];
    expect(printWorst('relative deviation', found.map((ratio) => Math.abs(ratio - 1)))).toBeLessThan(1e-3);
    expect(printWorst('above the reference', found.map((ratio) => ratio - 1))).toBeLessThan(1e-5);
  });

  it('the stop rule refuses the same round as the reference for budgets 1, 3 and 6', () => {
    const { ledger_scenario: scenario } = golden;
    const sites = Object.entries(scenario.sites_modality_q_sigma);
    const disjointModalities = new Set(['imaging']);
    const after = (steps: ReadonlyMap<string, number>): number =>
      pldWhere(sites.map(([site, [modality, q, sigma]]) => ({ site, modality, events: eventsOf([[q, sigma, steps.get(site) ?? 0]]) })), disjointModalities, scenario.delta);
    const deviations: number[] = [];
    for (const [name, { pld }] of Object.entries(scenario.stop_rule)) {
      const budget = Number(name.replace('budget_', ''));
      let steps: ReadonlyMap<string, number> = new Map();
      let round = 0;
      for (; ; round += 1) {
        const modality = scenario.round_robin[round % scenario.round_robin.length];
        const next = new Map(sites.map(([site, [own]]) => [site, (steps.get(site) ?? 0) + (own === modality ? scenario.steps_per_round_per_site : 0)]));
        const epsilon = after(next);
        deviations.push(Math.abs(epsilon / (epsilon > budget ? pld.eps_if_run : (pld.eps_after_round[round] ?? NaN)) - 1));
        if (epsilon > budget) break;
        steps = next;
      }
      expect(round, name).toBe(pld.first_refused_round_0based);
    }
    expect(printWorst('epsilon after a round, relative deviation', deviations)).toBeLessThan(1e-3);

    const final = new Map(Object.entries(scenario.final_steps));
    expect(after(final)).toBeCloseTo(Math.max(...Object.values(scenario.eps_per_clique_pld)), 3);
    for (const [site, published] of Object.entries(scenario.eps_each_site_pld)) {
      const [, q, sigma] = scenario.sites_modality_q_sigma[site]!;
      expect(epsilonOf([[q, sigma, final.get(site) ?? 0]], scenario.delta)).toBeCloseTo(published, 3);
    }
    expect(epsilonOf(sites.map(([site, [, q, sigma]]) => [q, sigma, final.get(site) ?? 0] as const), scenario.delta)).toBeCloseTo(scenario.eps_all_sequential_pld, 3);
  });
});
