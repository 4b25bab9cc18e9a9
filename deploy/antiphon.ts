#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { copyFile, constants, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, Option } from 'commander';
import { siteCommand } from '../client/cli.ts';
import { coordinatorCommand } from '../coordinator/cli.ts';
import { AntiphonError, EXIT_CODES } from '../shared/errors.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../shared/platform/backend-choice.ts';
import { countOption, deltaOption, numberOption, positiveOption } from '../shared/options.ts';
import { parseStudy } from '../shared/study/parse.ts';
import { auditCommand } from './audit/command.ts';
import { finishCommand } from './command-help.ts';
import { createDisplay, summaryJson } from './display.ts';
import { doctorCommand } from './doctor/command.ts';
import { experimentCommand } from './experiment/command.ts';
import { inFolder } from './in-folder.ts';
import { overrideStudy, type StudyOverrides } from './overrides.ts';
import { planCommand } from './plan.ts';
import { simulate } from './simulate.ts';
import { readStudyFile, type StudyFile } from './study-file.ts';
import { writeSyntheticData } from './synthetic.ts';
import { terminalOf } from './terminal.ts';
import { witnessCommand } from './witness/command.ts';
import { counted } from '../shared/plural.ts';

/** The package's folder, from deploy/ and from dist/deploy/ alike. */
const packageRoot = [new URL('../', import.meta.url), new URL('../../', import.meta.url)].map((url) => fileURLToPath(url)).find((path) => existsSync(join(path, 'package.json'))) ?? '.';
const shipped = { studies: join(packageRoot, 'deploy', 'studies'), experiments: join(packageRoot, 'deploy', 'experiments') };
const studyFile = (name: string): string => join(shipped.studies, `${name}.yaml`);
const readStudy = (given: string): Promise<StudyFile> => readStudyFile(given, shipped.studies);

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
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    interruption.abort();
  });
}
const write = (text: string): void => void process.stdout.write(text);
const { color } = terminalOf(process.stdout, process.env);
const display = (stream: NodeJS.WriteStream = process.stdout): ReturnType<typeof createDisplay> => createDisplay({ stream, ...terminalOf(stream, process.env) });

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
  const { path, text } = await readStudy(options.study ?? studyFile('synthetic'));
  const { sites, rounds, epsilon, delta, noiseMultiplier, seed, privacy } = options;
  const changes = Object.fromEntries(Object.entries({ sites, rounds, epsilon, delta, noiseMultiplier, seed }).filter(([, value]) => value !== undefined)) as StudyOverrides;
  const study = overrideStudy(parseStudy(text, path), { ...changes, noPrivacy: !privacy });
  const folder = resolve(options.out ?? join('antiphon-runs', `${study.name}-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`));
  const madeUp = resolve(path) === studyFile('synthetic');
  if (options.data === undefined && !madeUp) throw new AntiphonError('data-invalid', "the study reads its patients' records from files: give the folder above them with --data DIR");
  // With --json the progress goes to the other stream: standard output is the object and nothing else.
  const told = options.json === true ? process.stderr : process.stdout;
  const screen = display(told);
  try {
    const { events, peakMemoryMiB, processes } = await inFolder(folder, screen.show, async (show) => {
      const data = options.data ?? join(folder, 'data');
      if (options.data === undefined) await writeSyntheticData(data, { seed: study.seed });
      return simulate({ study, folder, data, backend: options.backend, signal: interruption.signal, show });
    });
    screen.close();
    told.write(`${counted(processes, 'process', 'processes')}, peak memory ${peakMemoryMiB} MiB in all\n`);
    if (options.json === true) write(`${JSON.stringify({ ...summaryJson(events), peakMemoryMiB, processes })}\n`);
  } finally {
    screen.close();
  }
}

const program = new Command('antiphon')
  .description('Federated multi-party training: sites that each hold one modality train one model together, in private alternating rounds.')
  .version((JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version);

program
  .command('simulate')
  .description('run a whole federation on this machine; without options, a small made-up study')
  .option('--study <file>', 'the study file, or the name of a shipped study (default: synthetic, the embedded one)')
  .option('--data <folder>', "folder above the records that the study file names (default: the embedded study's, written to the run's folder)")
  .option('--out <folder>', "the run's folder (default: antiphon-runs/NAME-TIME)")
  .addOption(new Option('--backend <name>', 'compute backend').choices([...BACKEND_CHOICES]).default('auto'))
  .option('--json', 'print one JSON object, the result, and nothing else; the progress goes to standard error')
  .optionsGroup('Instead of what the study file says:')
  .option('--sites <number>', 'sites per modality', countOption)
  .option('--rounds <number>', 'rounds of the schedule', countOption)
  .option('--epsilon <number>', 'privacy budget; the noise is calibrated for it', positiveOption)
  .option('--delta <number>', 'its delta', deltaOption)
  .option('--noise-multiplier <number>', 'noise standard deviation / clip norm, instead of calibrating', positiveOption)
  .option('--no-privacy', 'neither clip nor noise; for comparison only, and said in every output')
  .option('--seed <number>', 'seed of initial weights and of made-up data; never of noise', numberOption('a whole number from 0 to 2147483647', (value) => Number.isInteger(value) && value >= 0 && value < 2 ** 31))
  .action(runSimulation);

program.addCommand(coordinatorCommand({ createDisplay: display, readStudy, signal: interruption.signal, write }));
program.addCommand(siteCommand({ signal: interruption.signal, write }));
program.addCommand(planCommand({ readStudy, write, color }));
program.addCommand(experimentCommand({ shipped, display: { stream: process.stdout, ...terminalOf(process.stdout, process.env) }, signal: interruption.signal }));
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
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw new AntiphonError('storage-failed', `${file} is there already and is not overwritten; choose another name: npx antiphon init NAME.yaml`, { cause: error });
      throw new AntiphonError('storage-failed', `cannot write ${file}: ${error instanceof Error ? error.message : String(error)}; choose another name`, { cause: error });
    });
    if (options.data !== undefined) await writeSyntheticData(options.data, { seed: parseStudy(await readFile(file, 'utf8'), file).seed });
    write(`wrote ${file}${options.data === undefined ? '' : ` and ${options.data}`}; try it with: npx antiphon simulate --study ${file} --data ${options.data ?? 'DIR'}\n`);
  });

finishCommand(program);

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
