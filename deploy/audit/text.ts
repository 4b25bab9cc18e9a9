import Table from 'cli-table3';
import { tableStyle } from '../display.ts';
import { createColors } from 'picocolors';
import { legendLine } from '../../coordinator/report/glossary.ts';
import { NO_PRIVACY } from '../../coordinator/report/no-privacy.ts';
import { epsilonFigure } from '../../shared/epsilon-text.ts';
import type { PlanEntry } from '../../shared/ledger/entry.ts';
import { EVERY_OTHER_SITE } from '../../shared/ledger/spending.ts';
import type { AuditedRound } from '../../shared/ledger/verify.ts';
import type { AuditReport, AuditVerdict } from './run.ts';
import { counted } from '../../shared/plural.ts';

export const HEADLINES: Record<AuditVerdict, string> = { verified: 'VERIFIED', 'budget-exceeded': 'BUDGET EXCEEDED', tampered: 'TAMPERED', forked: 'FORKED', unreadable: 'UNREADABLE' };

/** Does the plan clip and noise in every modality? */
export function hasPrivacy({ state: { plan } }: AuditReport['audit']): boolean {
  return Object.values(plan?.modalities ?? {}).every(({ mechanism }) => mechanism.protection !== 'none');
}

/** What is protected, against whom, under which assumptions: the sentences of the terminal and of the page. */
export function statements({ audit, sites }: AuditReport): readonly { readonly name: string; readonly text: string }[] {
  const { plan, ended } = audit.state;
  if (plan === undefined) return [];
  const closed = audit.problem === undefined ? 'no: the study goes on, or lines at the end were removed, which only a witness or a copy can show' : 'not in the lines that are believed';
  const { pld, rdp, delta } = audit.spent;
  const spent = `epsilon ${short(pld)} (PLD), ${short(rdp)} (RDP, order ${plan.accountant.rdpOrder}) at delta ${delta}`;
  // Where a modality has one site, there is no other that a patient could be at.
  const disjoint = sites.filter(({ modality, disjointFrom }) => disjointFrom.length > 0 && plan.sites.filter((other) => other.modality === modality).length > 1);
  const statement = ({ site, disjointFrom }: (typeof disjoint)[number]): string => (disjointFrom.includes(EVERY_OTHER_SITE) ? site : `${site} (from ${disjointFrom.join(', ')})`);
  return [
    { name: 'study', text: `${plan.studyName} (${plan.study.slice(0, 16)}...), coordinator key ${plan.coordinatorKey.slice(0, 16)}...` },
    { name: 'spent', text: !hasPrivacy(audit) ? NO_PRIVACY : `${spent}, of a budget of ${plan.budget.epsilon} held against ${plan.accountant.binding.toUpperCase()}; recomputed here from the entries` },
    { name: 'protects', text: !hasPrivacy(audit) ? 'nobody' : `one ${plan.privacyUnit} (${plan.neighbouringRelation}), against the coordinator, the other sites and every reader of the models, over all rounds and modalities together` },
    {
      name: 'assumes',
      text: `sites sample and noise as their signed receipts say, and keep both secret; ${plan.schedule === 'adaptive' ? adaptiveText(plan) : 'PLD: the schedule of the PLAN was fixed before any data were touched'}${
        disjoint.length === 0 ? (hasSeveralSites(plan) ? '; nothing about who is where' : '') : `; no patient is at two sites of a modality among those that both signed so: ${disjoint.map(statement).join(', ')}`
      }`,
    },
    { name: 'covers not', text: "a patient's own site, false statements of sites (signed, so attributable), poisoned updates, timing, and what is listed as released without noise" },
    { name: 'closed', text: ended === undefined ? closed : `yes: ${ended.reason}: ${ended.detail.replaceAll(/\p{Cc}/gu, '?')}` },
  ];
}

function hasSeveralSites({ sites }: PlanEntry): boolean {
  return new Set(sites.map(({ modality }) => modality)).size < sites.length;
}

function adaptiveText({ accountant }: PlanEntry): string {
  const chosen = 'which modality trains was chosen as the study went, from released models and public records alone';
  return `${chosen}; ${accountant.binding === 'pld' ? 'PLD holds for that here, because every step has the same sampling rate and noise multiplier' : 'RDP holds for that, PLD is for comparison only'}`;
}

/** What is left of a ledger that does not hold: the lines under the last head before the fault. Undefined where it holds. */
export function believedText({ audit }: AuditReport): string | undefined {
  const { problem, state } = audit;
  if (problem === undefined) return undefined;
  if (state.length === 0) return 'Nothing in it is believed: no signed head before that line verified.';
  if (state.length > problem.line) return 'All lines are signed, but the numbers that they state are not believed; epsilon is recomputed here from what they charge.';
  return `Nothing behind line ${state.length} is believed, which is the last signed head before the fault; what follows is of the first ${counted(state.length, 'line')}.`;
}

const CLIQUES_SHOWN = 5;
const SITES_SHOWN = 40;

/** Of a list that is cut; nothing of a whole one. */
export function cutText(shown: number, count: number): string {
  return shown < count ? `, ${shown} of ${count}, the worst first` : '';
}

