import { rdpOfWorst, roundedUp, worstPld, type AccountantName } from '../privacy/accountant.ts';
import { calibrateNoiseMultiplier } from '../privacy/calibrate.ts';
import { worstCliques, type Clique } from '../privacy/composition.ts';
import type { PrivacyEvent } from '../privacy/event.ts';
import { AntiphonError, invariant } from '../errors.ts';
import type { Study } from './schema.ts';
import { roundBounds, worstAllocations } from './adaptive.ts';

/** What one site of a modality does in one round: K releases of one mechanism. */
export type RoundMechanism =
  | { readonly protection: 'local-noise'; readonly samplingRate: number; readonly noiseMultiplier: number; readonly clipNorm: number; readonly steps: number }
  | { readonly protection: 'none'; readonly samplingRate: number; readonly steps: number };

export interface ResolvedModality {
  readonly mechanism: RoundMechanism;
  /** Under an adaptive schedule: at most. */
  readonly rounds: number;
  readonly learningRate: number;
  readonly sitesDisjoint: boolean;
}

/** The study in numbers: overrides applied, noise calibrated, the budget known. */
export interface ResolvedStudy {
  readonly modalities: ReadonlyMap<string, ResolvedModality>;
  /** Infinity without privacy. */
  readonly budget: { readonly epsilon: number; readonly delta: number };
  /** `rdpOrder`: the best one for the whole plan, fixed before any data are touched. */
  readonly accountant: { readonly binding: AccountantName; readonly rdpOrder: number };
}

export function eventOf(mechanism: RoundMechanism): PrivacyEvent {
  const { steps, samplingRate } = mechanism;
  return mechanism.protection === 'none'
    ? { type: 'unprotected', steps }
    : { type: 'poisson-gaussian', samplingRate, noiseMultiplier: mechanism.noiseMultiplier, steps };
}

/**
 * With `epsilon` alone the one noise multiplier of all modalities is calibrated so that every planned round just fits the budget;
 * with `noiseMultiplier` alone the budget is what the planned rounds spend; with both the study ends where the budget does.
 * Throws AntiphonError('study-invalid') when no noise reaches the budget, or the noise gives none, or when modalities differ in sampling rate and a plan that binds PLD does not fit whole.
 */
export function resolveStudy(study: Study): ResolvedStudy {
  const { privacy } = study;
  if (privacy.protection === 'none') return { modalities: modalitiesAt(study, undefined), budget: { epsilon: Infinity, delta: 0 }, accountant: { binding: 'pld', rdpOrder: 2 } };
  const { delta, accountant: binding, epsilon: targetEpsilon } = privacy;
  const epsilonAt = (noiseMultiplier: number): number => plannedEpsilon(plannedCliques(study, modalitiesAt(study, noiseMultiplier)), { binding, delta });
  const noiseMultiplier = privacy.noiseMultiplier ?? (targetEpsilon === undefined ? undefined : calibrateNoiseMultiplier({ targetEpsilon, epsilonOf: epsilonAt }));
  invariant(noiseMultiplier !== undefined, 'a noise multiplier or a target to calibrate it for');
  const modalities = modalitiesAt(study, noiseMultiplier);
  const cliques = plannedCliques(study, modalities);
  const { order } = rdpOfWorst({ cliques, delta });
  const epsilon = targetEpsilon ?? plannedEpsilon(cliques, { binding, delta });
  if (!Number.isFinite(epsilon)) throw new AntiphonError('study-invalid', `a noise multiplier of ${noiseMultiplier} protects nothing: epsilon is infinite; raise it, or give epsilon, or say protection: none`);
  if (targetEpsilon !== undefined && privacy.noiseMultiplier !== undefined && binding === 'pld' && ratesOf(modalities).size > 1) {
    const planned = plannedEpsilon(cliques, { binding, delta });
    if (planned > targetEpsilon) {
      throw new AntiphonError('study-invalid', `the planned rounds spend epsilon ${planned} at a noise multiplier of ${noiseMultiplier}, above privacy.epsilon ${targetEpsilon}: where modalities differ in samplingRate, PLD holds only if the whole plan fits (shared/ledger/spending.ts); leave out noiseMultiplier, or give fewer rounds, one samplingRate, or accountant: rdp`);
    }
  }
  return { modalities, budget: { epsilon, delta }, accountant: { binding, rdpOrder: order } };
}

