import type { StudyEvent } from '../events.ts';

/** The numbers behind the page's charts; null where a series has no point. */
export interface Charts {
  readonly accuracy: { readonly rounds: readonly number[]; readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[] };
  readonly epsilon: { readonly rounds: readonly number[]; readonly pld: readonly (number | null)[]; readonly rdp: readonly (number | null)[]; readonly budget: number | null };
  readonly reliability: { readonly confidence: readonly number[]; readonly accuracy: readonly (number | null)[] } | null;
}

export function chartsOf(events: readonly StudyEvent[]): Charts {
  const evaluations = events.filter((event) => event.type === 'evaluated');
  const selection = [...new Map(evaluations.filter(({ split }) => split === 'selection').map((event) => [event.round, event])).values()].sort((a, b) => a.round - b.round);
  const rounds = [...new Map(events.filter((event) => event.type === 'round-ended').map((event) => [event.round, event])).values()].sort((a, b) => a.round - b.round);
  const started = events.filter((event) => event.type === 'started').at(-1);
  const names = [...new Set(selection.flatMap(({ evaluation }) => Object.keys(evaluation.perModality)))];
  const test = evaluations.filter(({ split }) => split === 'test').at(-1)?.evaluation;
  const bins = test?.fused.hybrid.reliability;
  return {
    accuracy: {
      rounds: selection.map(({ round }) => round),
      series: [
        { name: 'fused', values: selection.map(({ evaluation }) => evaluation.fused.hybrid.accuracy) },
        ...names.map((name) => ({ name, values: selection.map(({ evaluation }) => evaluation.perModality[name]?.accuracy ?? null) })),
      ],
    },
    epsilon: { rounds: rounds.map(({ round }) => round), pld: rounds.map(({ epsilonSpent }) => epsilonSpent.pld), rdp: rounds.map(({ epsilonSpent }) => epsilonSpent.rdp), budget: started?.budget.epsilon ?? null },
    reliability: bins === undefined ? null : { confidence: bins.map((_, i) => (i + 0.5) / bins.length), accuracy: bins.map(({ count, accuracy }) => (count === 0 ? null : accuracy)) },
  };
}

/**
 * Runs in a page with uPlot: `draw(id, x, series, options)`. `options`: `x`, `y` axis titles; `range` of y; `format` its ticks; `value` one value of the legend, which shows
 * the last point until the pointer is over another; `whole` for an x that counts; `xRange`.
 */
export const drawScript = `
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
const ink = dark ? '#c9d1d9' : '#3d4451', line = dark ? '#30363d' : '#e5e7eb';
const palette = dark ? ['#7aa2f7', '#e0af68', '#9ece6a', '#f7768e', '#bb9af7', '#7dcfff'] : ['#1d4ed8', '#b45309', '#15803d', '#be123c', '#7e22ce', '#0e7490'];
const font = '12px system-ui, sans-serif';
const axis = { stroke: ink, grid: { stroke: line }, ticks: { stroke: line }, font, labelFont: font };
const pen = document.createElement('canvas').getContext('2d');
pen.font = font;
const widest = (u, ticks) => 20 + Math.ceil(Math.max(...(ticks ?? ['00']).map((tick) => pen.measureText(tick ?? '').width)));
const wholeSteps = Array.from({ length: 7 }, (_, e) => [1, 2, 5].map((m) => m * 10 ** e)).flat();
const figure = (v) => String(Number(v.toPrecision(4)));
function draw(id, x, series, options) {
  const place = document.getElementById(id);
  if (!place) return;
  if (x.length === 0) { place.textContent = 'nothing to draw'; return; }
  const size = () => ({ width: Math.max(220, place.clientWidth), height: 280 });
  const shown = (write) => (u, v, s, i) => { const at = u.data[s][i ?? x.length - 1]; return at === null || at === undefined ? '–' : write(at); };
  const plot = new uPlot({ ...size(), scales: { x: { time: false, range: options.xRange }, y: { range: options.range } },
    axes: [{ ...axis, label: options.x, labelSize: 22, ...(options.whole ? { incrs: wholeSteps } : {}) }, { ...axis, label: options.y, labelSize: 20, values: options.format, size: widest }],
    series: [{ label: options.x, value: shown(figure) }, ...series.map((s, i) => ({ label: s.name, value: shown(options.value ?? figure), stroke: palette[(s.color ?? i) % palette.length], width: i === 0 ? 3 : 1.5, dash: s.dash, spanGaps: true, points: { show: x.length < 40, size: i === 0 ? 6 : 4 } }))] },
    [x, ...series.map((s) => s.values)], place);
  plot.setLegend({ idx: null });
  addEventListener('resize', () => plot.setSize(size()));
}
`;

/** Runs behind it, on `charts`. */
export const chartScript = `
const share = (u, ticks) => ticks.map((t) => Math.round(100 * t) + ' %'), value = (v) => (100 * v).toFixed(1) + ' %';
const percent = { range: [0, 1], format: share, value };
draw('accuracy', charts.accuracy.rounds, charts.accuracy.series, { x: 'round', y: 'accuracy', whole: true, ...percent });
const epsilon = charts.epsilon, finite = epsilon.pld.every((e) => e !== null);
if (finite) draw('epsilon', epsilon.rounds, [{ name: 'spent (PLD)', values: epsilon.pld }, { name: 'spent (RDP)', values: epsilon.rdp }, { name: 'budget', values: epsilon.rounds.map(() => epsilon.budget), dash: [6, 4] }], { x: 'round', y: 'epsilon (no unit)', whole: true, range: (u, low, high) => [0, 1.08 * Math.max(high, epsilon.budget ?? 0)] });
if (charts.reliability) draw('reliability', charts.reliability.confidence, [{ name: 'accuracy', values: charts.reliability.accuracy }, { name: 'perfectly calibrated', values: charts.reliability.confidence, dash: [6, 4] }], { x: 'confidence (middle of its bin)', y: 'accuracy', xRange: [0, 1], ...percent });
`;
