import type { FusionRule } from '../../shared/fusion/evaluation.ts';
import type { FusionSpec } from '../../shared/study/schema.ts';

const POOLS: Readonly<Record<FusionSpec['pool'], readonly [FusionRule, string]>> = {
  robust: ['robust', 'robust product'],
  log: ['hybrid-log', 'hybrid weights, log pool'],
  linear: ['hybrid-linear', 'hybrid weights, linear pool'],
};

const COMPARED: readonly (readonly [FusionRule, string])[] = [
  ['equal', 'equal weights'],
  ['entropy', 'entropy only (MLA)'],
  ['product', 'plain product'],
  ['product-uncalibrated', 'plain product, not calibrated'],
];

/** The fusion rules and their names, the study's own first. It IS the rule of its pool: one row for both, and the other pools beside it. */
export function fusionRows(pool: FusionSpec['pool']): readonly (readonly [FusionRule, string])[] {
  const others = Object.entries(POOLS).flatMap(([name, row]) => (name === pool ? [] : [row]));
  return [['hybrid', `${POOLS[pool][1]} (the study's)`], ...others, ...COMPARED];
}
