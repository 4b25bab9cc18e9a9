import Table from 'cli-table3';
import { createColors } from 'picocolors';
import { EXIT_CODES } from '../shared/errors.ts';
import { spent } from '../shared/ledger/spending.ts';
import { verifyLedger, type LedgerAudit } from '../shared/ledger/verify.ts';
import { readLedgerFile } from '../shared/platform/ledger-file.ts';
import { nodePrimitives } from '../shared/platform/primitives.ts';

export type AuditVerdict = 'verified' | 'budget-exceeded' | 'tampered' | 'unreadable';

export interface AuditReport {
  readonly verdict: AuditVerdict;
  readonly problem: string | undefined;
  readonly audit: LedgerAudit;
  /** Recomputed from the entries alone. */
  readonly epsilon: number;
  readonly delta: number;
  readonly closed: boolean;
}

/** Verifies a ledger file offline, from its bytes alone. Throws AntiphonError('audit-unreadable' | 'audit-tampered') when it is no text. */
export async function auditFile(path: string): Promise<AuditReport> {
  const { lines, complete } = await readLedgerFile(path);
  const audit = verifyLedger({ lines, primitives: nodePrimitives });
  const { epsilon, delta } = spent(audit.state);
  const problem = audit.problem === undefined ? (complete ? undefined : 'the last line has no newline: it was cut') : `line ${audit.problem.line + 1}: ${audit.problem.message} (${audit.problem.code})`;
  const verdict: AuditVerdict = lines.length === 0 ? 'unreadable' : audit.problem?.code === 'budget-exceeded' ? 'budget-exceeded' : problem === undefined ? 'verified' : 'tampered';
  return { verdict, problem: lines.length === 0 ? 'the file is empty' : problem, audit, epsilon, delta, closed: audit.state.ended !== undefined };
}

export function auditExitCode({ verdict }: AuditReport): number {
  switch (verdict) {
    case 'verified':
      return 0;
    case 'budget-exceeded':
      return EXIT_CODES['audit-budget-exceeded'];
    case 'tampered':
      return EXIT_CODES['audit-tampered'];
    case 'unreadable':
      return EXIT_CODES['audit-unreadable'];
  }
}

export function auditJson(report: AuditReport): Record<string, unknown> {
  const { audit, ...rest } = report;
  const { plan } = audit.state;
  return { ...rest, epsilon: Number.isFinite(report.epsilon) ? report.epsilon : null, lines: audit.lines, study: plan?.studyName, budget: plan?.budget, rounds: audit.rounds, disclosures: audit.disclosures.map(({ what, why }) => ({ what, why })) };
}

const ROWS = 40;

export function formatAudit(report: AuditReport, { color }: { readonly color: boolean }): string {
  const paint = createColors(color);
  const { audit, verdict, problem, epsilon, delta, closed } = report;
  const { plan } = audit.state;
  const headline = { verified: paint.green('VERIFIED'), 'budget-exceeded': paint.red('BUDGET EXCEEDED'), tampered: paint.red('TAMPERED'), unreadable: paint.red('UNREADABLE') }[verdict];
  const lines = [`${paint.bold(headline)}  ${audit.lines} lines${problem === undefined ? ': every hash, signature, rule and epsilon agrees' : ''}`];
  if (problem !== undefined) lines.push(paint.red(problem), 'Nothing after that line is believed.');
  if (plan === undefined) return lines.join('\n');
  const parallel = Object.entries(plan.modalities).filter(([, { sitesDisjoint }]) => sitesDisjoint).map(([name]) => name);
  lines.push(
    '',
    `study       ${plan.studyName} (${plan.study.slice(0, 16)}...)`,
    `spent       epsilon ${epsilon === Infinity ? 'infinity: NO PRIVACY' : epsilon.toFixed(4)} at delta ${delta}, of a budget of ${plan.budget.epsilon}; recomputed here by RDP`,
    `protects    one ${plan.privacyUnit} (${plan.neighbouringRelation}), against the coordinator, the other sites and every reader of the models`,
    `assumes     sites sample and noise as their signed receipts say${parallel.length === 0 ? '' : `; no patient is at two sites of ${parallel.join(', ')} (each site signed that)`}`,
    `closed      ${closed ? 'yes, by an END entry' : 'no: the study goes on, or lines at the end were removed, which this file alone cannot show'}`,
    '',
    roundsTable(audit, color),
    '',
    'Released without noise:',
    ...audit.disclosures.map(({ what, why }) => `  - ${what}; ${why}`),
  );
  return lines.join('\n');
}

function roundsTable({ rounds }: LedgerAudit, color: boolean): string {
  const table = new Table({ head: ['round', 'modality', 'sites', 'delivered', 'refunded', 'q', 'noise', 'steps', 'outcome', 'epsilon'], style: color ? {} : { head: [], border: [] } });
  const shown = rounds.length <= ROWS ? rounds : [...rounds.slice(0, ROWS / 2), ...rounds.slice(-ROWS / 2)];
  shown.forEach((row, i) => {
    if (rounds.length > ROWS && i === ROWS / 2) table.push([{ colSpan: 10, content: `... ${rounds.length - ROWS} rounds more (all of them verified; --json lists them) ...` }]);
    const epsilon = Number(row.epsilonSpent);
    table.push([row.round, row.modality, row.sites.length, row.delivered.length, row.refunded.length, row.samplingRate, row.noiseMultiplier, row.steps, row.outcome, Number.isFinite(epsilon) ? epsilon.toFixed(4) : 'infinity']);
  });
  return table.toString();
}
