import { epsilonFigure } from '../../shared/epsilon-text.ts';
import type { Evaluation, Metrics } from '../../shared/fusion/evaluation.ts';
import type { EpsilonOfDelta, StudyEvent } from '../events.ts';
import { chartScript, chartsOf } from './charts.ts';
import { fusionRows } from './fusion-rows.ts';
import { glossarySection } from './glossary.ts';
import { escapeHtml, percent, scrolling, table } from './html.ts';
import { NO_PRIVACY } from './no-privacy.ts';
import { renderPage, type PlotLibrary } from './page.ts';
import { roundsText } from './rounds-text.ts';

type Of<T extends StudyEvent['type']> = Extract<StudyEvent, { type: T }>;

export interface ReportInput {
  readonly events: readonly StudyEvent[];
  readonly studyYaml: string;
  readonly plotLibrary: PlotLibrary;
}

/** One self-contained page: no request leaves it. Pure. */
export function renderReport({ events, studyYaml, plotLibrary }: ReportInput): string {
  const of = <T extends StudyEvent['type']>(type: T): readonly Of<T>[] => events.filter((event): event is Of<T> => event.type === type);
  const started = of('started').at(-1);
  const ended = of('ended').at(-1);
  const tested = of('evaluated').filter(({ split }) => split === 'test').at(-1);
  const test = tested?.evaluation;
  const rounds = of('round-ended');
  const title = started?.study ?? 'study';
  const body = [
    banner(started),
    `<header><p class="eyebrow">Antiphon study report</p><h1>${escapeHtml(title)}</h1><p class="muted">${escapeHtml(statusOf(ended))}</p></header>`,
    figures({ started, ended, test, rounds }),
    `<section><h2>Rounds</h2><div class="charts"><figure><figcaption>Accuracy on the selection part</figcaption><div id="accuracy"></div></figure>${started?.protection === 'none' ? '' : '<figure><figcaption>Epsilon spent against the budget</figcaption><div id="epsilon"></div></figure>'}</div>${accountantNote(started)}</section>`,
    test === undefined ? `<section><h2>Result</h2><p>${untested({ ended, rounds }).sentence}</p></section>` : resultSection(test, started),
    tested === undefined ? '' : robustnessSection(tested, started),
    privacySection(started, ended),
    sitesSection(started, of('site')),
    problemsSection(rounds, of('failure')),
    `<section><h2>Settings</h2>${modalityTable(started)}<details><summary>study.yaml, as it was run</summary><pre>${escapeHtml(studyYaml)}</pre></details></section>`,
    glossarySection([...(started?.protection === 'none' ? [] : (['epsilon', 'pld', 'rdp'] as const)), ...(test === undefined ? [] : (['robust', 'pools', 'product', 'mla', 'temperature', 'discount'] as const))]),
    `<footer>${escapeHtml(started?.software ?? 'antiphon')} · study ${escapeHtml(started?.studyHash.slice(0, 16) ?? '')} · backend ${escapeHtml(started?.backendSummary ?? started?.backend ?? '')}</footer>`,
  ].join('\n');
  return renderPage({ title, body, charts: chartsOf(events), script: chartScript, plotLibrary });
}

function banner(started: Of<'started'> | undefined): string {
  return started?.protection === 'none'
    ? `<div class="alarm" role="alert"><strong>${NO_PRIVACY}</strong></div>`
    : '';
}

function statusOf(ended: Of<'ended'> | undefined): string {
  return ended === undefined ? 'not ended yet' : `${ended.reason}: ${ended.detail}`;
}

export function epsilonText({ epsilon, delta }: EpsilonOfDelta): string {
  return epsilon === null ? '∞ (no privacy)' : `${epsilonFigure(epsilon, 3)} at δ = ${delta}`;
}

