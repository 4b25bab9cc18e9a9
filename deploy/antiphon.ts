#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { copyFile, constants, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, Option } from 'commander';
import { siteCommand } from '../client/cli.ts';
import { coordinatorCommand } from '../coordinator/cli.ts';
import { AntiphonError, EXIT_CODES } from '../shared/errors.ts';
import { makeFolder } from '../shared/platform/folder.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../shared/platform/backend-choice.ts';
import { countOption, numberOption, positiveOption } from '../shared/options.ts';
import { parseStudy } from '../shared/study/parse.ts';
import { auditCommand } from './audit/command.ts';
import { createDisplay, summaryJson } from './display.ts';
import { doctorCommand } from './doctor/command.ts';
import { experimentCommand } from './experiment/command.ts';
import { overrideStudy, type StudyOverrides } from './overrides.ts';
import { planCommand } from './plan.ts';
import { simulate } from './simulate.ts';
import { writeSyntheticData } from './synthetic.ts';
import { witnessCommand } from './witness/command.ts';

/** The package's folder, from deploy/ and from dist/deploy/ alike. */
const packageRoot = [new URL('../', import.meta.url), new URL('../../', import.meta.url)].map((url) => fileURLToPath(url)).find((path) => existsSync(join(path, 'package.json'))) ?? '.';
const shipped = { studies: join(packageRoot, 'deploy', 'studies'), experiments: join(packageRoot, 'deploy', 'experiments') };
const studyFile = (name: string): string => join(shipped.studies, `${name}.yaml`);

const interruption = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // The second time somebody means it.
    if (interruption.signal.aborted) process.exit(EXIT_CODES.interrupted);
    interruption.abort();
  });
}
// A child of `simulate` ends with it, however that ended.
if (process.channel !== undefined) {
  process.channel.unref();
  process.on('disconnect', () => {
    interruption.abort();
  });
}
// Whoever read our output has left (`| head`): there is nobody to tell more.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  interruption.abort();
});
const write = (text: string): void => void process.stdout.write(text);
const color = process.env['NO_COLOR'] === undefined && process.stdout.isTTY;
const display = (): ReturnType<typeof createDisplay> => createDisplay({ stream: process.stdout, isTTY: process.stdout.isTTY, color });

interface SimulateOptions {
  readonly study?: string;
  readonly data?: string;
  readonly out?: string;
  readonly sites?: number;
  readonly rounds?: number;
  readonly epsilon?: number;
  readonly delta?: number;
  readonly noiseMultiplier?: number;
  readonly privacy: boolean;
  readonly seed?: number;
  readonly backend: BackendChoice;
  readonly json?: boolean;
}

async function runSimulation(options: SimulateOptions): Promise<void> {
  const path = options.study ?? studyFile('synthetic');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new AntiphonError('study-invalid', `cannot read the study file ${path}; give its path with --study, or write one with \`antiphon init\``, { cause: error });
  });
  const { sites, rounds, epsilon, delta, noiseMultiplier, seed, privacy } = options;
  const changes = Object.fromEntries(Object.entries({ sites, rounds, epsilon, delta, noiseMultiplier, seed }).filter(([, value]) => value !== undefined)) as StudyOverrides;
  const study = overrideStudy(parseStudy(text, path), { ...changes, noPrivacy: !privacy });
  const folder = resolve(options.out ?? join('antiphon-runs', `${study.name}-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`));
  await makeFolder(folder);
  let { data } = options;
  if (data === undefined) {
    if (options.study !== undefined) throw new AntiphonError('data-invalid', "the study reads its patients' records from files: give their folder with --data DIR");
    data = join(folder, 'data');
    await writeSyntheticData(data, { seed: study.seed });
  }
  const screen = display();
  try {
    const { events, peakMemoryMiB, processes } = await simulate({ study, folder, data, backend: options.backend, signal: interruption.signal, show: screen.show }).catch((error: unknown) => {
      if (error instanceof AntiphonError && error.code === 'interrupted') throw new AntiphonError('interrupted', `${error.message}; to go on: the same command with --out ${folder}`);
      throw error;
    });
    screen.close();
    write(`${processes} processes, peak memory ${peakMemoryMiB} MiB in all\n`);
    if (options.json === true) write(`${JSON.stringify({ ...summaryJson(events), peakMemoryMiB, processes })}\n`);
  } finally {
    screen.close();
  }
}