function ratesOf(modalities: ReadonlyMap<string, ResolvedModality>): ReadonlySet<number> {
  return new Set([...modalities.values()].flatMap(({ mechanism, rounds }) => (rounds > 0 ? [mechanism.samplingRate] : [])));
}

/** Is a plan with these mechanisms one that the study allows: its own mechanisms, with noise enough for its budget? For sites, who need no calibration of their own. */
export function plannedEpsilonOf(study: Study, mechanisms: ReadonlyMap<string, RoundMechanism>): number {
  const { privacy } = study;
  if (privacy.protection === 'none') return Infinity;
  const modalities = new Map([...modalitiesAt(study, undefined)].map(([name, modality]) => [name, { ...modality, mechanism: mechanisms.get(name) ?? modality.mechanism }]));
  return plannedEpsilon(plannedCliques(study, modalities), { binding: privacy.accountant, delta: privacy.delta });
}

function modalitiesAt(study: Study, noiseMultiplier: number | undefined): ReadonlyMap<string, ResolvedModality> {
  const { privacy, schedule, optimiser } = study;
  const bounds = roundBounds(study);
  return new Map(
    Object.entries(study.modalities).map(([name, modality]) => {
      const samplingRate = modality.samplingRate ?? privacy.samplingRate;
      const steps = modality.localSteps ?? schedule.localSteps;
      const mechanism: RoundMechanism =
        privacy.protection === 'none' || noiseMultiplier === undefined
          ? { protection: 'none', samplingRate, steps }
          : { protection: 'local-noise', samplingRate, noiseMultiplier, clipNorm: modality.clipNorm ?? privacy.clipNorm, steps };
      const learningRate = modality.learningRate ?? optimiser.local.learningRate;
      return [name, { mechanism, rounds: bounds.get(name)?.most ?? 0, learningRate, sitesDisjoint: modality.sitesDisjoint }];
    }),
  );
}

/** Every planned round run with every site in it, in each of the worst ways that the schedule can give them out. */
function plannedCliques(study: Study, modalities: ReadonlyMap<string, ResolvedModality>): readonly Clique[] {
  const cliques = worstAllocations(roundBounds(study), study.schedule.rounds).map((rounds) => plannedClique(study, modalities, rounds));
  return [...new Map(cliques.map((clique) => [JSON.stringify(clique.events), clique])).values()];
}

/** All sites of a modality run one mechanism as often, so that one clique is worst for every accountant. */
function plannedClique(study: Study, modalities: ReadonlyMap<string, ResolvedModality>, rounds: ReadonlyMap<string, number>): Clique {
  const sites = study.sites.map(({ name, modality }) => {
    const resolved = modalities.get(modality);
    invariant(resolved !== undefined, `site ${name} of modality ${modality}`);
    const event = eventOf(resolved.mechanism);
    const count = rounds.get(modality) ?? 0;
    return { site: name, modality, events: count === 0 ? [] : [{ ...event, steps: event.steps * count }] };
  });
  const cliques = new Map(
    [...modalities].map(([name, { sitesDisjoint }]) => {
      const names = study.sites.filter(({ modality }) => modality === name).map((site) => site.name);
      return [name, sitesDisjoint ? names.map((site) => [site]) : [names]];
    }),
  );
  const [clique, ...others] = worstCliques({ sites, cliques });
  invariant(clique !== undefined && others.length === 0, 'one clique that is worst off');
  return clique;
}

/** As the binding accountant has it; the order of RDP is the best one, which the PLAN then fixes. */
function plannedEpsilon(cliques: readonly Clique[], { binding, delta }: { readonly binding: AccountantName; readonly delta: number }): number {
  return roundedUp(binding === 'pld' ? worstPld({ cliques, delta }).epsilon : rdpOfWorst({ cliques, delta }).epsilon);
}
