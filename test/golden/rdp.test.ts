import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { calibrateNoiseMultiplier } from '../../shared/privacy/calibrate.ts';
import { rdpEpsilon } from '../../shared/privacy/accountant.ts';
import { epsilonOfRdp, ORDERS_ANTIPHON_1, rdpOfEvent, rdpOfStep } from '../../shared/privacy/rdp.ts';
import { describeWithShared, sharedFile } from '../support/shared-data.ts';

interface Golden {
  rdp_points: { q: number; sigma: number; alpha: number; exact: number }[];
  conversion: { alpha: number; rdp: number; delta: number; eps_improved_unclamped: string }[];
  homogeneous: { id: string; q: number; sigma: number; T: number; delta: number; bracket: { lower: number; upper: number }; rdp_exact: { dp_orders: { eps: number }; continuous?: { eps: number } } }[];
  heterogeneous: { name: string; parts_q_sigma_T: [number, number, number][]; delta: number; bracket: { lower: number }; rdp_exact: { dp_orders: { eps: number } } }[];
  calibration: { target_eps: number; delta: number; q: number; T: number; sigma_rdp_exact_continuous: number }[];
}

describeWithShared('RDP against the golden values', ['golden/dp_golden.json'], () => {
  const golden = JSON.parse(readFileSync(sharedFile('golden/dp_golden.json') ?? '', 'utf8')) as Golden;
  const epsilon = (parts: readonly (readonly [number, number, number])[], delta: number): number =>
    rdpEpsilon({ events: parts.map(([samplingRate, noiseMultiplier, steps]) => ({ type: 'poisson-gaussian', samplingRate, noiseMultiplier, steps })), delta }).epsilon;

  it('one-step RDP agrees to 1e-8 relative wherever it is above 1e-11', () => {
    let worst = 0;
    for (const { q, sigma, alpha, exact } of golden.rdp_points) {
      if (exact < 1e-11) continue;
      worst = Math.max(worst, Math.abs(rdpOfStep(q, sigma, alpha) / exact - 1));
    }
    console.log(`worst relative deviation over ${golden.rdp_points.length} points: ${worst.toExponential(2)}`);
    expect(worst).toBeLessThan(1e-8);
  });

  it('the conversion to epsilon agrees to 1e-12', () => {
    let worst = 0;
    for (const { alpha, rdp, delta, eps_improved_unclamped } of golden.conversion) {
      const expected = Math.max(0, Number(eps_improved_unclamped));
      worst = Math.max(worst, Math.abs(epsilonOfRdp([alpha], [rdp], delta).epsilon - expected) / Math.max(1, expected));
    }
    console.log(`worst deviation: ${worst.toExponential(2)}`);
    expect(worst).toBeLessThan(1e-12);
  });

  it('homogeneous and heterogeneous epsilons are never below the certified lower bound and never above the reference orders by more than 1e-6', () => {
    let worst = 0;
    for (const { q, sigma, T, delta, bracket, rdp_exact } of golden.homogeneous) {
      const found = epsilon([[q, sigma, T]], delta);
      expect(found).toBeGreaterThanOrEqual(bracket.lower);
      worst = Math.max(worst, found / rdp_exact.dp_orders.eps - 1);
    }
    for (const { parts_q_sigma_T, delta, bracket, rdp_exact } of golden.heterogeneous) {
      const found = epsilon(parts_q_sigma_T, delta);
      expect(found).toBeGreaterThanOrEqual(bracket.lower);
      worst = Math.max(worst, found / rdp_exact.dp_orders.eps - 1);
    }
    console.log(`largest excess over rdp_exact at dp_accounting's orders: ${worst.toExponential(2)} (negative: our orders are tighter everywhere)`);
    expect(worst).toBeLessThan(1e-6);
  });

  it('calibration meets its target and stays within 0.2 % of the RDP optimum over continuous orders', () => {
    let worst = 0;
    for (const { target_eps, delta, q, T, sigma_rdp_exact_continuous } of golden.calibration) {
      const z = calibrateNoiseMultiplier({ targetEpsilon: target_eps, epsilonOf: (noise) => epsilon([[q, noise, T]], delta) });
      expect(epsilon([[q, z, T]], delta)).toBeLessThanOrEqual(target_eps);
      worst = Math.max(worst, z / sigma_rdp_exact_continuous - 1);
    }
    console.log(`largest excess of the noise multiplier: ${worst.toExponential(2)}`);
    expect(worst).toBeLessThan(2e-3);
  });

  it('a release without noise is infinite', () => {
    expect(rdpOfEvent({ type: 'unprotected', steps: 3 }, ORDERS_ANTIPHON_1).every((rdp) => rdp === Infinity)).toBe(true);
  });
});
