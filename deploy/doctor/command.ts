import Table from 'cli-table3';
import { Command, Option } from 'commander';
import { createColors } from 'picocolors';
import { EXIT_CODES } from '../../shared/errors.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../../shared/platform/backend-choice.ts';
import { SOFTWARE } from '../../shared/protocol/software.ts';
import { checkBackends } from './backends.ts';
import type { Check } from './check.ts';
import { checkCoordinator } from './coordinator.ts';
import { checkDisk, checkGpu, checkMemory, checkNode, nvidiaGpus } from './machine.ts';

export interface DoctorCliParts {
  readonly write: (text: string) => void;
  readonly color: boolean;
}

interface DoctorOptions {
  readonly backend: BackendChoice;
  readonly coordinator?: string;
  readonly json?: boolean;
}

/** `antiphon doctor`: would a site or a simulation work here, how fast, and what to do where not. Reads no data, keeps nothing. */
export function doctorCommand({ write, color }: DoctorCliParts): Command {
  return new Command('doctor')
    .description('what works on this machine, how fast it trains, and the commands that mend what does not; reads no data')
    .addOption(new Option('--backend <name>', 'the compute backend to prove and measure').choices([...BACKEND_CHOICES]).default('auto'))
    .option('--coordinator <url>', 'whether it can be reached from here, its protocol version, and its clock')
    .option('--json', 'print one JSON object')
    .action(async ({ backend, coordinator, json }: DoctorOptions) => {
      const { checks: backends, chosen, gpu } = await checkBackends(backend);
      const checks: readonly Check[] = [
        checkNode(),
        checkMemory(),
        await checkDisk(process.cwd()),
        checkGpu(await nvidiaGpus(), gpu),
        ...backends,
        ...(coordinator === undefined ? [] : await checkCoordinator(coordinator)),
      ];
      const exitCode = exitCodeOf(checks);
      if (json === true) write(`${JSON.stringify({ software: SOFTWARE, exitCode, backend: chosen ?? null, checks })}\n`);
      else write(`${formatChecks(checks, color)}\n${chosen === undefined ? '' : `a site here trains on ${chosen.name}: ${plain(chosen.why)}\n`}${verdict(checks)}\n`);
      process.exitCode = exitCode;
    });
}

/** That of the first problem. */
export function exitCodeOf(checks: readonly Check[]): number {
  const problem = checks.find((check) => check.type === 'problem');
  return problem === undefined ? 0 : EXIT_CODES[problem.code];
}

export function formatChecks(checks: readonly Check[], color: boolean): string {
  const paint = createColors(color);
  const mark: Readonly<Record<Check['type'], string>> = { good: paint.green('ok'), note: paint.yellow('note'), problem: paint.red('PROBLEM') };
  const table = new Table({ head: ['', 'what', 'found', 'what to do'], colWidths: [9, 24, 62, 52], wordWrap: true, style: { head: [], border: [] } });
  for (const check of checks) table.push([mark[check.type], check.name, plain(check.found), check.type === 'good' ? '' : plain(check.todo)]);
  return table.toString();
}

function verdict(checks: readonly Check[]): string {
  const problems = checks.filter(({ type }) => type === 'problem').map(({ name }) => name);
  return problems.length === 0 ? 'everything that is needed works' : `does not work: ${problems.join(', ')}`;
}

/** Text of others, a coordinator's or a driver's, steers no terminal. */
function plain(text: string): string {
  return text.replaceAll(/\p{C}+/gu, ' ');
}
