/**
 * How like the public selection records a record is. Nothing here comes from private data, and nothing is trained: two moments of each encoder
 * input, and how far records of the selection part lie from them.
 */
export interface Typical {
  /** Of each encoder input over the selection records: [size], or [vocabulary], of each token's share of a record. */
  readonly mean: Float64Array;
  readonly variance: Float64Array;
  /** Mean and standard deviation of the records' log distance. */
  readonly centre: number;
  readonly spread: number;
}

export interface Inputs {
  /** [records, size] row-major, as the encoder sees them. */
  readonly features: Float32Array;
  /** 1 where the record is there. */
  readonly present: Uint8Array;
  readonly size: number;
  /** Where the encoder looks tokens up: features are token numbers below this, 0 none. */
  readonly vocabulary?: number | undefined;
}

/** Fewer records show no spread. */
const FEWEST = 20;
/** Share of the mean variance that every input has at least: one that never varies would make everything else a surprise. */
const LEAST_VARIANCE = 0.01;

/** Undefined where there are too few records, or all are alike. */
export function typicalOf(inputs: Inputs): Typical | undefined {
  const { present, vocabulary } = inputs;
  const size = vocabulary ?? inputs.size;
  const rows = Array.from(present.keys()).filter((i) => present[i] === 1);
  if (rows.length < FEWEST) return undefined;
  const mean = new Float64Array(size);
  const variance = new Float64Array(size);
  const read = measureOf(inputs);
  for (const i of rows) read(i).forEach((value, j) => (mean[j]! += value / rows.length));
  for (const i of rows) read(i).forEach((value, j) => (variance[j]! += (value - mean[j]!) ** 2 / rows.length));
  const average = variance.reduce((a, b) => a + b, 0) / size;
  // Rounding is no variance.
  if (!(average > 1e-12 * mean.reduce((sum, m) => sum + m * m, 0))) return undefined;
  for (let j = 0; j < size; j += 1) variance[j]! += LEAST_VARIANCE * average;
  const distances = rows.map((i) => logDistance({ mean, variance }, read(i)));
  const centre = distances.reduce((a, b) => a + b, 0) / rows.length;
  const spread = Math.sqrt(distances.reduce((sum, d) => sum + (d - centre) ** 2, 0) / rows.length);
  return spread > 0 ? { mean, variance, centre, spread } : undefined;
}

/** Of every record: its log distance in standard deviations of the selection records'. Both ends are unusual: noise lies far out, a nearly empty record too near. */
export function atypicality(typical: Typical, inputs: Inputs): Float64Array {
  const read = measureOf(inputs);
  return Float64Array.from(inputs.present, (_, i) => (logDistance(typical, read(i)) - typical.centre) / typical.spread);
}

/** ln of the mean over the inputs of (x - mean)^2 / variance. */
function logDistance({ mean, variance }: Pick<Typical, 'mean' | 'variance'>, record: Float32Array): number {
  let sum = 0;
  for (let j = 0; j < record.length; j += 1) sum += (record[j]! - mean[j]!) ** 2 / variance[j]!;
  return Math.log(sum / record.length + 1e-6);
}

/** What moments mean something of: a record's own numbers, or each token's share of it. Valid until the next call. */
function measureOf({ features, size, vocabulary }: Inputs): (record: number) => Float32Array {
  const numbers = (record: number): Float32Array => features.subarray(record * size, (record + 1) * size);
  if (vocabulary === undefined) return numbers;
  const shares = new Float32Array(vocabulary);
  return (record) => {
    shares.fill(0);
    const tokens = numbers(record).filter((token) => token !== 0);
    for (const token of tokens) shares[token]! += 1 / tokens.length;
    return shares;
  };
}

/** With fewer inputs, all being equal means nothing. */
const FEWEST_INPUTS = 8;

/** `present` without the records whose encoder inputs are all one number, or that have no token: a blank picture, silence or an empty text says nothing, so the modality counts as missing. */
export function withoutBlanks({ features, present, size, vocabulary }: Inputs): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(present, (there, i) => {
    if (vocabulary !== undefined) return features.subarray(i * size, (i + 1) * size).some((token) => token !== 0) ? there : 0;
    if (there === 0 || size < FEWEST_INPUTS) return there;
    for (let j = 1; j < size; j += 1) if (features[i * size + j] !== features[i * size]) return 1;
    return 0;
  });
}
