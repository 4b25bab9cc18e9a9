import Table from 'cli-table3';
import { createLogUpdate } from 'log-update';
import { createColors } from 'picocolors';
import type { EpsilonOfDelta, StudyEvent } from '../coordinator/events.ts';
import { fusionRows } from '../coordinator/report/fusion-rows.ts';
import { legendLine } from '../coordinator/report/glossary.ts';
import { NO_EPSILON, NO_PRIVACY } from '../coordinator/report/no-privacy.ts';
import { roundsText } from '../coordinator/report/rounds-text.ts';
import { epsilonFigure } from '../shared/epsilon-text.ts';
import type { Evaluation, Metrics, Robustness } from '../shared/fusion/evaluation.ts';
import { counted } from '../shared/plural.ts';

export interface Display {
  readonly show: (event: StudyEvent) => void;
  readonly close: () => void;
}

export interface DisplayInput {
  readonly stream: NodeJS.WriteStream;
  /** May lines be drawn again? */
  readonly live: boolean;
  readonly color: boolean;
}

type EpsilonPairOfDelta = Extract<StudyEvent, { type: 'ended' }>['epsilonSpent'];
type Started = Extract<StudyEvent, { type: 'started' }>;

/** The study as it goes, on a terminal: a few lines drawn again and again; elsewhere one plain line per event. */
export function createDisplay({ stream, live: isLive, color }: DisplayInput): Display {
  const paint = createColors(color);
  const live = isLive ? createLogUpdate(stream) : undefined;
  const print = (line: string): void => {
    live?.clear();
    stream.write(`${line}\n`);
  };
  let started: Started | undefined;
  let test: Evaluation | undefined;
  let robustness: readonly Robustness[] | undefined;
  let last: Evaluation | undefined;
  let round: Extract<StudyEvent, { type: 'round-started' }> | undefined;
  let spent: EpsilonOfDelta | undefined;
  let over = false;
  const seconds: number[] = [];
  const connected = new Set<string>();

  const redraw = (): void => {
    if (live === undefined || started === undefined || round === undefined) return;
    const { rounds } = started;
    const width = 30;
    const filled = Math.round((width * Math.max(0, round.round - 1)) / rounds);
    const eta = seconds.length === 0 ? '' : ` · about ${Math.ceil(((rounds - round.round + 1) * seconds.reduce((a, b) => a + b, 0)) / seconds.length)} s left`;
    live(
      [
        `${paint.bold(started.study)}  ${paint.cyan('█'.repeat(filled))}${paint.dim('░'.repeat(width - filled))}  round ${round.round}/${rounds}${eta}`,
        `  ${round.modality}: ${counted(round.cohort.length, 'site')} training · ${spentText(spent, started)}`,
        ...(last === undefined ? [] : [`  accuracy: ${accuracies(last)}`]),
      ].join('\n'),
    );
  };

  const show = (told: StudyEvent): void => {
    const event = withoutControls(told);
    switch (event.type) {
      case 'started':
        started = event;
        if (event.protection === 'none') print(paint.bgRed(paint.white(NO_PRIVACY)));
        print(`study ${paint.bold(event.study)} · ${counted(event.sites.length, 'site')}, ${counted(event.modalities.length, 'modality', 'modalities')}, ${counted(event.rounds, 'round')} · ${privacyText(event)}`);
        print(paint.dim(`backend ${event.backendSummary ?? event.backend}`));
        if (event.resumedAfterRound > 0) print(`resumed after round ${event.resumedAfterRound}`);
        return;
      case 'listening':
        if (event.unaware !== undefined) print(`listening at ${event.url} for some seconds: ${event.unaware.join(', ')} may not know the end yet`);
        else print(paint.dim(`listening at ${event.url}; waiting for ${started === undefined ? 'its sites' : counted(started.sites.length, 'site')}`));
        // Of all that are missing one line each: the command that lets them in.
        for (const site of event.notEnrolled ?? []) print(paint.dim(`not enrolled yet: ${site}; its invite: npx antiphon coordinator invite --out ${started?.folder ?? 'FOLDER'} --site ${site}`));
        return;
      case 'site':
        if (event.state === 'connected') connected.add(event.site);
        if (event.state === 'disconnected') connected.delete(event.site);
        // On a terminal the rounds have the stage once they have begun.
        if (!over && (live === undefined || round === undefined || event.state === 'disconnected')) print(`site ${event.site} (${event.modality}) ${event.state}; ${connected.size} of ${started?.sites.length ?? '?'} connected`);
        return;
      case 'round-started':
        round = event;
        redraw();
        return;
      case 'round-ended':
        spent = event.epsilonSpent;
        seconds.push(event.seconds);
        if (event.outcome === 'aborted') print(paint.yellow(`round ${event.round} (${event.modality}) aborted: ${event.reason ?? ''}`));
        else if (live === undefined) print(`round ${event.round}/${started?.rounds ?? '?'} ${event.modality}: ${counted(event.sites.length, 'site')}, ${event.seconds.toFixed(2)} s, ${spentText(spent, started)}`);
        redraw();
        return;
      case 'evaluated':
        if (event.split === 'test') [test, robustness] = [event.evaluation, event.robustness];
        else {
          last = event.evaluation;
          if (live === undefined) print(`  after round ${event.round}: ${accuracies(last)}`);
          redraw();
        }
        return;
      case 'failure':
        print(paint.yellow(`${event.site ?? 'a connection'}: ${event.code}: ${event.message}`));
        return;
      case 'ended':
        over = true;
        live?.clear();
        if (test !== undefined && started !== undefined) print(resultTable(test, started.pool, color));
        if (test !== undefined && started !== undefined && robustness !== undefined) print(robustnessTable(test, { robustness, pool: started.pool, color }));
        if (test !== undefined) print(paint.dim(legendLine(['ece', 'perfect', 'nll'])));
        print(`${event.reason}: ${event.detail}`);
        if (event.roundsPerModality !== undefined) print(`rounds given out: ${roundsText(event.roundsPerModality)}`);
        print(`${endText(event.epsilonSpent, started, paint.bold)} · ${counted(event.roundsCommitted, 'round')} · ${event.seconds.toFixed(1)} s`);
        if (started?.protection === 'none') print(paint.bgRed(paint.white(NO_PRIVACY)));
        if (started !== undefined) {
          print(`files in ${paint.bold(started.folder)}: report.html, ledger.jsonl, metrics.jsonl, study.yaml, checkpoints/`);
          print(paint.dim(`next: open report.html; check the budget with: npx antiphon audit ${started.folder}`));
        }
    }
  };
  return {
    show,
    close: () => {
      live?.done();
    },
  };
}