const program = new Command('antiphon')
  .description('Federated multi-party training: sites that each hold one modality train one model together, in private alternating rounds.')
  .version((JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version)
  .exitOverride();

program
  .command('simulate')
  .description('run a whole federation on this machine; without options, a small made-up study')
  .option('--study <file>', 'the study file (default: the embedded synthetic study)')
  .option('--data <folder>', "folder with the records that the study file names (default: the embedded study's, written to the run's folder)")
  .option('--out <folder>', "the run's folder (default: antiphon-runs/NAME-TIME)")
  .option('--sites <number>', 'sites per modality, instead of those of the study file', countOption)
  .option('--rounds <number>', 'rounds of the schedule', countOption)
  .option('--epsilon <number>', 'privacy budget; the noise is calibrated for it', positiveOption)
  .option('--delta <number>', 'its delta', positiveOption)
  .option('--noise-multiplier <number>', 'noise standard deviation / clip norm, instead of calibrating', positiveOption)
  .option('--no-privacy', 'neither clip nor noise; for comparison only, and said in every output')
  .option('--seed <number>', 'seed of initial weights and of made-up data; never of noise', numberOption('a whole number', Number.isInteger))
  .addOption(new Option('--backend <name>', 'compute backend').choices([...BACKEND_CHOICES]).default('auto'))
  .option('--json', 'print the result as one JSON object on the last line')
  .action(runSimulation);

program.addCommand(coordinatorCommand({ createDisplay: display, signal: interruption.signal, write }));
program.addCommand(siteCommand({ signal: interruption.signal, write }));
program.addCommand(planCommand({ write, color }));
program.addCommand(experimentCommand({ shipped, display: { stream: process.stdout, isTTY: process.stdout.isTTY, color }, signal: interruption.signal }));
program.addCommand(doctorCommand({ write, color }));

const note = (text: string): void => void (process.stderr.isTTY && process.stderr.write(text));
program.addCommand(witnessCommand({ write }));
program.addCommand(auditCommand({ syntheticStudy: studyFile('synthetic'), color, signal: interruption.signal, write, note }));

program
  .command('init')
  .description('write a commented study file to start from')
  .argument('[file]', 'where', 'study.yaml')
  .option('--data <folder>', 'write the made-up records that it reads, too')
  .action(async (file: string, options: { data?: string }) => {
    await copyFile(studyFile('synthetic'), file, constants.COPYFILE_EXCL).catch((error: unknown) => {
      throw new AntiphonError('storage-failed', `cannot write ${file}: ${error instanceof Error ? error.message : String(error)}; choose another name`, { cause: error });
    });
    if (options.data !== undefined) await writeSyntheticData(options.data, { seed: parseStudy(await readFile(file, 'utf8'), file).seed });
    write(`wrote ${file}${options.data === undefined ? '' : ` and ${options.data}`}; try it with: antiphon simulate --study ${file} --data ${options.data ?? 'DIR'}\n`);
  });

for (const command of [program, ...program.commands, ...program.commands.flatMap((one) => one.commands)]) command.exitOverride();

/** Says what went wrong; returns the exit code. */
function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODES.usage;
  if (error instanceof AntiphonError) {
    process.stderr.write(`antiphon: ${error.message}\n`);
    return error.exitCode;
  }
  process.stderr.write(`antiphon: unexpected failure, please report it: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return EXIT_CODES.internal;
}

// What no one catches ends with our own codes, whatever a library's handler would do with it.
process.setUncaughtExceptionCaptureCallback((error: unknown) => process.exit(explain(error)));
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = explain(error);
}
