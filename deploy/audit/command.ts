import { resolve } from 'node:path';
import { Command } from 'commander';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { renderAuditPage } from './html.ts';
import { auditError, auditLedger } from './run.ts';
import { findSources } from './source.ts';
import { auditJson, formatAudit } from './text.ts';
import { addTrainingAuditOptions, trainingAudit, type TrainingAuditOptions } from './training-options.ts';

export interface AuditCliParts {
  /** The embedded study's file. */
  readonly syntheticStudy: string;
  readonly color: boolean;
  readonly signal: AbortSignal;
  readonly write: (text: string) => void;
  /** For what is not the report itself. */
  readonly note: (text: string) => void;
}

interface AuditOptions extends TrainingAuditOptions {
  readonly siteLogs?: readonly string[];
}

export function auditCommand({ write, ...context }: AuditCliParts): Command {
  const command = new Command('audit')
    .description('verify a ledger offline, trusting nobody: every hash, signature and rule, and epsilon from the entries alone; or measure by attacks what training gives away')
    .argument('[ledger]', "ledger.jsonl, a run's folder (with its witnesses), or the address of a running coordinator")
    .option('--site-logs <paths...>', 'folders of sites and witnesses, and vaults: the heads, copies of the ledger and spend logs in them are checked against it')
    .option('--html <file>', 'write the result as one self-contained page, too')
    .option('--json', 'print one JSON object');
  return addTrainingAuditOptions(command).action(async (target: string | undefined, options: AuditOptions) => {
    const measured = await trainingAudit(target, options, context);
    if (measured !== undefined) {
      write(`${measured.text}\n`);
      process.exitCode = measured.exitCode;
      return;
    }
    const report = await auditLedger(await findSources(target ?? '', options.siteLogs ?? []));
    if (options.html !== undefined) await writeFileAtomic(resolve(options.html), await renderAuditPage(report));
    write(`${options.json === true ? JSON.stringify(auditJson(report)) : formatAudit(report, context)}\n`);
    process.exitCode = auditError(report)?.exitCode ?? 0;
  });
}
