import { glossarySection } from '../../coordinator/report/glossary.ts';
import { escapeHtml, table } from '../../coordinator/report/html.ts';
import { renderPage, type PlotLibrary } from '../../coordinator/report/page.ts';
import type { Metrics } from '../../shared/fusion/evaluation.ts';
import { SOFTWARE } from '../../shared/protocol/software.ts';
import { groupBy } from './group-by.ts';
import { armOf, spreadOf, type Line, type StudyLines } from './results.ts';
import { degradedTable, methodOf, studyTable } from './table.ts';

/** A plot of one figure against epsilon. A non-private line is level and dashed, in the colour of its private one. */
export interface EpsilonPlot {
  readonly id: string;
  readonly epsilons: readonly number[];
  readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[]; readonly color: number; readonly dash?: readonly number[] }[];
}

/** So many methods are still told apart. */
const MOST_DRAWN = 6;

const FIGURES = [
  { key: 'accuracy', caption: 'Accuracy', of: ({ accuracy }: Metrics) => accuracy },
  { key: 'ece15', caption: 'Calibration error (15 bins)', of: ({ ece15 }: Metrics) => ece15 },
] as const;

const PLOT_SCRIPT = `
const share = (u, ticks) => ticks.map((t) => Number((100 * t).toFixed(1)) + ' %');
for (const plot of charts) draw(plot.id, plot.epsilons, plot.series, { x: 'epsilon', range: (u, low, high) => [Math.max(0, low - 0.05), Math.min(1, high + 0.05)], format: share });
`;

/** The plots of one study's lines; none for fewer than two budgets. */
export function epsilonPlots(lines: readonly Line[], study: number): readonly EpsilonPlot[] {
  const epsilonOf = ({ first }: Line): number | 'none' => first.reading.cell.epsilon;
  const epsilons = [...new Set(lines.map(epsilonOf).filter((epsilon) => epsilon !== 'none'))].sort((a, b) => a - b);
  const arms = [...groupBy(lines, ({ first }) => armOf(first.reading)).values()].slice(0, MOST_DRAWN);
  if (epsilons.length < 2) return [];
  return FIGURES.map(({ key, of }) => {
    const meanOf = (arm: readonly Line[], epsilon: number | 'none'): number | null => {
      const line = arm.find((one) => epsilonOf(one) === epsilon);
      return line === undefined ? null : spreadOf(line.results.map(({ test }) => of(test))).mean;
    };
    const series = arms.flatMap((arm, color) => {
      const name = arm[0] === undefined ? '' : methodOf(arm[0]);
      const [values, free] = [epsilons.map((epsilon) => meanOf(arm, epsilon)), meanOf(arm, 'none')];
      return [
        ...(values.every((value) => value === null) ? [] : [{ name, values, color }]),
        ...(free === null ? [] : [{ name: `${name}, no privacy`, values: epsilons.map(() => free), color, dash: [6, 4] }]),
      ];
    });
    return { id: `${key}-${study}`, epsilons, series };
  });
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** One self-contained page: no request leaves it. Pure. */
export function experimentPage(input: { readonly name: string; readonly description: string | undefined; readonly studies: readonly StudyLines[]; readonly remarks: readonly string[]; readonly plotLibrary: PlotLibrary }): string {
  const { name, description, studies, remarks, plotLibrary } = input;
  const plots = studies.map(({ lines }, i) => epsilonPlots(lines, i));
  const sections = studies.map((study, i) => {
    const { basis, head, rows } = studyTable(study);
    const figures = (plots[i] ?? []).map(({ id }, f) => `<figure><figcaption>${FIGURES[f]?.caption ?? ''} against epsilon</figcaption><div id="${id}" class="rows"></div></figure>`);
    const arms = new Set(study.lines.map(({ first }) => armOf(first.reading))).size;
    const left = figures.length > 0 && arms > MOST_DRAWN ? `<p class="muted">The plots show the first ${MOST_DRAWN} of ${arms} methods.</p>` : '';
    const cells = rows.map((row) => row.map(escapeHtml));
    const failing = degradedTable(study);
    const degraded = failing === undefined ? '' : `<h3>Where one modality fails</h3><p class="muted">${escapeHtml(sentence(failing.basis))}</p>${table(failing.head.map(escapeHtml), failing.rows.map((row) => row.map(escapeHtml)))}`;
    return `<section><h2>${escapeHtml(study.title)}</h2><p class="muted">Per cent, mean ± standard deviation; ${escapeHtml(basis)}.</p><div class="charts">${figures.join('')}</div>${left}${table(head.map(escapeHtml), cells)}${degraded}</section>`;
  });
  const body = [
    `<header><p class="eyebrow">Antiphon experiment</p><h1>${escapeHtml(name)}</h1>${description === undefined ? '' : `<p>${escapeHtml(description)}</p>`}</header>`,
    ...remarks.map((remark) => `<p class="muted">${escapeHtml(remark)}</p>`),
    ...sections,
    `<section><h2>How to read it</h2><dl><dt>epsilon</dt><dd>The budget asked for; "none" ran without clipping and noise, for comparison only. "spent" is what the ledger counted.</dd>
<dt>fused</dt><dd>By the study's own rule, with the pool in brackets; in experiment files and results.csv this rule is called "hybrid".</dd>
<dt>antiphon, mla, pamrl</dt><dd>The study as it is; MLA (released head updates projected, entropy weights, linear pool, no privacy); its private form with our reading of PAMRL's weights by hybrid uncertainty, linear pool. Encoders and training settings are the study's, found for the study as it is.</dd>
<dt>kept</dt><dd>Share of the mean accuracy of the same method on the same study without privacy.</dd>
<dt>Prec, F1, Recall</dt><dd>Averaged by support, so Recall equals Acc; macro averages are in results.csv.</dd>
<dt>ConfAcc_Low (n)</dt><dd>Accuracy where the highest probability is at most one half, and how many samples that are on average.</dd>
<dt>AUC, TPR</dt><dd>Membership attacks on the study's own fused answer, the strongest of them at each figure; a report, not a proof.</dd></dl></section>`,
    glossarySection(['epsilon', 'ece', 'robust', 'pools', 'product', 'mla']),
    `<footer>${SOFTWARE}</footer>`,
  ].join('\n');
  return renderPage({ wide: true, title: `${name}: experiment`, body, charts: plots.flat(), script: PLOT_SCRIPT, plotLibrary });
}
