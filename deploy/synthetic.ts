import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatNpy } from '../shared/data/npy.ts';
import { makeFolder } from '../shared/platform/folder.ts';

/**
 * Made-up patients who are short of breath, for the embedded study (deploy/studies/synthetic.yaml). Every modality alone confuses
 * another pair of diagnoses, so that the three together know clearly more than the best of them:
 * - `image`, a 12x12 chest picture: an embolism looks like a healthy chest;
 * - `sound`, a 16x16 log-mel of the breath: pneumonia and heart failure crackle alike;
 * - `table`, ten laboratory values with gaps: heart failure and embolism raise the same ones.
 */
export const DIAGNOSES = ['healthy', 'pneumonia', 'heart-failure', 'embolism'] as const;
type Diagnosis = (typeof DIAGNOSES)[number];

export const IMAGE_SIDE = 12;
export const SOUND_SIDE = 16;

/** Mean of the healthy, spread, shift by diagnosis (in spreads), digits after the point. */
const LABORATORY: Readonly<Record<string, { readonly mean: number; readonly spread: number; readonly shift: Partial<Record<Diagnosis, number>>; readonly digits: number }>> = {
  age: { mean: 58, spread: 12, shift: { 'heart-failure': 0.7, embolism: 0.3 }, digits: 0 },
  temperature: { mean: 36.8, spread: 0.5, shift: { pneumonia: 1.3 }, digits: 1 },
  heart_rate: { mean: 76, spread: 12, shift: { pneumonia: 0.6, 'heart-failure': 0.7, embolism: 1.1 }, digits: 0 },
  oxygen_saturation: { mean: 97, spread: 1.5, shift: { pneumonia: -0.8, 'heart-failure': -0.8, embolism: -0.9 }, digits: 1 },
  white_cells: { mean: 7, spread: 2, shift: { pneumonia: 1.2 }, digits: 1 },
  crp: { mean: 12, spread: 10, shift: { pneumonia: 1.4, embolism: 0.2 }, digits: 0 },
  bnp: { mean: 120, spread: 80, shift: { pneumonia: 0.2, 'heart-failure': 1.4, embolism: 1.1 }, digits: 0 },
  d_dimer: { mean: 0.6, spread: 0.4, shift: { pneumonia: 0.3, 'heart-failure': 1, embolism: 1.3 }, digits: 2 },
  systolic_pressure: { mean: 132, spread: 16, shift: { 'heart-failure': -0.3, embolism: -0.4 }, digits: 0 },
  creatinine: { mean: 0.95, spread: 0.25, shift: { 'heart-failure': 0.6 }, digits: 2 },
};
/** Probability that a laboratory value was not taken. */
const GAP = 0.06;

/**
 * Of every 20 patients these lack a modality (by place in the twenty): fixed, so that the caps of the study file hold for every seed.
 * 15 % have no image, 15 % no sound, 10 % no table; nobody lacks all three.
 */
const LACKING: ReadonlyMap<number, readonly string[]> = new Map([
  [1, ['image']],
  [3, ['sound']],
  [6, ['image']],
  [8, ['table']],
  [11, ['sound']],
  [14, ['image', 'sound']],
  [17, ['table']],
]);

/**
 * Writes `image.csv`, `image.npy`, `sound.csv`, `sound.npy` and `table.csv`. `patients` train at the hospitals north and south (1200); a
 * sixth more are for selection, a third more for the test. The same seed gives the same bytes.
 */
export async function writeSyntheticData(folder: string, options: { readonly seed: number; readonly patients?: number }): Promise<void> {
  const patients = options.patients ?? 1200;
  await makeFolder(folder);
  const random = generator(options.seed);
  const images: Uint8Array[] = [];
  const sounds: Uint8Array[] = [];
  const laboratory = Object.keys(LABORATORY);
  const imageIndex = ['patient,split,hospital,diagnosis,row'];
  const soundIndex = ['patient,split,hospital,diagnosis,row'];
  const table = [['patient', 'split', 'hospital', 'diagnosis', ...laboratory].join(',')];

  const parts = [
    { split: 'train', count: patients },
    { split: 'selection', count: Math.ceil(patients / 6) },
    { split: 'test', count: Math.ceil(patients / 3) },
  ];
  let number = 0;
  for (const { split, count } of parts) {
    for (let i = 0; i < count; i += 1) {
      const diagnosis = DIAGNOSES[Math.floor(random.uniform() * DIAGNOSES.length)] ?? 'healthy';
      const line = [`p${String(number).padStart(5, '0')}`, split, Math.floor(i / 20) % 2 === 0 ? 'north' : 'south', diagnosis];
      const lacks = LACKING.get(i % 20) ?? [];
      number += 1;
      // Everything is drawn for everybody, so that what a patient lacks changes nobody else.
      const image = drawImage(diagnosis, random);
      const sound = drawSound(diagnosis, random);
      const values = drawTable(diagnosis, random);
      if (!lacks.includes('image')) imageIndex.push([...line, images.push(image) - 1].join(','));
      if (!lacks.includes('sound')) soundIndex.push([...line, sounds.push(sound) - 1].join(','));
      if (!lacks.includes('table')) table.push([...line, ...values].join(','));
    }
  }

  const write = (name: string, content: string | Uint8Array): Promise<void> => writeFile(join(folder, name), content);
  await write('image.csv', `${imageIndex.join('\n')}\n`);
  await write('image.npy', formatNpy({ shape: [images.length, IMAGE_SIDE, IMAGE_SIDE], data: joined(images, IMAGE_SIDE ** 2) }));
  await write('sound.csv', `${soundIndex.join('\n')}\n`);
  await write('sound.npy', formatNpy({ shape: [sounds.length, SOUND_SIDE, SOUND_SIDE], data: joined(sounds, SOUND_SIDE ** 2) }));
  await write('table.csv', `${table.join('\n')}\n`);
}

