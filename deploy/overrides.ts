import { AntiphonError } from '../shared/errors.ts';
import { formatPath, studyFromUnknown, type Fault } from '../shared/study/parse.ts';
import { MOST_SITES, type Study } from '../shared/study/schema.ts';

/** Changes to a study from the command line of `simulate`. */
export interface StudyOverrides {
  /** Sites per modality, dividing its training patients by hash. */
  readonly sites?: number;
  readonly rounds?: number;
  readonly epsilon?: number;
  readonly delta?: number;
  readonly noiseMultiplier?: number;
  readonly noPrivacy?: boolean;
  readonly seed?: number;
}

/** The study as the options change it; validated again as if it had been written so. */
export function overrideStudy(given: Study, options: StudyOverrides): Study {
  const { rounds, seed, sites, noPrivacy } = options;
  if (noPrivacy === true && (options.epsilon !== undefined || options.noiseMultiplier !== undefined)) {
    throw new AntiphonError('usage', '--no-privacy excludes --epsilon and --noise-multiplier');
  }
  const study = noPrivacy === true ? withoutPrivacy(given) : given;
  let privacy = study.privacy;
  if (options.epsilon !== undefined || options.delta !== undefined || options.noiseMultiplier !== undefined) {
    if (privacy.protection === 'none') throw new AntiphonError('usage', 'the study runs without privacy: --epsilon, --delta and --noise-multiplier have no meaning for it; leave them out, or set privacy.protection to local-noise');
    const { epsilon: oldEpsilon, noiseMultiplier: oldNoise, ...rest } = privacy;
    // A new budget is calibrated for; a new noise multiplier says its own epsilon.
    const epsilon = options.epsilon ?? (options.noiseMultiplier === undefined ? oldEpsilon : undefined);
    const noiseMultiplier = options.noiseMultiplier ?? (options.epsilon === undefined ? oldNoise : undefined);
    privacy = { ...rest, ...(options.delta === undefined ? {} : { delta: options.delta }), ...(epsilon === undefined ? {} : { epsilon }), ...(noiseMultiplier === undefined ? {} : { noiseMultiplier }) };
  }
  return studyFromUnknown({
    ...study,
    ...(seed === undefined ? {} : { seed }),
    privacy,
    schedule: { ...study.schedule, ...(rounds === undefined ? {} : { rounds }) },
    sites: sites === undefined ? study.sites : repartition(study, sites),
  }, (faults) => refusedOptions(options, faults));
}

/** Where in a study each option goes. */
const PLACES: Readonly<Record<Exclude<keyof StudyOverrides, 'noPrivacy'>, { readonly flag: string; readonly path: string }>> = {
  sites: { flag: '--sites', path: 'sites' },
  rounds: { flag: '--rounds', path: 'schedule.rounds' },
  epsilon: { flag: '--epsilon', path: 'privacy.epsilon' },
  delta: { flag: '--delta', path: 'privacy.delta' },
  noiseMultiplier: { flag: '--noise-multiplier', path: 'privacy.noiseMultiplier' },
  seed: { flag: '--seed', path: 'seed' },
};

/** The study file was valid: what is wrong came by the command line. */
function refusedOptions(options: StudyOverrides, faults: readonly Fault[]): AntiphonError {
  const given = Object.entries(PLACES).flatMap(([name, place]) => {
    const value = options[name as keyof typeof PLACES];
    return value === undefined ? [] : [{ ...place, value }];
  });
  const said = faults.map((fault) => {
    const path = formatPath(fault.path);
    const option = given.find((one) => path === one.path || path.startsWith(`${one.path}.`));
    return `${option === undefined ? path : `${option.flag} ${option.value}`}: ${fault.message}`;
  });
  return new AntiphonError('usage', `the options do not make a valid study: ${said.join('; ')}`);
}

/** The comparison arm: neither clipped nor noised, trained as the study's own `withoutPrivacy` section says where it has one. */
function withoutPrivacy({ withoutPrivacy: arm = {}, ...study }: Study): Study {
  const { samplingRate, localSteps, learningRate, rounds } = arm;
  // What the arm sets for all modalities replaces their own values; what it sets for one goes before that.
  const replaced = (['samplingRate', 'localSteps', 'learningRate'] as const).filter((key) => arm[key] !== undefined) as readonly string[];
  const modalities = Object.entries(study.modalities).map(([name, modality]) => {
    const kept = Object.entries(modality).filter(([key]) => !replaced.includes(key));
    return [name, { ...Object.fromEntries(kept), ...arm.modalities?.[name] }];
  });
  return {
    ...study,
    modalities: Object.fromEntries(modalities) as Study['modalities'],
    schedule: { ...study.schedule, rounds: rounds ?? study.schedule.rounds, localSteps: localSteps ?? study.schedule.localSteps },
    optimiser: { ...study.optimiser, local: { ...study.optimiser.local, learningRate: learningRate ?? study.optimiser.local.learningRate } },
    privacy: { protection: 'none', samplingRate: samplingRate ?? study.privacy.samplingRate },
  };
}

/** N sites per modality over the patients that its sites held before; only for studies whose sites differ in their shares alone. */
function repartition(study: Study, count: number): Study['sites'] {
  const modalities = Object.keys(study.modalities).length;
  const most = Math.floor(MOST_SITES / modalities);
  if (count > most) throw new AntiphonError('usage', `--sites: expected at most ${most} sites per modality (${MOST_SITES} in all, ${modalities} modalities), found ${count}`);
  return Object.keys(study.modalities).flatMap((modality) => {
    const before = study.sites.filter((site) => site.modality === modality);
    const [first] = before;
    if (first === undefined) return [];
    const filters = new Set(before.map(({ where }) => JSON.stringify(where ?? {})));
    const [from, to] = [Math.min(...before.map(({ share }) => share?.from ?? 0)), Math.max(...before.map(({ share }) => share?.to ?? 1))];
    // Sites that are told apart by one column are merged into the union of its values.
    const where = filters.size === 1 ? first.where : mergedFilter(before);
    const patients = Math.ceil((1.15 * before.reduce((sum, site) => sum + site.patients, 0)) / count + 5);
    return Array.from({ length: count }, (_, i) => ({
      name: `${modality}-${i + 1}`,
      modality,
      patients,
      ...(where === undefined ? {} : { where }),
      share: { from: from + ((to - from) * i) / count, to: i === count - 1 ? to : from + ((to - from) * (i + 1)) / count },
    }));
  });
}

function mergedFilter(sites: Study['sites']): NonNullable<Study['sites'][number]['where']> {
  const columns = new Set(sites.flatMap(({ where }) => Object.keys(where ?? {})));
  if (sites.some(({ where }) => Object.keys(where ?? {}).length !== columns.size)) {
    throw new AntiphonError('usage', '--sites cannot divide this study: its sites filter by different columns; edit the sites in the study file');
  }
  return Object.fromEntries([...columns].map((column) => [column, [...new Set(sites.flatMap(({ where }) => [where?.[column] ?? []].flat()))]]));
}
