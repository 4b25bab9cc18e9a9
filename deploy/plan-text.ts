import Table from 'cli-table3';
import { createColors } from 'picocolors';
import { epsilonFigure } from '../shared/epsilon-text.ts';
import type { GaussianEvent } from '../shared/privacy/event.ts';
import type { PlanAnswer } from './plan-answer.ts';
import type { EpsilonPair } from '../shared/privacy/accountant.ts';
import { LARGEST_NOISE } from '../shared/privacy/calibrate.ts';
import { isForPld, MOST_ROUNDS, type Plan } from './plan-model.ts';

export function epsilonText(epsilon: number): string {
  return epsilon === Infinity ? 'infinity' : epsilonFigure(epsilon, epsilon >= 100 ? 2 : 4);
}

export function countText(rounds: number): string {
  return rounds >= MOST_ROUNDS ? `${MOST_ROUNDS} or more` : String(rounds);
}

/** What must be true for the numbers to hold; one paragraph. */
export function assumptions(plan: Plan): string {
  const many = [...plan.modalities].filter(([, { sites }]) => sites.length > 1);
  const [apart, together] = [many.filter(([, { sitesDisjoint }]) => sitesDisjoint), many.filter(([, { sitesDisjoint }]) => !sitesDisjoint)];
  const namesOf = (modalities: typeof many): string => modalities.map(([name]) => name).join(', ');
  const overlap = [
    plan.modalities.size > 1 ? 'A patient may be at a site of every modality, so modalities add up.' : '',
    apart.length > 0 ? `No patient is at two sites of ${namesOf(apart)}, which each site signs, so there the worst site counts.` : '',
    together.length > 0 ? `A patient may be at every site of ${namesOf(together)}, so these add up, too.` : '',
  ];
  return [
    'Epsilon is that of one patient, added or removed, against everybody who sees everything that is released: all rounds, and every model between them, count as public.',
    'Each step takes each patient by an independent coin (Poisson sampling) that stays secret; each patient is clipped, and the noise is at least the multiplier times the clip norm.',
    ...overlap.filter((text) => text !== ''),
    'All sites take part in all rounds of their modality.',
    ...(plan.adaptive === undefined
      ? ['Both accountants give upper bounds. PLD, the tighter, is for a plan that is fixed in advance; RDP, at the one order that is best for the whole plan, also holds where the plan changes as it goes.']
      : [
          `Which modality trains is decided as the study goes, by scores of its released models on public records: of all that can come of it the dearest counts, in which one modality has as many ${plan.unit}s as it may and the others their least.`,
          isForPld(plan)
            ? 'Both accountants give upper bounds; PLD, the tighter, holds here because all modalities have one sampling rate and one noise multiplier, so that only the number of steps counts; RDP holds in any case.'
            : 'RDP, at the one order that is best for the dearest case, gives an upper bound; PLD does not hold for such a choice between different sampling rates, and its numbers are there for comparison only.',
        ]),
  ].join(' ');
}

/** What was asked, and the answer, in a few lines: [question, answer]. */
export function headlines({ plan, budget, noiseMultiplier, calibrated, epsilon, roundsThatFit }: PlanAnswer): readonly (readonly [string, string])[] {
  const unit = plan.unit;
  const binding = plan.binding;
  const fit = roundsThatFit === undefined ? [] : [[`${unit}s that fit`, `${countText(roundsThatFit.pld)} by PLD, ${countText(roundsThatFit.rdp)} by RDP; ${plan.rounds} planned`] as const];
  return [
    ...(budget === undefined ? [] : [['budget', `epsilon ${budget} at delta ${plan.delta}`] as const]),
    ['noise multiplier', calibrated === undefined ? `${noiseMultiplier}, as given` : binding === 'pld' ? `${calibrated.pld} is enough by PLD; ${calibrated.rdp === Infinity ? `by RDP none is (no more than ${LARGEST_NOISE} is tried)` : `by RDP it would be ${calibrated.rdp}`}` : `${calibrated.rdp} is enough by RDP, which the study binds`],
    ['epsilon', `${epsilonText(epsilon.pld)} by PLD, ${epsilonText(epsilon.rdp)} by RDP, after ${plan.rounds} ${unit}${plan.rounds === 1 ? '' : 's'}, at delta ${plan.delta}`],
    ...fit,
  ];
}

const LABEL = 18;
const WIDTH = 110;
const ROWS = 12;

function wrap(text: string): string {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1] ?? '';
    if (line.length + word.length + 1 > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.join('\n');
}

const styleOf = (color: boolean): object => ({ style: { compact: true, ...(color ? {} : { head: [], border: [] }) } });

