import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { countOption } from '../../shared/options.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../../shared/platform/backend-choice.ts';
import type { DisplayInput } from '../display.ts';
import { runExperiment } from './run.ts';
import { readExperiment, shippedNames, type Shipped } from './sources.ts';

export interface ExperimentCliParts {
  readonly shipped: Shipped;
  readonly display: DisplayInput;
  readonly signal: AbortSignal;
}

interface ExperimentOptions {
  readonly data?: string;
  readonly out?: string;
  readonly jobs: number;
  readonly only?: readonly string[];
  readonly dryRun?: boolean;
  readonly backend: BackendChoice;
}

/** `antiphon experiment`: a grid of studies, trained by `simulate`, resumable at any moment. */
export function experimentCommand({ shipped, display, signal }: ExperimentCliParts): Command {
  return new Command('experiment')
    .description('run a grid of studies (data, epsilon, seeds, presets, any setting) and compare them; started again, it goes on')
    .argument('<file>', `the experiment file, or the name of a shipped one: ${shippedNames(shipped.experiments).join(', ')}`)
    .option('--data <folder>', 'folder above the records that the studies read; studies whose records are not there are skipped')
    .option('--out <folder>', 'where results are kept and looked for (default: antiphon-runs/experiment-NAME)')
    .option('--jobs <number>', 'cells at a time', countOption, 1)
    .option('--only <words...>', 'run only cells whose name has these words, such as uci-heart epsilon=2 seed=1')
    .option('--dry-run', 'print the cells, and run none')
    .addOption(new Option('--backend <name>', 'compute backend').choices([...BACKEND_CHOICES]).default('auto'))
    .action(async (file: string, options: ExperimentOptions) => {
      const { experiment, folder } = await readExperiment(file, shipped);
      await runExperiment({
        experiment,
        folder,
        shipped,
        dataRoot: options.data,
        out: resolve(options.out ?? join('antiphon-runs', `experiment-${experiment.name}`)),
        jobs: options.jobs,
        only: options.only ?? [],
        dryRun: options.dryRun ?? false,
        backend: options.backend,
        display,
        signal,
      });
    });
}
