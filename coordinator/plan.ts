import { toHex } from '../shared/bytes.ts';
import { toDecimal } from '../shared/ledger/decimal.ts';
import type { DisclosureEntry, PlanEntry } from '../shared/ledger/entry.ts';
import { toLedgerMechanism } from '../shared/ledger/mechanism.ts';
import type { ResolvedStudy } from '../shared/study/resolve.ts';
import { scheduleOrder } from '../shared/study/schedule.ts';
import type { Study } from '../shared/study/schema.ts';

/** The first ledger entry: everything that is fixed before any data are touched, so that no later number can depend on them. */
export function planEntry(input: { readonly study: Study; readonly resolved: ResolvedStudy; readonly studyHash: string; readonly coordinatorKey: Uint8Array }): PlanEntry {
  const { study, resolved, studyHash, coordinatorKey } = input;
  return {
    type: 'plan',
    study: studyHash,
    studyName: study.name,
    coordinatorKey: toHex(coordinatorKey),
    privacyUnit: 'patient',
    neighbouringRelation: 'add-or-remove-one',
    trustModel: 'local',
    budget: { delta: toDecimal(resolved.budget.delta), epsilon: toDecimal(resolved.budget.epsilon) },
    accountant: { binding: resolved.accountant.binding, pld: 'antiphon-pld-1', rdpOrder: toDecimal(resolved.accountant.rdpOrder) },
    modalities: Object.fromEntries(
      [...resolved.modalities].map(([name, { mechanism, rounds, sitesDisjoint }]) => [name, { mechanism: toLedgerMechanism(mechanism), rounds, sitesDisjoint }]),
    ),
    sites: study.sites.map(({ name, modality, patients }) => ({ name, modality, patients })),
    order: [...scheduleOrder(study)],
    rounds: study.schedule.rounds,
    ...(study.schedule.adaptive === undefined ? {} : { schedule: 'adaptive' }),
  };
}

/** What the study releases without noise by its own design; listed before the first round. */
export function plannedDisclosures(study: Study): readonly DisclosureEntry[] {
  const disclosures: DisclosureEntry[] = [
    { type: 'disclosure', what: 'the cap on the number of patients of every site, as the study file states it', why: 'it divides and weights the updates; a cap equal to the true number tells that number' },
  ];
  if (study.evaluation !== undefined) {
    disclosures.push({ type: 'disclosure', what: 'metrics of every evaluated model on the held-out evaluation records', why: 'the study declares these records public; they get no protection' });
  }
  for (const [name, { records: { frozen } }] of Object.entries(study.modalities)) {
    if (frozen !== undefined) disclosures.push({ type: 'disclosure', what: `whatever the frozen network before ${name} (SHA-256 ${frozen.sha256}) has learnt elsewhere`, why: 'the study states that it was not trained on patients of its sites; nobody can check that, and no epsilon counts it' });
  }
  if (study.privacy.protection === 'none') {
    disclosures.push({ type: 'disclosure', what: 'every update of every site, neither clipped nor noised', why: 'the study runs with privacy protection `none`' });
  }
  return disclosures;
}
