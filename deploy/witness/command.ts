import { Command } from 'commander';
import { resolve } from 'node:path';
import { numberOption } from '../../shared/options.ts';
import { witnessOnce, readLineWithProof } from './witness.ts';
import { counted } from '../../shared/plural.ts';

export interface WitnessCliParts {
  readonly write: (text: string) => void;
}

interface WitnessOptions {
  readonly home: string;
  readonly name?: string;
  readonly key?: string;
  readonly line?: number;
}

/** `antiphon witness`: for an ethics board, a patients' association, anyone who wants to be able to prove one day what they were shown. */
export function witnessCommand({ write }: WitnessCliParts): Command {
  return new Command('witness')
    .description("see that a running study's ledger only grows, without taking all of it: verify that its newest head extends the last one seen, and cosign it")
    .argument('<url>', 'the address of the coordinator')
    .option('--home <folder>', 'where the witness keeps its key and the heads it has seen', 'antiphon-witness')
    .option('--name <name>', 'name to cosign under, the first time (default: witness)')
    .option('--key <hex>', "the coordinator's public key, the first time (default: that of the ledger's first line; compare it with the study lead's)")
    .option('--line <number>', 'also fetch this line of the ledger (from 1), verify that it is in it, and print it', numberOption('a line number from 1', (value) => Number.isSafeInteger(value) && value > 0))
    .action(async (url: string, { home, name, key, line }: WitnessOptions) => {
      const folder = resolve(home);
      const seen = await witnessOnce({ url, folder, name, coordinatorKey: key, now: Date.now() });
      const news = seen.before === undefined ? 'the first head that this witness sees' : seen.before === seen.size ? 'no line since the last time' : `extends the ${counted(seen.before, 'line')} seen before`;
      write(`${seen.origin}: head over ${counted(seen.size, 'line')}, signed by the coordinator, ${news}; cosigned as ${seen.name}\n`);
      if (seen.isNew) write(`coordinator's key ${seen.coordinatorKey}: compare it with the study lead's; from now on no other is believed\nkeep ${folder}: \`npx antiphon audit LEDGER --site-logs ${home}\` holds any copy of the ledger against what was seen\n`);
      if (line !== undefined) write(`${await readLineWithProof({ url, folder, line })}\n`);
    });
}
