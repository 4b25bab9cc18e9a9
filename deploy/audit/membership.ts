import { flatOf, type ModelState } from '../../coordinator/model-state.ts';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import { AntiphonError, invariant } from '../../shared/errors.ts';
import { logSoftmax } from '../../shared/fusion/hybrid.ts';
import { fuse } from '../../shared/fusion/rules.ts';
import { fromDecimal } from '../../shared/ledger/decimal.ts';
import { bindingEpsilon } from '../../shared/ledger/spending.ts';
import type { Network } from '../../shared/model/network.ts';
import { predictLogits } from '../../shared/model/predict.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { areaUnderRoc, chanceDeviation, confidenceOf, liraScore, lossScore, operatingPoint, rmiaScore, type AttackScores, type Confidence, type OperatingPoint } from '../../shared/privacy/membership.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import type { Study } from '../../shared/study/schema.ts';
import { gatherCrowd, type Crowd, type Records } from './crowd.ts';
import { openFinishedRun } from './finished-run.ts';
import { runInProcess, type StudyParts, type TrainedRound } from './in-process.ts';
import { drawSides, referenceStudy, type Sides } from './references.ts';

export const ATTACKS = ['loss', 'rmia', 'lira'] as const;
export type Attack = (typeof ATTACKS)[number];

export interface MembershipRow {
  /** A modality, or `fused`: the study's fusion rule over all of them. */
  readonly on: string;
  readonly attack: Attack;
  readonly members: number;
  readonly nonMembers: number;
  readonly auc: number;
  /** One standard deviation of the area by chance alone. */
  readonly chance: number;
  /** At 0.1 % and 1 % false positives. */
  readonly points: readonly OperatingPoint[];
}

export interface MembershipReport {
  readonly study: string;
  readonly round: number;
  /** As the ledger counts it; Infinity without privacy. */
  readonly epsilon: number;
  readonly delta: number;
  readonly references: number;
  readonly rows: readonly MembershipRow[];
}

const RATES = [0.001, 0.01];

/** Attacks the last committed model of a finished run; `data` holds the records of all sites. */
export async function attackRun(input: { readonly folder: string; readonly data: string; readonly references: number; readonly signal?: AbortSignal }): Promise<MembershipReport> {
  const { folder, data, references, signal } = input;
  const { study, networks, rounds, ledger: state, round, model } = await openFinishedRun(folder);
  const rows = await attackModel({ study, resolved: resolveStudy(study), networks }, { model, records: await readRecords(study, data), references, rounds, ...(signal === undefined ? {} : { signal }) });
  return { study: study.name, round, epsilon: state.plan?.schedule === 'adaptive' ? bindingEpsilon(state.plan, state.spent) : fromDecimal(state.spent.pld), delta: fromDecimal(state.spent.delta), references, rows };
}

async function readRecords(study: Study, data: string): Promise<Records> {
  const { evaluation } = study;
  if (evaluation === undefined) throw new AntiphonError('study-invalid', 'the study has no "evaluation", so nobody is known not to be a member; membership can be attacked only with a test part');
  const common = { study, files: openDataFolder(data), primitives, sampleColumn: evaluation.sample };
  const [training, test] = [new Map<string, Dataset>(), new Map<string, Dataset>()];
  for (const site of study.sites) training.set(site.name, await buildDataset({ ...common, modality: site.modality, selection: site }));
  for (const modality of Object.keys(study.modalities)) test.set(modality, await buildDataset({ ...common, modality, selection: evaluation.test }));
  return { training, test };
}

/**
 * Members are the sites' training patients, non-members those of the test part. Reference models come in pairs: everybody's patients are split by fair coins and each
 * half is trained like the study (same schedule, or the `rounds` that a run has committed, mechanism and sites), so for every subject half of the references are models without it.
 */
export async function attackModel(
  parts: StudyParts,
  input: { readonly model: ModelState; readonly records: Records; readonly references: number; readonly rounds?: readonly TrainedRound[]; readonly signal?: AbortSignal },
): Promise<readonly MembershipRow[]> {
  const { model, records, references, rounds, signal } = input;
  invariant(references >= 2 && references % 2 === 0, 'pairs of reference models');
  const crowd = gatherCrowd(parts.study, records);
  const target = await confidencesOf(parts, { model, crowd });
  const models: { readonly sides: Sides; readonly side: number; readonly confidences: Confidences }[] = [];
  for (let pair = 0; pair < references / 2; pair += 1) {
    const sides = drawSides(records, createKeyStream());
    for (const side of [0, 1]) {
      const reference = referenceStudy(parts.study, { records, sides, side });
      const trained = await runInProcess({ ...parts, study: reference.study }, { datasets: reference.datasets, ...(rounds === undefined ? {} : { rounds }), ...(signal === undefined ? {} : { signal }) });
      models.push({ sides, side, confidences: await confidencesOf(parts, { model: trained.average?.model ?? trained.model, crowd }) });
    }
  }
  return [...target.keys()].flatMap((on) => {
    const scored = crowd.patients.flatMap((patient, subject) => {
      const own = target.get(on)?.[subject];
      if (own === undefined) return [];
      const out = models.filter(({ sides, side }) => sides.get(patient) !== side).flatMap(({ confidences }) => confidences.get(on)?.[subject] ?? []);
      return [{ member: crowd.member[subject] === 1, loss: lossScore(own), rmia: rmiaScore(own, out), lira: liraScore(own, out) }];
    });
    return ATTACKS.map((attack) => rowOf(on, attack, {
      members: Float64Array.from(scored.filter(({ member }) => member), (one) => one[attack]),
      nonMembers: Float64Array.from(scored.filter(({ member }) => !member), (one) => one[attack]),
    }));
  });
}

function rowOf(on: string, attack: Attack, scores: AttackScores): MembershipRow {
  return { on, attack, members: scores.members.length, nonMembers: scores.nonMembers.length, auc: areaUnderRoc(scores), chance: chanceDeviation(scores), points: RATES.map((rate) => operatingPoint(scores, rate)) };
}

/** By modality and `fused`: a model's confidence in every subject; undefined where the subject lacks the modality. */
type Confidences = ReadonlyMap<string, readonly (Confidence | undefined)[]>;

async function confidencesOf({ study, networks }: StudyParts, { model, crowd }: { readonly model: ModelState; readonly crowd: Crowd }): Promise<Confidences> {
  const classes = study.classes.length;
  const { labels } = crowd;
  const scored: Record<string, { logits: Float32Array; present: Uint8Array }> = {};
  const confidences = new Map<string, readonly (Confidence | undefined)[]>();
  for (const [name, { features, present }] of Object.entries(crowd.modalities)) {
    const network = networks.get(name);
    invariant(network !== undefined, `network of ${name}`);
    const logits = await logitsOf(network, { weights: flatOf(model, name), features });
    scored[name] = { logits, present };
    confidences.set(name, Array.from(labels, (label, i) => (present[i] === 1 ? confidenceOf(logSoftmax(logits.subarray(i * classes, (i + 1) * classes)).map(Math.exp), label) : undefined)));
  }
  const { probabilities } = fuse('hybrid', { classes, labels, modalities: scored }, study.fusion);
  return confidences.set('fused', Array.from(labels, (label, i) => confidenceOf(probabilities.subarray(i * classes, (i + 1) * classes), label)));
}

async function logitsOf(network: Network, { weights, features }: { readonly weights: Float32Array; readonly features: Float32Array }): Promise<Float32Array> {
  const loaded = loadWeights(network, weights);
  try {
    return await predictLogits({ network, weights: loaded, features });
  } finally {
    disposeWeights(loaded);
  }
}