export function formatAudit(report: AuditReport, { color }: { readonly color: boolean }): string {
  const paint = createColors(color);
  const { audit, verdict, problems, cliques, cliqueCount, sites, disclosures, witnesses, spendLogs, copies, signatures, seconds } = report;
  const headline = verdict !== 'verified' ? paint.red(HEADLINES[verdict]) : hasPrivacy(audit) ? paint.green(HEADLINES[verdict]) : paint.yellow(HEADLINES[verdict]);
  const lines = [`${paint.bold(headline)}  ${report.source}: ${counted(audit.lines, 'line')}, ${counted(signatures, 'signature')}, ${seconds.toFixed(1)} s`];
  if (!hasPrivacy(audit)) lines.push(paint.yellow(NO_PRIVACY));
  for (const { verdict: kind, message } of problems) lines.push(paint.red(`${kind}: ${message}`));
  const believed = believedText(report);
  if (believed !== undefined) lines.push(paint.red(believed));
  if (audit.state.plan === undefined) return lines.join('\n');
  lines.push('', ...statements(report).map(({ name, text }) => `${name.padEnd(11)} ${text}`), '', report.rounds.count === 0 ? 'No round yet.' : `${roundsTable(report, color)}\n${legendLine(['q', 'noise', 'pld'])}`, '');
  const shown = cliques.slice(0, CLIQUES_SHOWN);
  if (cliques.length > 0) lines.push(`Worst-off patients (one site per modality that they may be at)${cutText(shown.length, cliqueCount)}:`);
  for (const clique of shown) lines.push(`  epsilon ${figure(clique.pld)} (RDP ${figure(clique.rdp)})  ${clique.sites.join(' + ')}`);
  if (sites.length > 0) lines.push('', sitesTable(sites, color));
  if (witnesses.length + copies.length + spendLogs.length > 0) {
    lines.push('', 'Checked beside the ledger:');
    for (const { site, size, time } of witnesses) lines.push(`  - "${site}" cosigned the head over ${counted(size, 'line')}${time === undefined ? ', but its cosignature is bad' : ` at ${time}`}`);
    for (const { name, lines: count } of copies) lines.push(`  - ${name}: a copy of the first ${counted(count, 'line')}`);
    for (const { name, sites: of, releases } of spendLogs) lines.push(`  - ${name}: ${counted(releases, 'release')} of ${of.join(', ')}`);
  } else lines.push('', 'No witness and no copy of a site was given: whether lines at the end are missing, or others see another ledger, this file alone cannot show.');
  lines.push('', 'Released without noise:', ...disclosures.map(({ what, why }) => `  - ${what}; ${why}`));
  return lines.join('\n');
}

export function auditJson(report: AuditReport): Record<string, unknown> {
  const { audit, curve, rounds, verdict, problems, source, signatures, witnesses, spendLogs, copies, seconds } = report;
  const { plan, ended } = audit.state;
  return {
    verdict,
    problem: problems[0]?.message ?? null,
    problems,
    source,
    signatures,
    witnesses,
    spendLogs,
    copies,
    seconds,
    lines: audit.lines,
    believedLines: audit.state.length,
    believed: believedText(report) ?? null,
    study: plan?.studyName ?? null,
    studyHash: plan?.study ?? null,
    budget: plan?.budget ?? null,
    accountant: plan?.accountant ?? null,
    spent: plan === undefined ? null : audit.spent,
    epsilon: plan === undefined ? null : finite(Number(audit.spent[plan.accountant.binding])),
    delta: plan === undefined ? null : Number(audit.spent.delta),
    closed: ended !== undefined,
    roundCount: rounds.count,
    rounds: [...rounds.first, ...rounds.last],
    curve: curve.map(({ round, time, spent }) => ({ round, time, ...spent })),
    statements: Object.fromEntries(statements(report).map(({ name, text }) => [name, text])),
    disclosures: report.disclosures.map(({ what, why }) => ({ what, why })),
    cliqueCount: report.cliqueCount,
    cliques: report.cliques.map(({ sites, pld, rdp }) => ({ sites, pld: finite(pld), rdp: finite(rdp) })),
    sites: report.sites.map(({ pld, rdp, ...site }) => ({ ...site, pld: finite(pld), rdp: finite(rdp) })),
  };
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

export function figure(epsilon: number): string {
  return Number.isFinite(epsilon) ? epsilonFigure(epsilon, 4) : 'infinity';
}

function short(epsilon: string): string {
  return figure(Number(epsilon));
}

function roundsTable({ rounds }: AuditReport, color: boolean): string {
  const table = new Table({ head: ['round', 'modality', 'sites', 'delivered', 'refunded', 'q', 'noise', 'steps', 'outcome', 'PLD', 'RDP'], style: tableStyle(color) });
  const row = (round: AuditedRound): (string | number)[] => [
    round.round,
    round.modality,
    round.sites.length,
    round.delivered.length,
    round.refunded.length,
    round.samplingRate,
    round.noiseMultiplier,
    round.steps,
    round.outcome,
    short(round.spent.pld),
    short(round.spent.rdp),
  ];
  table.push(...rounds.first.map(row));
  const hidden = rounds.count - rounds.first.length - rounds.last.length;
  if (hidden > 0) table.push([{ colSpan: 11, content: `... ${hidden} rounds more, verified like these ...` }]);
  table.push(...rounds.last.map(row));
  return table.toString();
}

function sitesTable(sites: AuditReport['sites'], color: boolean): string {
  const table = new Table({ head: ['site', 'modality', 'steps charged', 'delivered', 'PLD', 'RDP'], style: tableStyle(color) });
  for (const { site, modality, steps, delivered, pld, rdp } of sites.slice(0, SITES_SHOWN)) table.push([site, modality, steps, delivered, figure(pld), figure(rdp)]);
  const hidden = sites.length - SITES_SHOWN;
  if (hidden > 0) table.push([{ colSpan: 6, content: `... ${counted(hidden, 'site')} more; all are in --html and --json ...` }]);
  return table.toString();
}