export function modalityRows({ modalities, order, rounds, adaptive }: Plan): readonly (readonly string[])[] {
  return [...modalities].map(([name, { samplingRate, stepsPerRound, sites, sitesDisjoint }]) => {
    const taking = order.reduce((sum, other, place) => sum + (other === name ? Math.floor((rounds - place - 1) / order.length) + 1 : 0), 0);
    const bounds = adaptive?.bounds(rounds).get(name);
    const expected = sites.flatMap(({ patients }) => (patients === undefined ? [] : [Math.round(10 * samplingRate * patients) / 10]));
    const range = [...new Set([Math.min(...expected), Math.max(...expected)])].join(' to ');
    const disjoint = sites.length === 1 ? '' : sitesDisjoint ? ', disjoint' : ', may overlap';
    return [name, `${sites.length}${disjoint}`, String(samplingRate), `${bounds === undefined ? taking : `${bounds.least} to ${bounds.most}`} x ${stepsPerRound}`, expected.length === 0 ? '–' : range];
  });
}

export const MODALITY_HEAD = ['modality', 'sites', 'sampling rate', 'rounds x steps', 'patients a step'];

/** Points of the curve to print: a dozen, the last one among them. */
export function curveRows({ curve, budget, plan }: PlanAnswer): readonly (readonly string[])[] {
  const stride = Math.ceil(curve.length / ROWS);
  const shown = curve.filter((_, i) => (curve.length - 1 - i) % stride === 0);
  const share = (epsilon: EpsilonPair): string[] => (budget === undefined ? [] : [`${((100 * epsilon[plan.binding]) / budget).toFixed(0)} %`]);
  return shown.map(({ round, modality, epsilon }) => [String(round), ...(modality === undefined || plan.modalities.size === 1 ? [] : [modality]), epsilonText(epsilon.pld), epsilonText(epsilon.rdp), ...share(epsilon)]);
}

export function curveHead({ plan, budget }: PlanAnswer): readonly string[] {
  return [`after ${plan.unit}`, ...(plan.modalities.size > 1 && plan.adaptive === undefined ? ['trained'] : []), 'epsilon PLD', 'epsilon RDP', ...(budget === undefined ? [] : ['of the budget'])];
}

export function formatPlan(answer: PlanAnswer, { color, out }: { readonly color: boolean; readonly out: string | undefined }): string {
  const paint = createColors(color);
  const { plan, roundsThatFit } = answer;
  const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => {
    const drawn = new Table({ head: [...head], ...styleOf(color) });
    drawn.push(...rows.map((row) => [...row]));
    return drawn.toString();
  };
  const short = roundsThatFit !== undefined && roundsThatFit[plan.binding] < plan.rounds;
  return [
    paint.bold(`plan of ${plan.title}`),
    '',
    ...headlines(answer).map(([label, text]) => `${label.padEnd(LABEL)}${text}`),
    ...(short ? [paint.yellow(`${''.padEnd(LABEL)}the plan does not fit its budget: more noise, fewer ${plan.unit}s, or a larger budget`)] : []),
    '',
    table(MODALITY_HEAD, modalityRows(plan)),
    '',
    table(curveHead(answer), curveRows(answer)),
    '',
    wrap(assumptions(plan)),
    ...(out === undefined ? [] : ['', `plot in ${out}`]),
    '',
  ].join('\n');
}

const EVENTS_ASSUME = [
  'Epsilon is that of one patient who may be part of all of them, added or removed (sequential composition).',
  'Each step takes each patient by an independent coin (Poisson sampling) that stays secret.',
  'Both accountants give upper bounds. PLD, the tighter, is for mechanisms that are fixed in advance; RDP also holds where later ones depend on earlier results.',
].join(' ');

export interface EventsAnswer {
  readonly events: readonly GaussianEvent[];
  readonly epsilon: EpsilonPair;
  readonly delta: number;
  readonly color: boolean;
}

export function formatEvents({ events, epsilon, delta, color }: EventsAnswer): string {
  const paint = createColors(color);
  const steps = events.reduce((sum, event) => sum + event.steps, 0);
  return [
    paint.bold(`${events.length} mechanism${events.length === 1 ? '' : 's'}, ${steps} step${steps === 1 ? '' : 's'} together, at delta ${delta}`),
    '',
    `${'epsilon'.padEnd(LABEL)}${epsilonText(epsilon.pld)} by PLD, ${epsilonText(epsilon.rdp)} by RDP`,
    '',
    wrap(EVENTS_ASSUME),
    '',
  ].join('\n');
}
