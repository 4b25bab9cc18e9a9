import { escapeHtml, table } from '../coordinator/report/html.ts';
import { renderPage, type PlotLibrary } from '../coordinator/report/page.ts';
import { SOFTWARE } from '../shared/protocol/software.ts';
import type { PlanAnswer } from './plan-answer.ts';
import { assumptions, countText, curveHead, curveRows, epsilonText, headlines, MODALITY_HEAD, modalityRows } from './plan-text.ts';

/** Runs in the page, behind `draw` and on `charts`. */
const PLOT_SCRIPT = `
const curves = [{ name: 'by PLD', values: charts.pld }, { name: 'by RDP', values: charts.rdp }];
if (charts.budget !== null) curves.push({ name: 'budget', values: charts.rounds.map(() => charts.budget), dash: [6, 4] });
draw('epsilon', charts.rounds, curves, { x: charts.unit, y: 'epsilon (no unit)', whole: true, range: (u, low, high) => [0, 1.08 * Math.max(high, charts.budget ?? 0)] });
`;

/** One self-contained page: no request leaves it. Pure. */
export function planPage(answer: PlanAnswer, plotLibrary: PlotLibrary): string {
  const { plan, budget, noiseMultiplier, epsilon, roundsThatFit, curve } = answer;
  const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
  const data = {
    unit: plan.unit,
    rounds: curve.map(({ round }) => round),
    pld: curve.map((point) => finite(point.epsilon.pld)),
    rdp: curve.map((point) => finite(point.epsilon.rdp)),
    budget: budget ?? null,
  };
  const cards: readonly (readonly [string, string, string])[] = [
    ['Noise multiplier', String(noiseMultiplier), answer.calibrated === undefined ? 'as given' : plan.binding === 'rdp' ? 'by RDP, which the study binds' : `by PLD; ${answer.calibrated.rdp === Infinity ? 'none reaches it' : answer.calibrated.rdp} by RDP`],
    ['Epsilon by PLD', epsilonText(epsilon.pld), `after ${plan.rounds} ${plan.unit}s, δ = ${plan.delta}`],
    ['Epsilon by RDP', epsilonText(epsilon.rdp), 'holds where the plan changes, too'],
    [
      'Budget',
      budget === undefined ? '–' : String(budget),
      roundsThatFit === undefined ? 'none given' : `${countText(roundsThatFit.pld)} ${plan.unit}s fit by PLD, ${countText(roundsThatFit.rdp)} by RDP`,
    ],
  ];
  const cells = (rows: readonly (readonly string[])[]): readonly (readonly string[])[] => rows.map((row) => row.map(escapeHtml));
  const card = ([name, value, note]: (typeof cards)[number]): string => `<div class="card"><span>${name}</span><b>${escapeHtml(value)}</b><small>${escapeHtml(note)}</small></div>`;
  const caption = `Spent after each ${plan.unit}${budget === undefined ? '' : ', against the budget'}`;
  const body = [
    `<header><p class="eyebrow">Antiphon plan</p><h1>${escapeHtml(plan.title)}</h1><p class="muted">Nothing has been run: this is what the study's numbers mean.</p></header>`,
    `<div class="cards">${cards.map(card).join('')}</div>`,
    `<section><h2>Epsilon over the ${plan.unit}s</h2><figure><figcaption>${caption}</figcaption><div id="epsilon"></div></figure></section>`,
    `<section><h2>Answers</h2>${table(['', ''], cells(headlines(answer)))}</section>`,
    `<section><h2>Modalities</h2>${table(MODALITY_HEAD, cells(modalityRows(plan)))}</section>`,
    `<section><h2>Along the way</h2>${table(curveHead(answer), cells(curveRows(answer)))}</section>`,
    `<section><h2>What is assumed</h2><p>${escapeHtml(assumptions(plan))}</p></section>`,
    `<footer>${SOFTWARE}</footer>`,
  ].join('\n');
  return renderPage({ title: `${plan.title}: plan`, body, charts: data, script: PLOT_SCRIPT, plotLibrary });
}

