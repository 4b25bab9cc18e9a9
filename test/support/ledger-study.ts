import { planEntry } from '../../coordinator/plan.ts';
import type { PlanEntry } from '../../shared/ledger/entry.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import type { Study } from '../../shared/study/schema.ts';
import { LedgerBuilder, STUDY } from './ledger-builder.ts';

const TEXT = `
antiphon: 1
name: test
classes: ["no", "yes"]
modalities:
  image: { shape: [3], sitesDisjoint: true, encoder: { type: mlp, hidden: [4] }, records: { index: a.csv, values: a.npy, patient: p, label: l } }
  table: { shape: [2], encoder: { type: mlp, hidden: [] }, records: { index: a.csv, values: b.npy, patient: p, label: l } }
head: { features: 5 }
sites: [{ name: a, modality: image, patients: 90 }, { name: b, modality: image, patients: 80 }, { name: c, modality: table, patients: 70 }]
schedule: { rounds: 10, localSteps: 3 }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: local-noise, clipNorm: 0.9, samplingRate: 0.2, delta: 0.00001, epsilon: 3, noiseMultiplier: 1.7 }
`;

/** The study that the ledgers of `LedgerBuilder` are about; `from` in its text replaced by `to`; `table`: more of that modality. */
export function ledgerStudy(from = 'antiphon: 1', to = from, table = ''): Study {
  if (!TEXT.includes(from)) throw new Error(`no "${from}" in the study`);
  return parseStudy(TEXT.replace(from, to).replace('table: { shape: [2]', `table: { shape: [2]${table}`), 'ledger.yaml');
}

/** Its plan, as the coordinator writes it, under the hash that `LedgerBuilder` uses. */
export function planOf(study: Study, coordinatorKey: Uint8Array): PlanEntry {
  return planEntry({ study, resolved: resolveStudy(study), studyHash: STUDY, coordinatorKey });
}

/** A ledger with that plan and its three sites, up to the first round. */
export function begunLedger(change: (plan: PlanEntry) => PlanEntry = (plan) => plan): LedgerBuilder {
  const builder = new LedgerBuilder();
  builder.add(change(planOf(ledgerStudy(), builder.coordinator.publicKey)));
  return builder.add(builder.enrolment('a', 'image'), builder.enrolment('b', 'image'), builder.enrolment('c', 'table'));
}
