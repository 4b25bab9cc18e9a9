import type { FusionRule, Metrics } from '../../shared/fusion/evaluation.ts';

const COMPARED: readonly (readonly [FusionRule, string])[] = [
  ['equal', 'equal weights'],
  ['entropy', 'entropy only (MLA)'],
  ['product', 'plain product'],
];

/** Name and figures of every fusion rule, the study's own first. The study's hybrid IS the hybrid of its pool: one row for both, and the other pool beside it. */
export function fusionRows(fused: Readonly<Record<FusionRule, Metrics>>, pool: 'linear' | 'log'): readonly (readonly [string, Metrics])[] {
  const other = pool === 'log' ? 'linear' : 'log';
  return [[`hybrid (${pool} pool, the study's)`, fused.hybrid], [`hybrid (${other} pool)`, fused[`hybrid-${other}`]], ...COMPARED.map(([rule, name]) => [name, fused[rule]] as const)];
}