function figures(input: { readonly started: Of<'started'> | undefined; readonly ended: Of<'ended'> | undefined; readonly test: Evaluation | undefined; readonly rounds: readonly Of<'round-ended'>[] }): string {
  const { started, ended, test, rounds } = input;
  const spent = ended?.epsilonSpent ?? rounds.at(-1)?.epsilonSpent;
  const budget = started?.budget.epsilon;
  const cards: readonly (readonly [string, string, string])[] = [
    ['Fused accuracy', test === undefined ? '–' : percent(test.fused.hybrid.accuracy), test === undefined ? untested({ ended, rounds }).short : `${test.samples} test samples`],
    ['Epsilon spent', spent === undefined ? '–' : spent.epsilon === null ? '∞' : epsilonFigure(spent.epsilon, 2), spent?.epsilon === null ? 'no privacy' : `of ${budget ?? '∞'}, δ = ${spent?.delta ?? '–'}`],
    ['Calibration error', test === undefined ? '–' : percent(test.fused.hybrid.ece15), test === undefined ? 'ECE, 15 bins' : `ECE, 15 bins; ${percent(test.fused.hybrid.ece15Perfect)} if perfect`],
    ['Rounds committed', String(rounds.filter(({ outcome }) => outcome === 'committed').length), `of ${started?.rounds ?? '?'} planned${ended?.roundsPerModality === undefined ? '' : `: ${roundsText(ended.roundsPerModality)}`}`],
    ['Sites', String(started?.sites.length ?? 0), `${started?.modalities.length ?? 0} modalities`],
  ];
  return `<div class="cards">${cards.map(([name, value, note]) => `<div class="card"><span>${name}</span><b>${escapeHtml(value)}</b><small>${escapeHtml(note)}</small></div>`).join('')}</div>`;
}

/** Why there is no number of the test part. */
function untested({ ended, rounds }: { readonly ended: Of<'ended'> | undefined; readonly rounds: readonly Of<'round-ended'>[] }): { readonly short: string; readonly sentence: string } {
  const committed = ended?.roundsCommitted ?? rounds.filter(({ outcome }) => outcome === 'committed').length;
  if (committed === 0) return { short: 'no round committed', sentence: 'No round committed, so there is no trained model, and no accuracy to show.' };
  if (ended?.reason !== 'completed' && ended?.reason !== 'budget-exhausted') return { short: 'not ended yet', sentence: 'The test part, where a study declares one, is looked at once, when all its rounds are over: this one has not come so far.' };
  return { short: 'no evaluation records', sentence: 'The study declares no evaluation records, so there is no accuracy to show.' };
}

function metricRow(name: string, m: Metrics): readonly string[] {
  const low = m.confAccLow === null ? '– (0)' : `${percent(m.confAccLow)} (${m.confAccLowCount})`;
  return [escapeHtml(name), String(m.samples), percent(m.accuracy), percent(m.weighted.f1), percent(m.macro.f1), percent(m.ece10), percent(m.ece15), percent(m.ece15Perfect), low, m.nll.toFixed(3)];
}

function resultSection(test: Evaluation, started: Of<'started'> | undefined): string {
  const rules = fusionRows(started?.pool ?? 'robust').map(([rule, name]) => metricRow(name, test.fused[rule]));
  const alone = Object.entries(test.perModality).map(([name, metrics]) => metricRow(`${name} alone`, metrics));
  const { confusion } = test.fused.hybrid;
  const weights = Object.entries(test.weights).map(([name, { mean, samples }]) => [escapeHtml(name), `<meter min="0" max="1" value="${mean.toFixed(3)}"></meter> ${mean.toFixed(2)}`, String(samples)]);
  return `<section><h2>Result on the test part</h2>${table(['', 'samples', 'accuracy', 'weighted F1', 'macro F1', 'ECE 10', 'ECE 15', 'ECE 15 if perfect', 'ConfAcc_Low (n)', 'NLL'], [...alone, ...rules])}
${TERMS}
<div class="charts"><figure><figcaption>Reliability of the fused answer: accuracy by confidence</figcaption><div id="reliability"></div></figure>
<figure><figcaption>Confusion of the fused answer, in samples</figcaption>${confusionTable(confusion, started?.classes ?? [])}</figure></div>
<h3>${weightsTitle(started?.pool ?? 'robust')}</h3>${table(['modality', 'weight', 'samples'], weights)}
<p class="note">Of each modality the mean is over the samples that have it: those of one sample add up to 1, these means need not.</p></section>`;
}

