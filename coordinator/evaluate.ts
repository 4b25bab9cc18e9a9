import type { EvaluationSet } from '../shared/data/evaluation-set.ts';
import { invariant } from '../shared/errors.ts';
import { calibrate, reliabilityOf, UNCALIBRATED, type ModalityCalibration, type ScoredRecords } from '../shared/fusion/calibration.ts';
import { degrade, DEGRADATIONS } from '../shared/fusion/degrade.ts';
import { FUSION_RULES, type Evaluation, type FusedTemperatures, type Robustness, type ScoredModality, type ScoredSamples } from '../shared/fusion/evaluation.ts';
import { evaluateRobustness, evaluateSamples, type DegradedModality } from '../shared/fusion/evaluate.ts';
import { fitFusedTemperatures } from '../shared/fusion/fused-temperature.ts';
import { atypicality, typicalOf, withoutBlanks, type Inputs, type Typical } from '../shared/fusion/typicality.ts';
import { seededUniform } from '../shared/model/initialise.ts';
import type { Network } from '../shared/model/network.ts';
import { predictLogits } from '../shared/model/predict.ts';
import { disposeWeights, loadWeights } from '../shared/model/weights.ts';
import type { FusionSpec } from '../shared/study/schema.ts';
import { flatOf, type ModelState } from './model-state.ts';

export interface EvaluatedModel {
  readonly model: ModelState;
  readonly networks: ReadonlyMap<string, Network>;
}

/** A released model's modalities, calibrated on the public selection part. */
export interface Scorer {
  readonly calibrations: Readonly<Record<string, ModalityCalibration>>;
  readonly temperatures: FusedTemperatures;
  /** Every modality's logits, temperature and reliabilities, of public, aligned samples. */
  readonly score: (set: EvaluationSet) => Promise<ScoredSamples>;
  /** Each modality of them degraded in every way, all samples. */
  readonly scoreDegraded: (set: EvaluationSet) => Promise<readonly DegradedModality[]>;
}

/** Standard deviations of each encoder input (of tokens: as degrade.ts has it), of the noisy copies that teach how far unusual records are to be believed. */
const STRENGTHS = [1, 2, 4];
/** Public randomness: the records are public. */
const NOISE_SEED = 20_250_515;

/** Which samples a modality fails: the same ones in every evaluation. */
export function failingLots(): () => number {
  return seededUniform(NOISE_SEED, 'share');
}

export async function createScorer({ model, networks, selection, fusion }: EvaluatedModel & { readonly selection: EvaluationSet; readonly fusion: FusionSpec }): Promise<Scorer> {
  const inputsOf = (set: EvaluationSet, name: string): Inputs => {
    const modality = set.modalities[name];
    const network = networks.get(name);
    invariant(modality !== undefined && network !== undefined, `modality ${name}`);
    return { ...modality, size: network.inputSize, vocabulary: network.vocabulary };
  };
  const scoreInputs = async (name: string, inputs: Inputs, typical: Typical | undefined): Promise<ScoredRecords> => {
    const network = networks.get(name);
    invariant(network !== undefined, `network of ${name}`);
    const weights = loadWeights(network, flatOf(model, name));
    try {
      const logits = await predictLogits({ network, weights, features: inputs.features });
      return { logits, present: withoutBlanks(inputs), atypicality: typical === undefined ? undefined : atypicality(typical, inputs) };
    } finally {
      disposeWeights(weights);
    }
  };

  const names = [...networks.keys()];
  const learnt = new Map<string, { readonly typical: Typical | undefined; readonly calibration: ModalityCalibration }>();
  for (const name of names) {
    const inputs = inputsOf(selection, name);
    if (fusion.calibration === 'none') continue;
    const typical = typicalOf(inputs);
    const degraded: ScoredRecords[] = [];
    for (const strength of typical === undefined ? [] : STRENGTHS) {
      degraded.push(await scoreInputs(name, degrade('noise', inputs, { typical, uniform: seededUniform(NOISE_SEED, `${name}/${strength}`), strength }), typical));
    }
    learnt.set(name, { typical, calibration: calibrate({ labels: selection.labels, clean: await scoreInputs(name, inputs, typical), degraded }) });
  }

  const scoreOne = async (name: string, inputs: Inputs): Promise<ScoredModality> => {
    const { typical, calibration = UNCALIBRATED } = learnt.get(name) ?? { typical: undefined };
    const records = await scoreInputs(name, inputs, typical);
    return { logits: records.logits, present: inputs.present, temperature: calibration.temperature, reliability: reliabilityOf(calibration, records) };
  };
  const classes = [...networks.values()][0]?.spec.classes ?? 0;
  const scoreSet = async (set: EvaluationSet): Promise<ScoredSamples> => {
    const modalities: Record<string, ScoredModality> = {};
    for (const name of names) modalities[name] = await scoreOne(name, inputsOf(set, name));
    return { classes, labels: set.labels, modalities };
  };
  const temperatures = fusion.calibration === 'none' ? {} : fitFusedTemperatures(await scoreSet(selection), fusion);
  return {
    calibrations: Object.fromEntries([...learnt].map(([name, { calibration }]) => [name, calibration])),
    temperatures,
    score: async (set) => ({ ...(await scoreSet(set)), temperatures }),
    scoreDegraded: async (set) => {
      const all: DegradedModality[] = [];
      for (const name of names) {
        const inputs = inputsOf(set, name);
        const typical = typicalOf(inputsOf(selection, name));
        for (const degradation of DEGRADATIONS) {
          all.push({ modality: name, degradation, ...(await scoreOne(name, degrade(degradation, inputs, { typical, uniform: seededUniform(NOISE_SEED, `${name}/${degradation}`) }))) });
        }
      }
      return all;
    },
  };
}

export interface ModelEvaluation {
  readonly evaluation: Evaluation;
  readonly calibrations: Scorer['calibrations'];
  readonly temperatures: Scorer['temperatures'];
  /** Where it was asked for. */
  readonly robustness?: readonly Robustness[];
}

/** Every modality alone and every fusion rule on public, aligned samples; with `degraded`, also where one modality fails some of them. */
export async function evaluateModel(input: EvaluatedModel & { readonly selection: EvaluationSet; readonly set: EvaluationSet; readonly fusion: FusionSpec; readonly degraded: boolean }): Promise<ModelEvaluation> {
  const { set, fusion, degraded } = input;
  const scorer = await createScorer(input);
  const samples = await scorer.score(set);
  return {
    evaluation: evaluateSamples(samples, fusion),
    calibrations: scorer.calibrations,
    temperatures: scorer.temperatures,
    ...(degraded ? { robustness: evaluateRobustness(samples, { degraded: await scorer.scoreDegraded(set), rules: FUSION_RULES, spec: fusion, uniform: failingLots() }) } : {}),
  };
}