/** Sites and strangers choose some of the texts: nothing of them may steer a terminal. */
function withoutControls(event: StudyEvent): StudyEvent {
  return JSON.parse(JSON.stringify(event), (_key, value: unknown) => (typeof value === 'string' ? value.replaceAll(/\p{Cc}/gu, '?') : value)) as StudyEvent;
}

export function epsilonText(value: EpsilonOfDelta | undefined): string {
  return value === undefined ? '0' : figure(value.epsilon);
}

function spentText(spent: EpsilonOfDelta | undefined, started: Started | undefined): string {
  return started?.protection === 'none' ? NO_EPSILON : `epsilon ${epsilonText(spent)} of ${epsilonText(started?.budget)}`;
}

function endText(spent: EpsilonPairOfDelta, started: Started | undefined, bold: (text: string) => string): string {
  if (started?.protection === 'none') return NO_EPSILON;
  return `epsilon spent ${bold(epsilonText(spent))} of ${epsilonText(started?.budget)} (delta ${spent.delta}; PLD ${figure(spent.pld)}, RDP ${figure(spent.rdp)})`;
}

function figure(epsilon: number | null): string {
  return epsilon === null ? 'infinity' : String(Number(epsilonFigure(epsilon, 3)));
}

function privacyText({ protection, budget }: Started): string {
  return protection === 'none' ? NO_EPSILON : `epsilon at most ${epsilonText(budget)}, delta ${budget.delta}`;
}

