import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { AntiphonError } from '../shared/errors.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../shared/platform/backend-choice.ts';
import { parseStudy } from '../shared/study/parse.ts';
import type { EventSink } from './events.ts';
import { checkInvitable, issueInvite } from './invite.ts';
import { runFiles } from './store/run-folder.ts';

export interface CoordinatorCliParts {
  /** How events are shown to a person; `--events` replaces it by JSON lines. */
  readonly createDisplay: () => { readonly show: EventSink; readonly close: () => void };
  /** A study by its path or, where some are shipped, by its name. */
  readonly readStudy: (given: string) => Promise<{ readonly path: string; readonly text: string }>;
  readonly signal: AbortSignal;
  readonly write: (text: string) => void;
}

interface StartOptions {
  readonly study: string;
  readonly out: string;
  readonly data?: string;
  readonly host: string;
  readonly port: string;
  readonly url?: string;
  readonly backend: BackendChoice;
  readonly events?: boolean;
}

export function coordinatorCommand({ createDisplay, readStudy, signal, write }: CoordinatorCliParts): Command {
  const command = new Command('coordinator').description('run a study: schedule, budget, aggregation, ledger');
  command
    .command('start')
    .description('start a study, or go on with one that was stopped, in the same folder')
    .requiredOption('--study <file>', 'the study file (YAML), or the name of a shipped study')
    .requiredOption('--out <folder>', "the run's folder: ledger, metrics, checkpoints, report")
    .option('--data <folder>', 'folder with the public evaluation records')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <number>', 'port to listen on; 0 picks a free one', '7400')
    .option('--url <url>', 'the address that sites call, when it is another (a proxy, TLS)')
    .addOption(new Option('--backend <name>', 'compute backend of the evaluation').choices([...BACKEND_CHOICES]).default('auto'))
    .option('--events', 'print every event as a JSON line instead of the display')
    .action(async (options: StartOptions) => {
      const { path, text } = await readStudy(options.study);
      if (options.url !== undefined && !/^https?:\/\/[^/]/.test(options.url)) throw new AntiphonError('usage', `expected an address like https://lead.example:7400 in --url, found "${options.url}"`);
      if (options.url === undefined && (options.host === '0.0.0.0' || options.host === '::')) {
        throw new AntiphonError('usage', `--host ${options.host} listens everywhere: say with --url which address sites call, so that their invites name it`);
      }
      const port = Number(options.port);
      if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new AntiphonError('usage', `expected a port from 0 to 65535, found "${options.port}"`);
      // Loaded here: the other commands need no compute library.
      const { startCoordinator } = await import('./start.ts');
      const display = options.events === true ? undefined : createDisplay();
      try {
        const end = await startCoordinator({
          study: parseStudy(text, path),
          studyYaml: text,
          folder: resolve(options.out),
          host: options.host,
          port,
          publicUrl: options.url,
          data: options.data,
          backend: options.backend,
          signal,
          show: (event) => {
            if (display === undefined) write(`${JSON.stringify(event)}\n`);
            else display.show(event);
          },
        });
        if (end.reason === 'budget-exhausted' && end.roundsCommitted === 0) throw new AntiphonError('budget-exhausted', `${end.detail}: nothing was trained; raise the budget, or plan with \`npx antiphon plan\``);
        if (end.reason === 'failed') throw new AntiphonError('study-failed', end.detail);
        if (end.reason === 'interrupted') throw new AntiphonError('interrupted', end.detail);
      } finally {
        display?.close();
      }
    });
  command
    .command('invite')
    .description('print a one-time invite for one site of a started study')
    .requiredOption('--out <folder>', "the run's folder")
    .requiredOption('--site <name>', 'the site of the study file')
    .option('--hours <number>', 'hours until the invite expires', '72')
    .option('--url <url>', 'the address that the site calls, when it is another than the coordinator prints')
    .action(async (options: { out: string; site: string; hours: string; url?: string }) => {
      const hours = Number(options.hours);
      if (!(hours > 0 && hours < 10_000)) throw new AntiphonError('usage', `expected a positive number of hours, found "${options.hours}"`);
      const folder = resolve(options.out);
      const path = runFiles(folder).study;
      const text = await readFile(path, 'utf8').catch((error: unknown) => {
        throw new AntiphonError('enrolment-refused', `no study was started in ${folder}; run \`npx antiphon coordinator start\` first`, { cause: error });
      });
      const study = parseStudy(text, path);
      await checkInvitable(folder, options.site);
      write(`${await issueInvite({ folder, study, site: options.site, hours, url: options.url })}\n`);
    });
  return command;
}
