import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { EVERY_OTHER_SITE } from '../shared/ledger/spending.ts';
import { countOption, positiveOption } from '../shared/options.ts';
import { AntiphonError } from '../shared/errors.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../shared/platform/backend-choice.ts';
import { nodePrimitives } from '../shared/platform/primitives.ts';
import { decodeInvite } from '../shared/protocol/invite.ts';
import { enrolSite } from './enrol.ts';
import { limitsSchema, type Limits } from './limits.ts';
import { defaultHome, startSites } from './start.ts';
import { defaultVault } from './vault.ts';

export interface SiteCliParts {
  readonly signal: AbortSignal;
  readonly write: (text: string) => void;
}

const backendOption = (): Option => new Option('--backend <name>', 'compute backend of the training').choices([...BACKEND_CHOICES]);

interface EnrolOptions {
  readonly data: string;
  readonly home?: string;
  readonly patientsDisjoint?: true | readonly string[];
  readonly patientsMayOverlap: boolean;
  readonly vault?: string;
  readonly dataset?: string;
  readonly maxEpsilon?: number;
  readonly maxRoundsPerDay?: number;
  readonly onlyModalities?: readonly string[];
  readonly minCohort?: number;
  readonly minNoiseMultiplier?: number;
  readonly backend: BackendChoice;
}

/** Undefined where none is given: then those of the vault stay. */
function limitsOf({ maxEpsilon, maxRoundsPerDay, onlyModalities: modalities, minCohort, minNoiseMultiplier }: EnrolOptions): Limits | undefined {
  const given = Object.entries({ maxEpsilon, maxRoundsPerDay, modalities, minCohort, minNoiseMultiplier }).filter(([, value]) => value !== undefined);
  return given.length === 0 ? undefined : limitsSchema.parse(Object.fromEntries(given));
}

export function siteCommand({ signal, write }: SiteCliParts): Command {
  const command = new Command('site').description('take part in a study as a data holder');
  command
    .command('enroll')
    .description("make this site's key and have it admitted with an invite")
    .argument('<invite>', 'the line that the study lead sent')
    .requiredOption('--data <folder>', "the site's own data, laid out as the study file says")
    .option('--home <folder>', "the site's own folder for its key, logs and settings (default: ./antiphon-site-NAME)")
    .option('--patients-disjoint [sites...]', 'state, signed, that no patient of this data is at another site of this modality (or not at the named ones)')
    .option('--patients-may-overlap', 'state that they may be, where the study counts on the opposite', false)
    .option('--vault <folder>', 'where this institution keeps limits and spend logs of its data sets (default: $ANTIPHON_VAULT or ~/.antiphon)')
    .option('--dataset <name>', 'name of this data set in the vault: spending adds up over all studies under one name (default: the data folder)')
    .addOption(backendOption().default('auto'))
    .optionsGroup('Limits of this data set, kept in its vault (default: those that it has):')
    .option('--max-epsilon <number>', 'epsilon over all studies of this data, by Rényi DP at one order: up to about twice what PLD gives for one study', positiveOption)
    .option('--max-rounds-per-day <number>', 'rounds in 24 hours', countOption)
    .option('--only-modalities <names...>', 'modalities that may be trained')
    .option('--min-cohort <number>', 'sites that a round must have', countOption)
    .option('--min-noise-multiplier <number>', 'noise standard deviation / clip norm', positiveOption)
    .action(async (invite: string, options: EnrolOptions) => {
      const home = resolve(options.home ?? defaultHome(decodeInvite(nodePrimitives, invite).site));
      const { patientsDisjoint } = options;
      if (patientsDisjoint !== undefined && options.patientsMayOverlap) throw new AntiphonError('usage', '--patients-disjoint excludes --patients-may-overlap');
      const { site, modality, allowed } = await enrolSite({
        invite,
        home,
        data: resolve(options.data),
        backend: options.backend,
        disjointFrom: patientsDisjoint === undefined ? [] : patientsDisjoint === true ? [EVERY_OTHER_SITE] : patientsDisjoint,
        mayOverlap: options.patientsMayOverlap,
        vault: resolve(options.vault ?? defaultVault()),
        dataset: options.dataset,
        limits: limitsOf(options),
      });
      write(`enrolled as "${site}" (${modality}); its folder is ${home}\n${allowed === undefined ? '' : `${allowed}\n`}start it with: npx antiphon site start --home ${home}\n`);
    });
  command
    .command('start')
    .description('connect, and train when a round is offered, until the study ends')
    .requiredOption('--home <folder...>', 'folder of an enrolled site; several share one process')
    .addOption(backendOption())
    .option('--data <folder>', 'where the data are now, if they have moved; kept for the next time (with one --home)')
    .option('--events', 'print every event as a JSON line')
    .action(async (options: { home: string[]; backend?: BackendChoice; data?: string; events?: boolean }) => {
      const [, another] = options.home;
      if (options.data !== undefined && another !== undefined) throw new AntiphonError('usage', '--data needs a single --home');
      const say = (site: string, event: { readonly type: string; readonly detail: string }): void => {
        write(options.events === true ? `${JSON.stringify({ site, ...event })}\n` : `${site}: ${'round' in event ? `round ${String(event.round)} ` : ''}${event.type} (${event.detail})\n`);
      };
      await startSites({ homes: options.home.map((home) => resolve(home)), backend: options.backend, data: options.data === undefined ? undefined : resolve(options.data), signal, emit: say });
      if (options.events === true) write(`${JSON.stringify({ type: 'process-ended', peakMemoryMiB: Math.round(process.resourceUsage().maxRSS / 1024) })}\n`);
    });
  return command;
}
