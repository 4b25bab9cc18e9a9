import type { StepLoss } from './pld-step.ts';

/**
 * One step's privacy loss, replaced by a distribution on multiples of the grid step that is no better for privacy: between two neighbouring
 * "dots" all mass goes to the two of them, so that mass under P and under Q stays what it was ("connect the dots", Doroshenko, Ghazi, Kamath,
 * Kumar, Manurangsi 2022, 2207.04380). That spreads Q/P and keeps its mean, under which every hockey-stick divergence grows (Jensen).
 */
export interface Dots {
  /** Losses in grid steps, in no order; an index may occur twice. */
  readonly indices: readonly number[];
  /** P-mass at each, >= 0. */
  readonly masses: readonly number[];
  /** P-mass whose loss counts as infinite. */
  readonly infinity: number;
}

/** Each mass is computed to this, relative (quadrature and rounding); the accountant charges it. */
export const MASS_ERROR = 4e-13;

type Rule = readonly (readonly [node: number, weight: number])[];
/** Gauss and Legendre on [0, 1]. */
const onUnit = (rule: Rule): Rule => rule.flatMap(([x, w]): Rule => (x === 0 ? [[0.5, w / 2]] : [[0.5 * (1 - x), w / 2], [0.5 * (1 + x), w / 2]]));
const GAUSS_3 = onUnit([[0, 8 / 9], [Math.sqrt(0.6), 5 / 9]]);
const GAUSS_6 = onUnit([[0.23861918608319690863, 0.46791393457269104739], [0.66120938646626451366, 0.36076157304813860757], [0.93246951420315202781, 0.1713244923791703450]]);

/** Within a panel this wide, in units of what the integrand's logarithm changes on, six nodes are exact to 2e-14, within a narrow one three to 2e-13. */
const PANEL = 0.5;
const NARROW = 0.02;
/** P-mass below the first dot is moved up to it: farther left it is below e^-50 of the tilted whole, or of P. */
const LEFT = 13;
const NEGLIGIBLE = 50;
const MOST_DOTS = 2 ** 21;
const FARTHEST_INDEX = 2 ** 50;
const HALF_LOG_TAU = 0.5 * Math.log(2 * Math.PI);

export interface DotsInput {
  readonly step: StepLoss;
  readonly gridStep: number;
  /** Where precision is wanted: under e^(tilt L) P. Away from there the dots lie wider apart, still on the grid. */
  readonly tilt: number;
  /** ln E[e^(tilt L)] and the variance under the tilt, roughly. */
  readonly log: number;
  readonly variance: number;
  /** P-mass that may count as infinite loss. */
  readonly tailMass: number;
  /** Widest spacing of the dots, where a step's loss decides alone, and the P-density of losses (per unit of loss) below which it does not any more. */
  readonly widest: number;
  readonly densityThatCounts: number;
}

/** Undefined where it would take millions of dots, or indices that doubles cannot count. */
export function connectTheDots({ step, gridStep, tilt, log, variance, tailMass, widest, densityThatCounts }: DotsInput): Dots | undefined {
  const { loss, slope, inverse, logDensity, mu } = step;
  const indices: number[] = [];
  const masses: number[] = [];
  const last = quantile(step, tailMass);
  const first = Math.min(last - 1e-3, Math.max(-LEFT, inverse((log - NEGLIGIBLE) / tilt)));
  const scaleAt = (t: number): number => Math.max(1, Math.abs(t), mu);
  /** Spacing grows with the inverse cube root of the density, which is best for a given number of dots; this is 0.15 of a normal's peak. */
  const dense = Math.log(0.15 / Math.max(gridStep, Math.sqrt(variance))) - HALF_LOG_TAU;

  let low = Math.floor(loss(first) / gridStep);
  let from = first;
  let carried = step.massBelow(first);
  while (from < last) {
    if (indices.length > MOST_DOTS || !(Math.abs(low) < FARTHEST_INDEX)) return undefined;
    const at = loss(from);
    const logDensityOfLoss = logDensity(from, at) - HALF_LOG_TAU - Math.log(slope(from));
    const byTilt = Math.exp((dense - logDensityOfLoss - tilt * at + log) / 3) * gridStep;
    const alone = widest * Math.max(1, Math.exp((Math.log(densityThatCounts) - logDensityOfLoss) / 3));
    const spacing = Math.min(byTilt, alone, (slope(from) * PANEL) / scaleAt(from), 0.3 / tilt);
    const high = low + Math.max(1, Math.floor(spacing / gridStep));
    const [lowLoss, highLoss] = [low * gridStep, high * gridStep];
    const to = Math.min(last, Math.max(from, inverse(highLoss)));
    const whole = Math.expm1(lowLoss - highLoss);
    let below = 0;
    let above = 0;
    const panels = Math.max(1, Math.ceil(((to - from) * Math.max(scaleAt(from), scaleAt(to))) / PANEL));
    const width = (to - from) / panels;
    const unit = width / Math.sqrt(2 * Math.PI);
    const rule = width * scaleAt(to) < NARROW ? GAUSS_3 : GAUSS_6;
    for (let panel = 0; panel < panels; panel += 1) {
      for (const [x, weight] of rule) {
        const t = from + (panel + x) * width;
        const l = loss(t);
        const density = weight * Math.exp(logDensity(t, l));
        if (l > highLoss) {
          // `inverse` is imprecise where the loss hardly changes: never down.
          indices.push(Math.ceil(l / gridStep));
          masses.push(density * unit);
          continue;
        }
        const up = Math.expm1(Math.min(0, lowLoss - l)) / whole;
        above += density * up;
        below += density * Math.exp(lowLoss - l) * (Math.expm1(l - highLoss) / whole);
      }
    }
    indices.push(low, high);
    masses.push(below * unit, above * unit + carried);
    carried = 0;
    low = high;
    from = to;
  }
  return { indices, masses, infinity: step.massAbove(last) };
}

/** A t above which at most so much P-mass lies, hardly less. */
function quantile({ massAbove, from, to }: StepLoss, mass: number): number {
  let [low, high] = [from, to];
  while (high - low > 1e-4 * Math.max(1, Math.abs(high))) {
    const middle = 0.5 * (low + high);
    if (massAbove(middle) <= mass) high = middle;
    else low = middle;
  }
  return high;
}
