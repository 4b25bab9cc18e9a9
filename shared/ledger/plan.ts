import { fromDecimal } from './decimal.ts';
import type { PlanEntry } from './entry.ts';
import { ledgerProblem, type LedgerProblem } from './problem.ts';

/** What no schema can say of a PLAN. Everything after it is judged by it, so that one without meaning is refused before anything is looked up in it. */
export function planProblem(plan: PlanEntry): LedgerProblem | undefined {
  const { budget, modalities, order, sites } = plan;
  const bad = (what: string): LedgerProblem => ledgerProblem('bad-plan', `the plan ${what}`);
  // Own keys only: every object has a "constructor".
  const isModality = (name: string): boolean => Object.hasOwn(modalities, name);
  if (order.length === 0) return bad('gives its rounds to no modality: "order" is empty');
  const unknown = order.find((name) => !isModality(name));
  if (unknown !== undefined) return bad(`gives rounds to "${unknown}", which is none of its modalities`);
  const names = new Set<string>();
  for (const { name, modality } of sites) {
    if (names.has(name)) return bad(`has two sites called "${name}"`);
    if (!isModality(modality)) return bad(`puts the site "${name}" into "${modality}", which is none of its modalities`);
    names.add(name);
  }
  const delta = fromDecimal(budget.delta);
  const epsilon = fromDecimal(budget.epsilon);
  const isProtected = Object.values(modalities).some(({ mechanism }) => mechanism.protection !== 'none');
  if (!isProtected) return delta === 0 && epsilon === Infinity ? undefined : bad(`protects nothing, where epsilon is infinite at delta 0; found ${budget.epsilon} at ${budget.delta}`);
  if (!(delta > 0 && delta < 1)) return bad(`needs a delta between 0 and 1, found ${budget.delta}`);
  if (!(epsilon >= 0 && epsilon < Infinity)) return bad(`needs a finite budget, found ${budget.epsilon}`);
  if (plan.schedule === 'adaptive' && plan.accountant.binding === 'pld' && !hasOneMechanism(plan)) {
    return bad('gives out its rounds as it goes and holds PLD against its budget, which holds only where all modalities have one sampling rate and one noise multiplier');
  }
  return undefined;
}

/** One dominating pair for every step, whichever modality has it. */
export function hasOneMechanism({ modalities, order }: Pick<PlanEntry, 'modalities' | 'order'>): boolean {
  const of = new Set(order.map((name) => {
    const mechanism = modalities[name]?.mechanism;
    return mechanism?.protection === 'local-noise' ? `${mechanism.samplingRate} ${mechanism.noiseMultiplier}` : 'none';
  }));
  return of.size === 1;
}
