/**
 * An independent accountant for tests: no grid of losses, no dots, nothing of shared/. delta(epsilon) by Fourier inversion of the tilted
 * characteristic function, which is itself a quadrature over the noise (spectrally exact: all integrands are analytic):
 *
 *   delta = M e^(-lambda epsilon) (1/P) sum_k phi(w_k) e^(-i w_k epsilon) / ((lambda + i w_k)(lambda + 1 + i w_k)),   w_k = 2 pi k / P,
 *
 * exact but for wrap-around (P is made generous) and for the frequencies left out (the sum goes on until they are below 1e-13).
 * Not a bound of any kind: it is compared with one. For compositions of some dozen steps and more, whose phi decays.
 */
export interface OraclePart {
  readonly samplingRate: number;
  readonly noiseMultiplier: number;
  readonly steps: number;
}

interface Nodes {
  readonly losses: Float64Array;
  readonly logWeights: Float64Array;
  readonly steps: number;
}

export interface Oracle {
  readonly delta: (epsilon: number) => number;
  /** The answer between half and twice `near`; NaN where it is not there. */
  readonly epsilon: (delta: number, near: number) => number;
}

function logMix(q: number, x: number): number {
  if (q === 1) return x;
  return x > 20 ? x + Math.log(q + (1 - q) * Math.exp(-x)) : x > -0.5 ? Math.log1p(q * Math.expm1(x)) : Math.log(1 - q + q * Math.exp(x));
}

/**
 * `tilt` should be roughly the one under which the mean loss is the epsilon asked for; any gives the same answer, more or less precisely.
 * Undefined where phi does not decay within the frequencies that the quadrature resolves: few steps, or rare sampling.
 */
export function pldOracle(parts: readonly OraclePart[], direction: 'remove' | 'add', tilt: number): Oracle | undefined {
  const spacing = 1 / 128;
  const nodes: readonly Nodes[] = parts.map(({ samplingRate: q, noiseMultiplier: sigma, steps }) => {
    const to = direction === 'remove' ? 12 + (tilt + 2) / sigma : 12;
    const count = Math.ceil((to + 12) / spacing);
    const losses = new Float64Array(count);
    const logWeights = new Float64Array(count);
    for (let i = 0; i < count; i += 1) {
      const t = -12 + i * spacing;
      const x = (direction === 'remove' ? t : -t) / sigma - 0.5 / sigma ** 2;
      losses[i] = direction === 'remove' ? logMix(q, x) : -logMix(q, x);
      logWeights[i] = -0.5 * t * t + (direction === 'remove' ? losses[i]! : 0) + tilt * losses[i]!;
    }
    return { losses, logWeights, steps };
  });
  let logMoment = 0;
  let mean = 0;
  let variance = 0;
  const weights = nodes.map(({ losses, logWeights, steps }) => {
    const top = logWeights.reduce((a, b) => Math.max(a, b));
    const own = logWeights.map((w) => Math.exp(w - top));
    const sum = own.reduce((a, b) => a + b);
    logMoment += steps * (top + Math.log((sum * spacing) / Math.sqrt(2 * Math.PI)));
    const normalised = own.map((w) => w / sum);
    const m = normalised.reduce((all, w, i) => all + w * losses[i]!, 0);
    mean += steps * m;
    variance += steps * normalised.reduce((all, w, i) => all + w * (losses[i]! - m) ** 2, 0);
    return normalised;
  });
  const period = 24 * Math.sqrt(variance) + 60 / tilt + Math.abs(mean);
  const terms: (readonly [number, number, number])[] = [];
  const rotations = nodes.map(({ losses }) => losses.map((l) => Math.cos((2 * Math.PI * l) / period)));
  const rotationsIm = nodes.map(({ losses }) => losses.map((l) => Math.sin((2 * Math.PI * l) / period)));
  const current = weights.map((w) => ({ re: w.slice(), im: new Float64Array(w.length) }));
  let quiet = 0;
  const steepest = Math.max(...parts.map(({ noiseMultiplier }) => 1 / noiseMultiplier));
  const most = Math.min(4000, (0.5 * period) / (2 * Math.PI * spacing * steepest));
  for (let k = 0; quiet < 40; k += 1) {
    if (k > most) return undefined;
    let log = 0;
    let angle = 0;
    nodes.forEach(({ steps }, n) => {
      const { re, im } = current[n]!;
      let [sumRe, sumIm] = [0, 0];
      for (let i = 0; i < re.length; i += 1) {
        sumRe += re[i]!;
        sumIm += im[i]!;
        const turned = re[i]! * rotations[n]![i]! - im[i]! * rotationsIm[n]![i]!;
        im[i] = re[i]! * rotationsIm[n]![i]! + im[i]! * rotations[n]![i]!;
        re[i] = turned;
      }
      log += 0.5 * steps * Math.log(sumRe * sumRe + sumIm * sumIm);
      angle += steps * Math.atan2(sumIm, sumRe);
    });
    const w = (2 * Math.PI * k) / period;
    // 1 / ((tilt + iw)(tilt + 1 + iw))
    const [a, b] = [tilt * (tilt + 1) - w * w, w * (2 * tilt + 1)];
    const magnitude = ((k === 0 ? 1 : 2) * Math.exp(log)) / (period * (a * a + b * b));
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    terms.push([w, magnitude * (c * a + s * b), magnitude * (s * a - c * b)]);
    quiet = magnitude * Math.hypot(a, b) < 1e-13 * Math.abs(terms[0]![1]) ? quiet + 1 : 0;
  }
  const delta = (epsilon: number): number => Math.exp(logMoment - tilt * epsilon) * terms.reduce((sum, [w, re, im]) => sum + re * Math.cos(w * epsilon) + im * Math.sin(w * epsilon), 0);
  return {
    delta,
    epsilon: (wanted, near) => {
      let [low, high] = [0.5 * near, 2 * near];
      if (!(delta(low) > wanted && delta(high) < wanted)) return NaN;
      for (let i = 0; i < 60; i += 1) {
        const middle = 0.5 * (low + high);
        if (delta(middle) > wanted) low = middle;
        else high = middle;
      }
      return high;
    },
  };
}