/** A round number near a fifth of the range: 1, 2 or 5 times a power of ten. */
function tickStep(range: number): number {
  const power = 10 ** Math.floor(Math.log10(range / 5));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => range / step <= 6) ?? 10 * power;
}

function ticks(most: number): readonly number[] {
  const step = tickStep(most);
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

const [WIDTH, HEIGHT] = [760, 440];
const FRAME = { left: 64, right: 24, top: 52, bottom: 56 };

/** The same plot as a drawing of its own. Pure. */
export function planSvg({ plan, budget, noiseMultiplier, curve }: PlanAnswer): string {
  const finite = curve.filter(({ epsilon }) => Number.isFinite(epsilon.pld) && Number.isFinite(epsilon.rdp));
  const most = 1.08 * Math.max(1e-9, budget ?? 0, ...finite.map(({ epsilon }) => Math.max(epsilon.pld, epsilon.rdp)));
  const x = (round: number): number => FRAME.left + ((WIDTH - FRAME.left - FRAME.right) * round) / plan.rounds;
  const y = (epsilon: number): number => HEIGHT - FRAME.bottom - ((HEIGHT - FRAME.top - FRAME.bottom) * epsilon) / most;
  const at = (value: number): string => value.toFixed(1);
  const path = (valueOf: (point: (typeof finite)[number]) => number): string =>
    finite.map((point, i) => `${i === 0 ? 'M' : 'L'}${at(x(point.round))} ${at(y(valueOf(point)))}`).join(' ');
  const [bottom, right] = [HEIGHT - FRAME.bottom, WIDTH - FRAME.right];
  const grid = [
    ...ticks(most).map((value) => `<path d="M${FRAME.left} ${at(y(value))}H${right}" stroke="#e5e7eb"/><text x="${FRAME.left - 8}" y="${at(y(value) + 4)}" text-anchor="end">${value}</text>`),
    ...ticks(plan.rounds).map((value) => `<path d="M${at(x(value))} ${bottom}v5" stroke="#5b6472"/><text x="${at(x(value))}" y="${bottom + 20}" text-anchor="middle">${value}</text>`),
  ];
  const dashed = ' stroke-dasharray="6 4"';
  const legend: readonly (readonly [string, string, string])[] = [['by PLD', '#1d4ed8', ''], ['by RDP', '#b45309', ''], ...(budget === undefined ? [] : [['budget', '#be123c', dashed] as const])];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="13" fill="#1f2430">
<title>${escapeHtml(`Epsilon over the ${plan.unit}s of ${plan.title}`)}</title>
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
<text x="${FRAME.left}" y="24" font-size="16" font-weight="600">${escapeHtml(plan.title)}: epsilon at delta ${plan.delta}, noise multiplier ${noiseMultiplier}</text>
${grid.join('\n')}
<path d="M${FRAME.left} ${FRAME.top}V${bottom}H${right}" fill="none" stroke="#5b6472"/>
<path d="${path(({ epsilon }) => epsilon.rdp)}" fill="none" stroke="#b45309" stroke-width="1.5"/>
<path d="${path(({ epsilon }) => epsilon.pld)}" fill="none" stroke="#1d4ed8" stroke-width="3"/>
${budget === undefined ? '' : `<path d="M${FRAME.left} ${at(y(budget))}H${right}" stroke="#be123c" stroke-width="1.5"${dashed}/>`}
${legend.map(([name, stroke, dash], i) => `<path d="M${FRAME.left + 120 * i} 40h24" stroke="${stroke}" stroke-width="2.5"${dash}/><text x="${FRAME.left + 30 + 120 * i}" y="44">${name}</text>`).join('\n')}
<text x="${(FRAME.left + right) / 2}" y="${HEIGHT - 12}" text-anchor="middle">${plan.unit}</text>
<text transform="translate(18 ${(FRAME.top + bottom) / 2}) rotate(-90)" text-anchor="middle">epsilon</text>
</svg>
`;
}
