import { resolve } from 'node:path';
import { Command } from 'commander';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { renderAuditPage } from './html.ts';
import { auditError, auditLedger } from './run.ts';
import { findSources } from './source.ts';
import { auditJson, formatAudit } from './text.ts';

interface AuditOptions {
  readonly siteLogs?: readonly string[];
  readonly html?: string;
  readonly json?: boolean;
}

export function auditCommand({ color, write }: { readonly color: boolean; readonly write: (text: string) => void }): Command {
  return new Command('audit')
    .description('verify a ledger: every hash, signature and rule, and epsilon from the entries alone; offline, trusting nobody')
    .argument('<ledger>', "ledger.jsonl, a run's folder (with its witnesses), or the address of a running coordinator")
    .option('--site-logs <paths...>', 'folders or vaults of sites: their copies of the ledger and spend logs are checked against it')
    .option('--html <file>', 'write the result as one self-contained page, too')
    .option('--json', 'print one JSON object')
    .action(async (target: string, options: AuditOptions) => {
      const report = await auditLedger(await findSources(target, options.siteLogs ?? []));
      if (options.html !== undefined) await writeFileAtomic(resolve(options.html), await renderAuditPage(report));
      write(`${options.json === true ? JSON.stringify(auditJson(report)) : formatAudit(report, { color })}\n`);
      process.exitCode = auditError(report)?.exitCode ?? 0;
    });
}