function joined(records: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(records.length * size);
  records.forEach((record, i) => {
    whole.set(record, i * size);
  });
  return whole;
}

/** [row, column]: two dark lungs, a bright heart; pneumonia adds an opacity in one lung, heart failure a wide heart and haze at the bases. */
function drawImage(diagnosis: Diagnosis, random: Generator): Uint8Array {
  const bump = (x: number, y: number, centre: { readonly x: number; readonly y: number; readonly wide: number; readonly high: number }): number =>
    Math.exp(-(((x - centre.x) / centre.wide) ** 2) - ((y - centre.y) / centre.high) ** 2);
  const brightness = 120 + 10 * random.normal();
  const severity = 0.5 + 0.5 * random.uniform();
  const opacity = { x: random.uniform() < 0.5 ? 2.8 : 8.2, y: 3 + 4 * random.uniform(), wide: 1.8, high: 1.8 };
  const heart = { x: 6.2, y: 8, wide: diagnosis === 'heart-failure' ? 1.8 + 1.4 * severity : 1.8, high: 2.4 };
  return Uint8Array.from({ length: IMAGE_SIDE ** 2 }, (_, i) => {
    const x = i % IMAGE_SIDE;
    const y = Math.floor(i / IMAGE_SIDE);
    let light = brightness + 60 * bump(x, y, heart);
    light -= 55 * (bump(x, y, { x: 2.8, y: 5.5, wide: 2.2, high: 4 }) + bump(x, y, { x: 8.6, y: 5.5, wide: 2.2, high: 4 }));
    if (diagnosis === 'pneumonia') light += 75 * severity * bump(x, y, opacity);
    if (diagnosis === 'heart-failure') light += 30 * severity * bump(x, y, { x: 5.5, y: 11, wide: 6, high: 2.5 });
    return toByte(light + 22 * random.normal());
  });
}

/** [band, frame]: breaths as waves in the low bands, faster with an embolism; crackles as bursts in the high bands, alike in pneumonia and heart failure. */
function drawSound(diagnosis: Diagnosis, random: Generator): Uint8Array {
  const loudness = 100 + 12 * random.normal();
  const crackles = diagnosis === 'pneumonia' || diagnosis === 'heart-failure';
  const breaths = (diagnosis === 'embolism' ? 3 : 2) + 0.3 * random.normal();
  const phase = 0.08 * random.normal();
  const burst = Array.from({ length: SOUND_SIDE }, () => (crackles && random.uniform() < 0.35 ? 25 + 50 * random.uniform() : 0));
  return Uint8Array.from({ length: SOUND_SIDE ** 2 }, (_, i) => {
    const frame = i % SOUND_SIDE;
    const band = Math.floor(i / SOUND_SIDE);
    const wave = Math.sin(2 * Math.PI * (breaths * (frame / SOUND_SIDE) + phase));
    const high = 1 / (1 + Math.exp(8 - band));
    return toByte(loudness + 35 * wave * Math.exp(-band / 5) - 3 * band + (burst[frame] ?? 0) * high + 22 * random.normal());
  });
}

function drawTable(diagnosis: Diagnosis, random: Generator): string[] {
  return Object.values(LABORATORY).map(({ mean, spread, shift, digits }) => {
    const value = mean + spread * ((shift[diagnosis] ?? 0) + random.normal());
    const taken = random.uniform() >= GAP;
    return taken ? Math.max(0, value).toFixed(digits) : '';
  });
}

function toByte(value: number): number {
  return Math.round(Math.min(255, Math.max(0, value)));
}

interface Generator {
  /** [0, 1) */
  readonly uniform: () => number;
  /** Standard normal (Box and Muller 1958). */
  readonly normal: () => number;
}

/** A small seeded generator (mulberry32) for made-up data: never for keys, sampling or noise. */
function generator(seed: number): Generator {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { uniform, normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()) };
}