function accuracies(evaluation: Evaluation): string {
  const parts = Object.entries(evaluation.perModality).map(([name, { accuracy }]) => `${name} ${(100 * accuracy).toFixed(1)} %`);
  return [...parts, `fused ${(100 * evaluation.fused.hybrid.accuracy).toFixed(1)} %`].join(' · ');
}

/** Few lines, and no colour where none is wanted. */
export function tableStyle(color: boolean): NonNullable<Table.TableConstructorOptions['style']> {
  return { compact: true, head: color ? ['bold'] : [], border: color ? ['gray'] : [] };
}

function resultTable(test: Evaluation, pool: Started['pool'], color: boolean): string {
  const table = new Table({ head: ['test part', 'accuracy', 'weighted F1', 'ECE 10', 'ECE 15', 'if perfect', 'NLL'], colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right'], style: tableStyle(color) });
  const row = (name: string, m: Metrics): string[] => [name, ...[m.accuracy, m.weighted.f1, m.ece10, m.ece15, m.ece15Perfect].map((x) => `${(100 * x).toFixed(1)} %`), m.nll.toFixed(3)];
  for (const [name, metrics] of Object.entries(test.perModality)) table.push(row(`${name} alone (${metrics.samples})`, metrics));
  for (const [rule, name] of fusionRows(pool)) table.push(row(name, test.fused[rule]));
  return table.toString();
}

const SHOWN_SHARE = 0.3;

function robustnessTable(test: Evaluation, { robustness, pool, color }: { readonly robustness: readonly Robustness[]; readonly pool: Started['pool']; readonly color: boolean }): string {
  const kinds = robustness.filter(({ share }) => share === SHOWN_SHARE);
  const table = new Table({ head: [`one modality fails ${100 * SHOWN_SHARE} %`, 'intact', ...kinds.map(({ degradation }) => degradation)], colAligns: ['left', ...kinds.map(() => 'right' as const), 'right'], style: tableStyle(color) });
  for (const [rule, name] of fusionRows(pool)) {
    table.push([name, ...[test.fused[rule], ...kinds.map(({ fused }) => fused[rule])].map(({ accuracy, ece15 }) => `${(100 * accuracy).toFixed(1)} % (ECE ${(100 * ece15).toFixed(1)})`)]);
  }
  return `${table.toString()}\nunder "calibration: selection" the study's rule also weighs the reliability of each record; the compared rules have temperatures only`;
}

/** The one JSON object of `--json`; the test part where it was evaluated, else the last selection part. */
export function summaryJson(events: readonly StudyEvent[]): Record<string, unknown> {
  const started = events.filter((event) => event.type === 'started').at(-1);
  const ended = events.filter((event) => event.type === 'ended').at(-1);
  const evaluations = events.filter((event) => event.type === 'evaluated');
  const evaluated = evaluations.filter(({ split }) => split === 'test').at(-1) ?? evaluations.at(-1);
  const evaluation = evaluated?.evaluation;
  const metrics = evaluation === undefined ? [] : [...Object.entries(evaluation.perModality), ...Object.entries(evaluation.fused)];
  const pick = (valueOf: (m: Metrics) => number): Record<string, number> => Object.fromEntries(metrics.map(([name, m]) => [name, valueOf(m)]));
  return {
    study: started?.study,
    folder: started?.folder,
    reason: ended?.reason,
    detail: ended?.detail,
    protection: started?.protection,
    rounds: ended?.roundsCommitted ?? 0,
    ...(ended?.roundsPerModality === undefined ? {} : { roundsPerModality: ended.roundsPerModality }),
    epsilon: ended?.epsilonSpent.epsilon ?? null,
    delta: ended?.epsilonSpent.delta ?? null,
    accountants: { binding: started?.accountant, pld: ended?.epsilonSpent.pld ?? null, rdp: ended?.epsilonSpent.rdp ?? null },
    accuracy: pick((m) => m.accuracy),
    ece10: pick((m) => m.ece10),
    ece15: pick((m) => m.ece15),
    calibrations: evaluated?.calibrations,
    temperatures: evaluated?.temperatures,
    robustness: evaluated?.robustness,
    seconds: ended?.seconds,
    peakMemoryMiB: ended?.peakMemoryMiB,
    backend: started?.backend,
  };
}
