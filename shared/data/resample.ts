/** Zero crossings of the sinc on each side. */
const CROSSINGS = 16;

/**
 * A sound at another rate: band-limited interpolation (J. O. Smith, "Digital Audio Resampling"), y[n] = sum_k x[k] h(n from/to - k) with
 * h(t) = sinc(c t) cos^2(pi c t / (2 CROSSINGS)), c = min(1, to/from), so that nothing above the lower of the two Nyquist frequencies is folded back.
 * Each output's weights add up to 1. Only the first `length` outputs, zeros beyond the sound's end.
 */
export function resample(sound: Float64Array, { from, to, length }: { readonly from: number; readonly to: number; readonly length: number }): Float64Array {
  const out = new Float64Array(length);
  const cutoff = Math.min(1, to / from);
  const reach = Math.ceil(CROSSINGS / cutoff);
  // Outputs n and n + to / gcd stand equally between their samples.
  const phases = new Map<number, Float64Array>();
  const available = Math.min(length, Math.ceil((sound.length * to) / from));
  for (let n = 0; n < available; n += 1) {
    const phase = (n * from) % to;
    const nearest = (n * from - phase) / to;
    let weights = phases.get(phase);
    if (weights === undefined) {
      weights = weightsAt({ offset: phase / to, cutoff, reach });
      phases.set(phase, weights);
    }
    const first = nearest - reach + 1;
    let sum = 0;
    for (let i = Math.max(0, -first); i < Math.min(weights.length, sound.length - first); i += 1) sum += weights[i]! * sound[first + i]!;
    out[n] = sum;
  }
  return out;
}

/** Of the samples from `reach - 1` before the position's whole part to `reach` after it. */
function weightsAt({ offset, cutoff, reach }: { readonly offset: number; readonly cutoff: number; readonly reach: number }): Float64Array {
  const weights = Float64Array.from({ length: 2 * reach }, (_, i) => {
    const t = cutoff * (offset - (i - reach + 1));
    if (Math.abs(t) >= CROSSINGS) return 0;
    const sinc = t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t);
    return sinc * Math.cos((Math.PI * t) / (2 * CROSSINGS)) ** 2;
  });
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
