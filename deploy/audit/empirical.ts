import { checkPatientCap } from '../../client/train.ts';
import type { Primitives } from '../../shared/crypto/primitives.ts';
import { buildDataset, type Dataset } from '../../shared/data/dataset.ts';
import { gatherRecords } from '../../shared/data/features.ts';
import type { DataFiles } from '../../shared/data/files.ts';
import { AntiphonError, invariant } from '../../shared/errors.ts';
import { clippedGradientSum } from '../../shared/model/gradients.ts';
import type { Network } from '../../shared/model/network.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { createCanaryScorer, releaseWeights, type CanaryObservation, type CanaryScorer } from '../../shared/privacy/canary-scores.ts';
import { countCorrect, epsilonLowerBound, planGuesses, type GuessPlan } from '../../shared/privacy/one-run-audit.ts';
import { freshBytes } from '../../shared/privacy/random.ts';
import { scheduleOrder } from '../../shared/study/schedule.ts';
import type { SiteSpec, Study } from '../../shared/study/schema.ts';
import { makeCanaries, subset } from './canaries.ts';
import { epsilonOfSteps, runInProcess, type ReleasedRound, type StudyParts } from './in-process.ts';

export interface EmpiricalInput extends StudyParts {
  readonly files: DataFiles;
  readonly primitives: Primitives;
  /** Per audited site. */
  readonly canaries: number;
  readonly confidence: number;
  /** Only this one; undefined: every modality of the schedule, all in one run. */
  readonly modality: string | undefined;
  readonly signal?: AbortSignal;
  readonly progress?: (round: number) => void;
}

/** What one site of a modality has released, as it is claimed and as it is measured. */
export interface AuditedModality {
  readonly modality: string;
  readonly site: string;
  /** Epsilon (PLD, the tighter) of everything the site released, recomputed by the accountant; Infinity without privacy. */
  readonly claim: number;
  readonly delta: number;
  readonly confidence: number;
  readonly canaries: number;
  readonly guesses: GuessPlan;
  readonly correct: number;
  /** With this confidence the true epsilon is at least this. */
  readonly lowerBound: number;
  /** The bound had every guess been right: no claim above it can be refuted with so many canaries. */
  readonly highestBound: number;
  readonly refuted: boolean;
}

/** One audited site in the run: who its canaries are, which of them take part, and what its releases tell. */
interface Target {
  readonly site: SiteSpec;
  readonly network: Network;
  readonly canaries: Dataset;
  /** Secret from the scorer: only the count of right guesses looks at it. */
  readonly included: Uint8Array;
  readonly scorer: CanaryScorer;
}

/**
 * One training run of the study in which canaries stand in for the patients of the first site of every audited modality (its cap, which no epsilon depends on,
 * raised where there are more), then the audit of shared/privacy/one-run-audit.ts per modality. The site's real patients would only hide the canaries,
 * and differential privacy is claimed whatever the others are. What the other sites do is part of the mechanism, or post-processing of it.
 */
export async function auditEmpirically(input: EmpiricalInput): Promise<readonly AuditedModality[]> {
  const { networks, canaries, modality: only } = input;
  const sites = auditedSites(input.study, only);
  const study = withRoomFor(input.study, { sites, canaries });
  const parts: StudyParts = { study, resolved: input.resolved, networks };
  const datasets = new Map<string, Dataset>();
  for (const site of study.sites) datasets.set(site.name, await buildDataset({ ...input, study, modality: site.modality, selection: site }));
  const targets = new Map<string, Target>();
  for (const site of sites) {
    const target = await placeCanaries(input, site, datasets.get(site.name)!);
    targets.set(site.name, target);
    datasets.set(site.name, subset(target.canaries, target.included));
  }
  for (const { name, patients } of study.sites) checkPatientCap(name, datasets.get(name)?.patients.ids.length ?? 0, patients);

  const steps = new Map<string, number>();
  await runInProcess(parts, {
    datasets,
    ...(input.signal === undefined ? {} : { signal: input.signal }),
    observe: async (released) => {
      input.progress?.(released.round);
      for (const [site, update] of released.updates) {
        steps.set(site, (steps.get(site) ?? 0) + mechanismOf(parts, released.modality).steps);
        const target = targets.get(site);
        if (target !== undefined) await observe(parts, target, { ...released, update });
      }
    },
  });
  return sites.map((site) => verdict(input, targets.get(site.name)!, epsilonOfSteps(parts, new Map([[site.name, steps.get(site.name) ?? 0]])).pld));
}

/** The first site of every audited modality. */
function auditedSites(study: Study, only: string | undefined): readonly SiteSpec[] {
  const scheduled = [...new Set(scheduleOrder(study))];
  if (only !== undefined && !scheduled.includes(only)) throw new AntiphonError('usage', `the study trains no modality "${only}"; it trains: ${scheduled.join(', ')}`);
  return (only === undefined ? scheduled : [only]).map((modality) => {
    const site = study.sites.find((candidate) => candidate.modality === modality);
    invariant(site !== undefined, `a site of modality ${modality}`);
    return site;
  });
}

