import { Option, type Command } from 'commander';
import { AntiphonError } from '../../shared/errors.ts';
import { BACKEND_CHOICES, type BackendChoice } from '../../shared/platform/backend-choice.ts';

/** Options of `antiphon audit` that train: they attack what a ledger only counts. */
export interface TrainingAuditOptions {
  readonly empirical?: boolean;
  readonly membership?: string;
  readonly study?: string;
  readonly data?: string;
  readonly modality?: string;
  readonly canaries?: string;
  readonly confidence?: string;
  readonly references?: string;
  readonly backend?: BackendChoice;
  readonly html?: string;
  readonly json?: boolean;
}

export interface TrainingAuditContext {
  /** The embedded study's file. */
  readonly syntheticStudy: string;
  readonly color: boolean;
  readonly signal: AbortSignal;
  /** For what is not the report itself. */
  readonly note: (text: string) => void;
}

export const DEFAULT_CANARIES = 800;
export const DEFAULT_CONFIDENCE = 0.95;
export const DEFAULT_REFERENCES = 4;

export function addTrainingAuditOptions(command: Command): Command {
  return command
    .option('--empirical', 'measure instead: train with canaries, guess who took part, bound epsilon from below')
    .option('--study <file>', 'with --empirical: the study file (default: the embedded synthetic study)')
    .option('--modality <name>', 'with --empirical: only this modality')
    .option('--canaries <number>', `with --empirical: made-up patients per audited site (default: ${DEFAULT_CANARIES})`)
    .option('--confidence <number>', `with --empirical: of each bound (default: ${DEFAULT_CONFIDENCE})`)
    .option('--membership <folder>', "measure instead: attack the last model of this run's folder, member or not?")
    .option('--references <number>', `with --membership: reference models to train, an even number (default: ${DEFAULT_REFERENCES})`)
    .option('--data <folder>', "with --study or --membership: the study's records, of all sites")
    .addOption(new Option('--backend <name>', 'with --empirical or --membership: compute backend').choices([...BACKEND_CHOICES]));
}

/** What only one of the two asks for. */
const BELONGS: Readonly<Record<string, 'empirical' | 'membership' | 'either'>> = { study: 'empirical', modality: 'empirical', canaries: 'empirical', confidence: 'empirical', references: 'membership', data: 'either', backend: 'either' };

/** Runs the audit that the options ask for; undefined: a ledger is to be verified. Throws AntiphonError('usage') on combinations without a meaning. */
export async function trainingAudit(file: string | undefined, options: TrainingAuditOptions, context: TrainingAuditContext): Promise<{ readonly text: string; readonly exitCode: number } | undefined> {
  const kinds = [...(file === undefined ? [] : ['ledger']), ...(options.empirical === true ? ['empirical'] : []), ...(options.membership === undefined ? [] : ['membership'])];
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    throw new AntiphonError('usage', `expected one of: a ledger (file, folder or address), --empirical, --membership RUNFOLDER; found ${kinds.length === 0 ? 'none of them' : kinds.map((one) => (one === 'ledger' ? 'a ledger' : `--${one}`)).join(' and ')}`);
  }
  for (const [name, owner] of Object.entries(BELONGS)) {
    const fits = kind === owner || (owner === 'either' && kind !== 'ledger');
    if (!fits && options[name as keyof TrainingAuditOptions] !== undefined) throw new AntiphonError('usage', `--${name} belongs to ${owner === 'either' ? '--empirical or --membership' : `--${owner}`}; leave it out here`);
  }
  if (kind === 'ledger') return undefined;
  // Loaded here: who verifies a ledger needs no compute library.
  const { empirical, membership } = await import('./training.ts');
  return options.membership === undefined ? empirical(options, context) : membership(options.membership, options, context);
}