function weightsTitle(pool: Of<'started'>['pool']): string {
  return pool === 'robust' ? 'Mean fusion weight: how probably a modality is sound, as a share of all of them' : 'Mean fusion weight, by the uncertainty of each modality';
}

/** The same test samples with one modality failing some of them; a mean over the modalities. */
function robustnessSection({ evaluation, robustness = [], calibrations, temperatures }: Of<'evaluated'>, started: Of<'started'> | undefined): string {
  const kinds = robustness.filter(({ share }) => share === SHOWN_SHARE);
  const rows = fusionRows(started?.pool ?? 'robust').map(([rule, name]) => [escapeHtml(name), ...[evaluation.fused[rule], ...kinds.map(({ fused }) => fused[rule])].map(({ accuracy, ece15 }) => `${percent(accuracy)} <small>${percent(ece15)}</small>`)]);
  const degraded = kinds.length === 0 ? '' : `<h2>Where one modality fails ${percent(SHOWN_SHARE, 0)} of the samples</h2><p>Accuracy, and beside it the calibration error (ECE, 15 bins): noise of twice each input's spread, a blank record, another patient's record, no record. Every rule has its temperatures; only the study's rule and the robust product weigh each record's reliability, too, unless the study says <code>calibration: temperature</code> or <code>none</code>.</p>${table(['', 'intact', ...kinds.map(({ degradation }) => degradation)], rows)}`;
  const modalities = Object.entries(calibrations).map(([name, { temperature, discount }]) => [escapeHtml(name), temperature.toFixed(2), String(discount)]);
  const fitted = [...modalities, ...(temperatures.hybrid === undefined ? [] : [['all fused', temperatures.hybrid.toFixed(2), '']])];
  const calibration = fitted.length === 0 ? '' : `<h3>Calibration, fitted on the selection part</h3><p>Logits are divided by the temperature (above 1: the model was too sure), and, in the study's rule and the robust product, by more where a record is unlike all selection records.</p>${table(['', 'temperature', 'discount'], fitted)}`;
  return degraded + calibration === '' ? '' : `<section>${degraded}${calibration}</section>`;
}

const SHOWN_SHARE = 0.3;

const TERMS = `<p class="note"><strong>ECE</strong> (expected calibration error, over 10 or 15 bins of confidence): by how much, on average, stated confidence and accuracy differ; 0 % is best. <strong>If perfect</strong>: what exactly right confidences like these show on average on so few samples.
<strong>ConfAcc_Low (n)</strong>: accuracy on the n samples about which the model is unsure, its highest probability being at most 50 %.
<strong>NLL</strong>: mean negative log-likelihood of the true class, in nats; lower is better.
<strong>F1</strong>: harmonic mean of precision and recall, averaged over the classes, weighted by their samples or all alike (macro).</p>`;

function accountantNote(started: Of<'started'> | undefined): string {
  if (started === undefined || started.protection === 'none') return '';
  const [binding, other] = started.accountant === 'pld' ? ['PLD', 'RDP'] : ['RDP', 'PLD'];
  const isAdaptive = started.modalities.some(({ leastRounds }) => leastRounds !== undefined);
  const adaptive = isAdaptive ? ` Which modality trained was decided as the study went, by scores of its released models on public records; ${binding} holds for such choices${binding === 'PLD' ? ' here, because every step has the same sampling rate and noise multiplier' : ''}.` : '';
  return `<p class="note">Two accountants bound the same spending. This study holds the figure by ${binding} against its budget; the one by ${other} is for comparison, and may lie elsewhere.${adaptive}</p>`;
}