function withRoomFor(study: Study, { sites, canaries }: { readonly sites: readonly SiteSpec[]; readonly canaries: number }): Study {
  const audited = new Set(sites.map(({ name }) => name));
  return { ...study, sites: study.sites.map((site) => (audited.has(site.name) ? { ...site, patients: Math.max(site.patients, canaries) } : site)) };
}

async function placeCanaries(input: EmpiricalInput, site: SiteSpec, real: Dataset): Promise<Target> {
  const { study, networks, files, primitives, canaries: count } = input;
  const network = networks.get(site.modality);
  invariant(network !== undefined, `network of ${site.modality}`);
  const random = createKeyStream();
  const canaries = await makeCanaries({ study, site, count, like: real, files, primitives, random });
  return { site, network, canaries, included: freshBytes(random, count).map((byte) => byte & 1), scorer: createCanaryScorer(count) };
}

function mechanismOf({ resolved }: Pick<StudyParts, 'resolved'>, modality: string): { readonly samplingRate: number; readonly steps: number; readonly clipNorm: number; readonly noiseStddev: number; readonly learningRate: number } {
  const plan = resolved.modalities.get(modality);
  invariant(plan !== undefined, `modality ${modality}`);
  const { mechanism, learningRate } = plan;
  const { samplingRate, steps } = mechanism;
  if (mechanism.protection === 'none') return { samplingRate, steps, learningRate, clipNorm: Infinity, noiseStddev: 0 };
  return { samplingRate, steps, learningRate, clipNorm: mechanism.clipNorm, noiseStddev: mechanism.noiseMultiplier * mechanism.clipNorm };
}

/**
 * One round through the eyes of the auditor: the site's update back in the unit of its gradient sums. Gradients are those at the model the round started from;
 * the steps inside a round, which nobody outside the site sees, move it a little.
 */
async function observe(parts: StudyParts, { site, network, canaries, scorer }: Target, released: ReleasedRound & { readonly update: Float32Array }): Promise<void> {
  const { study } = parts;
  const { samplingRate: q, steps, clipNorm, noiseStddev, learningRate } = mechanismOf(parts, released.modality);
  const patients = study.sites.find(({ name }) => name === site.name)?.patients ?? 0;
  const weights = releaseWeights(steps, study.optimiser.local.momentum);
  const squares = weights.reduce((sum, weight) => sum + weight * weight, 0);
  scorer.observe({
    ...(await ownGradients(canaries, { network, weights: released.weights, clipNorm })),
    released: Float64Array.from(released.update, (value) => (-value * q * patients) / learningRate),
    signal: q * weights.reduce((sum, weight) => sum + weight, 0),
    coinVariance: q * (1 - q) * squares,
    noiseVariance: noiseStddev ** 2 * squares,
  });
}

/** Every canary's gradient, as training computes it for a batch of one, clipped; and how many times longer it was. */
async function ownGradients(canaries: Dataset, { network, weights, clipNorm }: { readonly network: Network; readonly weights: Float32Array; readonly clipNorm: number }): Promise<Pick<CanaryObservation, 'gradients' | 'lengths'>> {
  const { labels } = canaries;
  const gradients = new Float32Array(labels.length * network.size);
  const lengths = new Float64Array(labels.length);
  const loaded = loadWeights(network, weights);
  try {
    for (let i = 0; i < labels.length; i += 1) {
      const own = { features: gatherRecords(canaries, [i]), labels: labels.subarray(i, i + 1) };
      const gradient = await clippedGradientSum({ network, weights: loaded, microBatch: 1, clipThreshold: Infinity, ...own });
      lengths[i] = Math.max(1, Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0)) / clipNorm);
      gradients.set(gradient.map((value) => value / lengths[i]!), i * network.size);
    }
  } finally {
    disposeWeights(loaded);
  }
  return { gradients, lengths };
}

function verdict({ canaries, confidence, resolved }: EmpiricalInput, { site, scorer, included }: Target, claim: number): AuditedModality {
  const { delta } = resolved.budget;
  // Depends on nothing that was trained.
  const guesses = planGuesses({ canaries, claim, delta, confidence });
  const correct = countCorrect({ scores: scorer.scores(), included, guesses });
  const outcome = { canaries, guesses: guesses.included + guesses.excluded, delta };
  const lowerBound = epsilonLowerBound({ ...outcome, correct }, confidence);
  const highestBound = epsilonLowerBound({ ...outcome, correct: outcome.guesses }, confidence);
  return { modality: site.modality, site: site.name, claim, delta, confidence, canaries, guesses, correct, lowerBound, highestBound, refuted: lowerBound > claim };
}
