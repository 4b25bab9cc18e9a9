import type { FusionRule } from '../../shared/fusion/evaluation.ts';
import type { FusionSpec } from '../../shared/study/schema.ts';

const POOLS: Readonly<Record<FusionSpec['pool'], readonly [FusionRule, string]>> = {
  robust: ['robust', 'robust product'],
  log: ['hybrid-log', 'log pool, uncertainty weights'],
  linear: ['hybrid-linear', 'linear pool, uncertainty weights'],
};

const COMPARED: readonly (readonly [FusionRule, string])[] = [
  ['equal', 'equal weights'],
  ['entropy', 'entropy only (MLA)'],
  ['product', 'plain product'],
  ['product-uncalibrated', 'plain product, not calibrated'],
];

/** What the study's own rule does. Its key in records and files is `hybrid`, whatever its pool: persons are told the pool. */
export function poolName(pool: FusionSpec['pool']): string {
  return POOLS[pool][1];
}

/** The fusion rules and their names, the study's own first. It IS the rule of its pool: one row for both, and the other pools beside it. */
export function fusionRows(pool: FusionSpec['pool']): readonly (readonly [FusionRule, string])[] {
  const others = Object.entries(POOLS).flatMap(([name, row]) => (name === pool ? [] : [row]));
  return [['hybrid', `the study's rule (${poolName(pool)})`], ...others, ...COMPARED];
}
