import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import wavefile from 'wavefile';
import { seededUniform } from '../../shared/model/initialise.ts';

const EMOTIONS = ['ANG', 'DIS', 'FEA', 'HAP', 'NEU', 'SAD'];

/** Waves that differ by class and by clip, in -1..1. */
function sound(kind: number, of: number, seconds: number): Float64Array {
  return Float64Array.from({ length: Math.round(16_000 * seconds) }, (_, n) => 0.4 * Math.sin((2 * Math.PI * (200 + 350 * kind) * n) / 16_000) * Math.abs(Math.sin(n / 2000)) + 0.1 * Math.sin(12.9898 * (n + 7 * of)));
}

/** JPEG of stripes whose direction, and colours whose mix tell the class; the stripes are shifted a little by the clip. */
async function picture(kind: number, of: number, { width, height, stripes }: { readonly width: number; readonly height: number; readonly stripes: number }): Promise<Uint8Array> {
  const angle = (Math.PI * kind) / 6;
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
    return 128 + stripes * Math.sin((x * Math.cos(angle) + y * Math.sin(angle)) / 4 + 0.6 * Math.sin(of)) + 30 * Math.cos(kind + 2 * c);
  });
  return sharp(pixels, { raw: { width, height, channels: 3 } }).jpeg({ quality: 80 }).toBuffer();
}

/** The layout of crema-d.yaml, made up: `actors` who act every emotion `takes` times; one sound without samples, one clip without a picture. */
export async function writeCremaD(data: string, { actors, takes }: { readonly actors: number; readonly takes: number }): Promise<void> {
  for (const folder of ['AudioWAV', 'frames']) mkdirSync(join(data, 'crema-d', folder), { recursive: true });
  const lines = ['clip,actor,emotion,wav,frame,split'];
  for (let i = 0; i < actors * takes * EMOTIONS.length; i += 1) {
    const kind = i % EMOTIONS.length;
    const [actor, emotion, take] = [1001 + Math.floor(i / (takes * EMOTIONS.length)), EMOTIONS[kind] ?? '', Math.floor(i / EMOTIONS.length) % takes];
    const clip = `${actor}_T${take}_${emotion}_XX`;
    const wave = new wavefile.WaveFile();
    wave.fromScratch(1, 16_000, '16', i === 3 ? [] : sound(kind, i, 1.3 + 0.3 * (i % 5)).map((x) => Math.round(32_767 * x)));
    writeFileSync(join(data, 'crema-d', 'AudioWAV', `${clip}.wav`), wave.toBuffer());
    if (i !== 5) writeFileSync(join(data, 'crema-d', 'frames', `${clip}.jpg`), await picture(kind, i, { width: 170, height: 128, stripes: 70 }));
    lines.push(`${clip},${actor},${emotion},${clip}.wav,${i === 5 ? '' : `${clip}.jpg`},${i % 7 === 4 ? 'test' : 'train'}`);
  }
  writeFileSync(join(data, 'crema-d', 'clips.csv'), `${lines.join('\n')}\n`);
}

const MOODS: Readonly<Record<string, string>> = { negative: 'so sad, terrible day 😢', neutral: 'meeting at 10; agenda, "notes"', positive: 'Love this — great day! @friend' };

/** The layout of mvsa-single.yaml, made up; one picture is cut off. */
export async function writeMvsa(data: string, tweets: number): Promise<void> {
  mkdirSync(join(data, 'mvsa-single', 'data'), { recursive: true });
  const lines = ['id,mood,picture,text,split'];
  for (let i = 0; i < tweets; i += 1) {
    const [mood = '', text = ''] = Object.entries(MOODS)[i % 3] ?? [];
    const jpeg = await picture(2 * (i % 3), i, { width: 90 + (i % 4) * 30, height: 100, stripes: 6 });
    writeFileSync(join(data, 'mvsa-single', 'data', `${i}.jpg`), i === 6 ? jpeg.subarray(0, 300) : jpeg);
    lines.push(`${i},${mood},${i}.jpg,"${`${text} #tag${i}`.replaceAll('"', '""')}",${i % 10 === 8 ? 'test' : i % 10 === 9 ? 'selection' : 'train'}`);
  }
  writeFileSync(join(data, 'mvsa-single', 'tweets.csv'), `${lines.join('\n')}\n`);
}

const SYMPTOMS: readonly (readonly string[])[] = [
  ['fever', 'chills', 'sweats', 'rigors', 'hot', 'shivering'],
  ['wheeze', 'breathless', 'cough', 'sputum', 'tight', 'orthopnoea'],
  ['rash', 'itching', 'blister', 'redness', 'swelling', 'scaling'],
];

/** Notes of patients in a column and in files, made up: two a patient, some words of their complaint among many that say nothing; one note is empty, one file is not there. */
export function writeNotes(data: string, patients: number): void {
  const uniform = seededUniform(5, 'notes');
  mkdirSync(join(data, 'notes'), { recursive: true });
  const lines = ['patient,sample,complaint,note,file,split'];
  for (let patient = 0; patient < patients; patient += 1) {
    const kind = patient % SYMPTOMS.length;
    const own = SYMPTOMS[kind] ?? [];
    for (const visit of [1, 2]) {
      const words = Array.from({ length: 8 + Math.floor(12 * uniform()) }, () => (uniform() < 0.3 ? own[Math.floor(own.length * uniform())] : `word${Math.floor(300 * uniform() ** 2)}`));
      const [sample, note] = [`${patient}-${visit}`, patient === 4 && visit === 1 ? '...' : words.join(' ')];
      if (sample !== '7-2') writeFileSync(join(data, 'notes', `${sample}.txt`), note);
      lines.push(`${patient},${sample},${kind},"${note}",${sample}.txt,${patient % 10 === 8 ? 'test' : patient % 10 === 9 ? 'selection' : 'train'}`);
    }
  }
  writeFileSync(join(data, 'notes.csv'), `${lines.join('\n')}\n`);
}
