import { glossarySection } from '../../coordinator/report/glossary.ts';
import { escapeHtml, table } from '../../coordinator/report/html.ts';
import { NO_PRIVACY } from '../../coordinator/report/no-privacy.ts';
import { loadPlotLibrary, renderPage } from '../../coordinator/report/page.ts';
import { fromDecimal } from '../../shared/ledger/decimal.ts';
import { siteHistories } from '../../shared/ledger/spending.ts';
import type { AuditedRound } from '../../shared/ledger/verify.ts';
import { worstPld } from '../../shared/privacy/accountant.ts';
import { mergeEqual } from '../../shared/privacy/merge.ts';
import { groupBy } from '../experiment/group-by.ts';
import type { AuditReport, CurvePoint } from './run.ts';
import { believedText, cutText, figure, hasPrivacy, HEADLINES, statements } from './text.ts';
import { counted } from '../../shared/plural.ts';

const CURVES = 6;

/** The audit as one self-contained page. */
export async function renderAuditPage(report: AuditReport): Promise<string> {
  const { audit, verdict, problems, source, signatures, seconds, cliques, cliqueCount, sites, rounds, disclosures, witnesses, copies, spendLogs } = report;
  const title = audit.state.plan?.studyName ?? 'ledger';
  const believed = believedText(report);
  const charts = chartsOf(report);
  const section = (heading: string, content: string): string => `<section><h2>${heading}</h2>${content}</section>`;
  const list = (items: readonly string[]): string => `<ul>${items.map((item) => `<li>${escapeHtml(item)}</li>`).join('')}</ul>`;
  const body = [
    hasPrivacy(audit) ? '' : `<div class="alarm" role="alert"><strong>${NO_PRIVACY}</strong></div>`,
    `<header><p class="eyebrow">Antiphon ledger audit</p><h1>${escapeHtml(title)}</h1><p class="muted">${escapeHtml(source)}</p></header>`,
    `<div class="verdict ${verdict !== 'verified' ? 'bad' : hasPrivacy(audit) ? 'good' : 'bare'}" role="status"><strong>${HEADLINES[verdict]}</strong> ${counted(audit.lines, 'line')}, ${counted(signatures, 'signature')}, ${seconds.toFixed(1)} s</div>`,
    problems.length === 0 ? '' : section('What failed', list(problems.map(({ verdict: kind, message }) => `${kind}: ${message}`)) + (believed === undefined ? '' : `<p>${escapeHtml(believed)}</p>`)),
    audit.state.plan === undefined ? '' : believedSections(),
    audit.state.plan === undefined ? '' : glossarySection(hasPrivacy(audit) ? ['epsilon', 'pld', 'rdp', 'clique', 'noise'] : ['clique']),
  ].join('\n');
  return renderPage({ title: `${title}: audit`, body, charts, script: SCRIPT, plotLibrary: await loadPlotLibrary() });

  function believedSections(): string {
    return [
      section('What is stated', `<dl>${statements(report).map(({ name, text }) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(text)}</dd>`).join('')}</dl>`),
      charts.rounds.length === 0 ? '' : section('Epsilon over the rounds', `<div class="charts"><figure><figcaption>Worst-off patient, by both accountants</figcaption><div id="epsilon"></div></figure><figure><figcaption>By clique: sites that one patient may all be at (PLD)${cutText(charts.cliques.reduce((sum, { count }) => sum + count, 0), cliqueCount)}</figcaption><div id="cliques" class="rows"></div></figure></div>`),
      cliques.length === 0 ? '' : section(`Cliques${cutText(cliques.length, cliqueCount)}`, table(['sites', 'epsilon (PLD)', 'epsilon (RDP)'], cliques.map((clique) => [escapeHtml(clique.sites.join(' + ')), figure(clique.pld), figure(clique.rdp)]))),
      sites.length === 0 ? '' : section('Sites', table(['site', 'modality', 'steps charged', 'delivered', 'epsilon (PLD)', 'epsilon (RDP)'], sites.map((site) => [escapeHtml(site.site), escapeHtml(site.modality), String(site.steps), String(site.delivered), figure(site.pld), figure(site.rdp)]))),
      section('Rounds', rounds.count === 0 ? '<p>No round yet.</p>' : roundsTable(rounds)),
      section(
        'Checked beside the ledger',
        witnesses.length + copies.length + spendLogs.length === 0
          ? '<p>No witness and no copy of a site was given: whether lines at the end are missing, or others see another ledger, this file alone cannot show.</p>'
          : list([
              ...witnesses.map(({ site, size, time }) => `"${site}" cosigned the head over ${counted(size, 'line')}${time === undefined ? ', but its cosignature is bad' : ` at ${time}`}`),
              ...copies.map(({ name, lines }) => `${name}: a copy of the first ${counted(lines, 'line')}`),
              ...spendLogs.map(({ name, sites: of, releases }) => `${name}: ${counted(releases, 'release')} of ${of.join(', ')}`),
            ]),
      ),
      disclosures.length === 0 ? '' : section('Released without noise', list(disclosures.map(({ what, why }) => `${what}; ${why}`))),
    ].join('\n');
  }

  function roundsTable({ count, first, last }: AuditReport['rounds']): string {
    const row = (round: AuditedRound): string[] => [
      String(round.round),
      escapeHtml(round.time),
      escapeHtml(round.modality),
      `${round.delivered.length} of ${round.sites.length}`,
      String(round.refunded.length),
      escapeHtml(round.noiseMultiplier),
      escapeHtml(round.outcome),
      figure(Number(round.spent.pld)),
      figure(Number(round.spent.rdp)),
    ];
    const hidden = count - first.length - last.length;
    return table(['round', 'time', 'modality', 'delivered', 'refunded', 'noise', 'outcome', 'PLD', 'RDP'], [...first.map(row), ...(hidden > 0 ? [[`... ${hidden} more`, '', '', '', '', '', '', '', '']] : []), ...last.map(row)]);
  }
}

interface AuditCharts {
  readonly rounds: readonly number[];
  readonly pld: readonly number[];
  readonly rdp: readonly number[];
  readonly budget: number | null;
  readonly cliques: readonly { readonly name: string; readonly count: number; readonly values: readonly number[] }[];
}

/** Without a point where the study had no privacy: an infinite epsilon is not drawn. */
function chartsOf({ audit, curve, cliques }: AuditReport): AuditCharts {
  const finite = curve.filter(({ spent }) => Number.isFinite(fromDecimal(spent.pld)));
  return {
    rounds: finite.map(({ round }) => round),
    pld: finite.map(({ spent }) => fromDecimal(spent.pld)),
    rdp: finite.map(({ spent }) => fromDecimal(spent.rdp)),
    budget: audit.state.plan === undefined ? null : fromDecimal(audit.state.plan.budget.epsilon),
    cliques: finite.length === 0 ? [] : cliqueCurves(audit.state, cliques.map(({ sites }) => sites), finite),
  };
}

/** Of the worst few cliques as the rounds went on; those that spent alike all along are one line. */
function cliqueCurves({ plan }: AuditReport['audit']['state'], cliques: readonly (readonly string[])[], points: readonly CurvePoint[]): AuditCharts['cliques'] {
  if (plan === undefined) return [];
  const delta = fromDecimal(plan.budget.delta);
  const histories = points.map(({ charged }) => new Map(siteHistories(plan, charged).map(({ site, events }) => [site, events])));
  const curves = cliques.map((sites) => ({ sites, events: histories.map((at) => mergeEqual(sites.flatMap((site) => at.get(site) ?? []))) }));
  return [...groupBy(curves, ({ events }) => JSON.stringify(events)).values()].slice(0, CURVES).flatMap((alike) => {
    const [first] = alike;
    if (first === undefined) return [];
    const others = alike.length - 1;
    return [{ name: `${first.sites.join(' + ')}${others === 0 ? '' : ` (and ${others} alike)`}`, count: alike.length, values: first.events.map((events) => worstPld({ cliques: [{ sites: first.sites, events }], delta }).epsilon) }];
  });
}

const SCRIPT = `
const range = (u, low, high) => [0, 1.08 * Math.max(high, charts.budget ?? 0)];
const budget = { name: 'budget', values: charts.rounds.map(() => charts.budget), dash: [6, 4] };
draw('epsilon', charts.rounds, [{ name: 'PLD', values: charts.pld }, { name: 'RDP', values: charts.rdp }, budget], { x: 'round', range });
draw('cliques', charts.rounds, charts.cliques, { x: 'round', range });
`;
