import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { AntiphonError } from '../shared/errors.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../shared/platform/backend.ts';
import { nodePrimitives } from '../shared/platform/primitives.ts';
import { decodeInvite } from '../shared/protocol/invite.ts';
import { enrolSite } from './enrol.ts';
import { defaultHome, startSites } from './start.ts';

export interface SiteCliParts {
  readonly signal: AbortSignal;
  readonly write: (text: string) => void;
}

const backendOption = (): Option => new Option('--backend <name>', 'compute backend of the training').choices([...BACKEND_CHOICES]);

export function siteCommand({ signal, write }: SiteCliParts): Command {
  const command = new Command('site').description('take part in a study as a data holder');
  command
    .command('enroll')
    .description("make this site's key and have it admitted with an invite")
    .argument('<invite>', 'the line that the study lead sent')
    .requiredOption('--data <folder>', "the site's own data, laid out as the study file says")
    .option('--home <folder>', "the site's own folder for its key, logs and settings (default: ./antiphon-site-NAME)")
    .option('--patients-disjoint', 'state, signed, that no patient of this data is at another site of this modality', false)
    .option('--max-epsilon <number>', 'refuse any round that would bring the study above this epsilon')
    .addOption(backendOption().default('auto'))
    .action(async (invite: string, options: { data: string; home?: string; patientsDisjoint: boolean; maxEpsilon?: string; backend: BackendChoice }) => {
      const maxEpsilon = options.maxEpsilon === undefined ? undefined : Number(options.maxEpsilon);
      if (maxEpsilon !== undefined && !(maxEpsilon > 0)) throw new AntiphonError('usage', `expected a positive --max-epsilon, found "${options.maxEpsilon ?? ''}"`);
      const home = resolve(options.home ?? defaultHome(decodeInvite(nodePrimitives, invite).site));
      const { site, modality } = await enrolSite({ invite, home, data: resolve(options.data), backend: options.backend, maxEpsilon, patientsDisjoint: options.patientsDisjoint });
      write(`enrolled as "${site}" (${modality}); its folder is ${home}\nstart it with: antiphon site start --home ${home}\n`);
    });
  command
    .command('start')
    .description('connect, and train when a round is offered, until the study ends')
    .requiredOption('--home <folder...>', 'folder of an enrolled site; several share one process')
    .addOption(backendOption())
    .option('--events', 'print every event as a JSON line')
    .action(async (options: { home: string[]; backend?: BackendChoice; events?: boolean }) => {
      const say = (site: string, event: { readonly type: string; readonly detail: string }): void => {
        write(options.events === true ? `${JSON.stringify({ site, ...event })}\n` : `${site}: ${'round' in event ? `round ${String(event.round)} ` : ''}${event.type} (${event.detail})\n`);
      };
      await startSites({ homes: options.home.map((home) => resolve(home)), backend: options.backend, signal, emit: say });
      if (options.events === true) write(`${JSON.stringify({ type: 'process-ended', peakMemoryMiB: Math.round(process.resourceUsage().maxRSS / 1024) })}\n`);
    });
  return command;
}