function confusionTable(confusion: readonly (readonly number[])[], classes: readonly string[]): string {
  const nameOf = (index: number): string => escapeHtml(classes[index] ?? index);
  const rows = confusion.map((row, truth) => {
    const total = Math.max(1, row.reduce((a, b) => a + b, 0));
    return `<tr><th scope="row">${nameOf(truth)}</th>${row.map((count) => `<td style="--share:${(count / total).toFixed(3)}">${count}</td>`).join('')}</tr>`;
  });
  return `${scrolling(`<table class="confusion"><thead><tr><th rowspan="2">true class ↓</th><th colspan="${confusion.length}">predicted class →</th></tr>
<tr>${confusion.map((_, c) => `<th scope="col">${nameOf(c)}</th>`).join('')}</tr></thead><tbody>${rows.join('')}</tbody></table>`)}
<p class="note">Every row is one true class; the stronger its colour, the larger the share of the row.</p>`;
}

function privacySection(started: Of<'started'> | undefined, ended: Of<'ended'> | undefined): string {
  if (started === undefined) return '';
  const spent = ended === undefined || started.protection === 'none' ? '' : `<p>Spent: <strong>${escapeHtml(epsilonText(ended.epsilonSpent))}</strong>; budget ${escapeHtml(epsilonText(started.budget))}.</p>`;
  const words =
    started.protection === 'none'
      ? `<p>${NO_PRIVACY}</p>`
      : `<p>Each patient is protected against the coordinator, the other sites and every reader of the models: whatever one of them sees, it would have been almost as likely without that
patient's records. <em>Epsilon</em> bounds how much more likely (a factor of at most e<sup>ε</sup>, but for a probability δ); it holds for the whole study together, every round and every modality.
Each site noised its updates itself, before they left it.</p>
<p>Assumed: sites follow the protocol and state their patients truly; sampling and noise stay secret; no patient is at two sites of a modality that the study declares disjoint. Not covered: a patient's own site;
the evaluation records, which the study declares public; poisoned updates; timing. Anyone can check the numbers with <code>npx antiphon audit ledger.jsonl</code>.</p>`;
  return `<section><h2>Privacy</h2>${spent}${words}</section>`;
}

function sitesSection(started: Of<'started'> | undefined, sites: readonly Of<'site'>[]): string {
  const last = new Map(sites.map((event) => [event.site, lastSeen(event)]));
  const rows = (started?.sites ?? []).map(({ site, modality, patients }) => [escapeHtml(site), escapeHtml(modality), `at most ${patients}`, `<span class="whole">${escapeHtml(last.get(site) ?? 'never seen')}</span>`]);
  return `<section><h2>Sites</h2>${table(['site', 'modality', 'patients', 'last seen'], rows)}</section>`;
}

function lastSeen({ time, state }: Of<'site'>): string {
  const when = `${time.slice(0, 19).replace('T', ' ')} UTC`;
  return state === 'disconnected' ? when : `${when} (${state})`;
}

function modalityTable(started: Of<'started'> | undefined): string {
  const rows = (started?.modalities ?? []).map((m) => [
    escapeHtml(m.modality),
    escapeHtml(m.encoder),
    String(m.parameters),
    `${m.leastRounds === undefined ? m.rounds : `${m.leastRounds} to ${m.rounds}`} x ${m.localSteps}`,
    String(m.samplingRate),
    m.clipNorm === null ? 'none' : String(m.clipNorm),
    m.noiseMultiplier === null ? 'none' : String(m.noiseMultiplier),
  ]);
  return table(['modality', 'encoder', 'weights', 'rounds x steps', 'sampling rate', 'clip norm', 'noise multiplier'], rows);
}

const FAILURES_SHOWN = 200;

function problemsSection(rounds: readonly Of<'round-ended'>[], failures: readonly Of<'failure'>[]): string {
  const rows = [
    ...rounds.filter(({ outcome }) => outcome === 'aborted').map(({ round, reason }) => [`round ${round}`, 'aborted', escapeHtml(reason ?? '')]),
    ...failures.slice(0, FAILURES_SHOWN).map(({ site, code, message }) => [escapeHtml(site ?? 'a stranger'), escapeHtml(code), escapeHtml(message)]),
    ...(failures.length > FAILURES_SHOWN ? [[`${failures.length - FAILURES_SHOWN} more`, '', 'all are in metrics.jsonl']] : []),
  ];
  return rows.length === 0 ? '' : `<section><h2>What went wrong</h2>${table(['where', 'what', 'why'], rows, 'prose')}</section>`;
}
