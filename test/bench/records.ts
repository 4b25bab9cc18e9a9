/**
 * Memory of a site that holds many pictures: peak resident set of a process that reads them as `site start` does (PNG, decoded, resized, kept as the encoder sees them) and then trains
 * private steps on them, for more and more pictures. Each count in a process of its own.
 *
 *   npm run build:bench; node build/test/bench/records.js [count ...]
 *
 * Prints a table and writes test/bench/results/records.md and records.json under the current folder.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { trainRound } from '../../client/train.ts';
import { buildDataset } from '../../shared/data/dataset.ts';
import { closeFeatures } from '../../shared/data/features.ts';
import { networkOf } from '../../shared/model/network.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import { parseStudy } from '../../shared/study/parse.ts';

/** Different pictures; the index names each many times, and every line is read and decoded anew. */
const PICTURES = 500;
const SIDE = 64;
const STEPS = 10;

interface Row {
  readonly pictures: number;
  /** Of the records as the encoder sees them. */
  readonly mebibytes: number;
  readonly readSeconds: number;
  readonly secondsPerStep: number;
  readonly peakMebibytes: number;
}

const study = (count: number): string => `
antiphon: 1
name: pictures
classes: [a, b, c]
modalities:
  picture:
    shape: [${SIDE}, ${SIDE}, 3]
    encoder: { type: cnn, filters: [8, 16] }
    records: { index: index.csv, files: { format: image, column: file }, patient: patient, label: label }
sites:
  - { name: clinic, modality: picture, patients: ${count} }
schedule: { rounds: 1, localSteps: ${STEPS} }
optimiser: { local: { learningRate: 0.1 } }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: ${Math.min(1, 512 / count)}, delta: 1e-6, noiseMultiplier: 1 }
`;

async function measure(folder: string, count: number): Promise<Row> {
  await openBackend('wasm');
  const parsed = parseStudy(study(count), 'pictures.yaml');
  const network = networkOf(parsed, 'picture');
  const reading = performance.now();
  const dataset = await buildDataset({ study: parsed, modality: 'picture', selection: {}, files: openDataFolder(folder), primitives });
  const readSeconds = (performance.now() - reading) / 1000;
  const modality = resolveStudy(parsed).modalities.get('picture');
  if (modality === undefined) throw new Error('no modality');
  const training = performance.now();
  await trainRound({ network, dataset, weights: network.initialise(1, 'bench'), mechanism: modality.mechanism, patients: count, learningRate: 0.1, momentum: 0.9, random: createKeyStream() });
  const secondsPerStep = (performance.now() - training) / 1000 / STEPS;
  closeFeatures(dataset.features);
  return { pictures: count, mebibytes: (4 * count * network.inputSize) / 2 ** 20, readSeconds, secondsPerStep, peakMebibytes: process.resourceUsage().maxRSS / 1024 };
}

async function writePictures(folder: string): Promise<void> {
  for (let i = 0; i < PICTURES; i += 1) {
    const pixels = Buffer.from(Uint8Array.from({ length: 96 * 96 * 3 }, (_, k) => (k * (i + 3) + ((k * k) >> 7)) & 255));
    writeFileSync(join(folder, `${i}.png`), await sharp(pixels, { raw: { width: 96, height: 96, channels: 3 } }).png().toBuffer());
  }
}

const [asked, ofFolder] = [process.argv.slice(2), process.env['ANTIPHON_BENCH_PICTURES']];
if (ofFolder !== undefined) {
  console.log(JSON.stringify(await measure(ofFolder, Number(asked[0]))));
} else {
  const folder = mkdtempSync(join(tmpdir(), 'antiphon-bench-pictures-'));
  const rows: Row[] = [];
  try {
    await writePictures(folder);
    for (const count of asked.length === 0 ? [1000, 10_000, 100_000] : asked.map(Number)) {
      writeFileSync(join(folder, 'index.csv'), ['patient,label,file', ...Array.from({ length: count }, (_, i) => `p${i},${'abc'[i % 3] ?? ''},${i % PICTURES}.png`)].join('\n'));
      const line = execFileSync(process.execPath, [fileURLToPath(import.meta.url), String(count)], { env: { ...process.env, ANTIPHON_BENCH_PICTURES: folder }, encoding: 'utf8' });
      rows.push(JSON.parse(line.trim().split('\n').at(-1) ?? '') as Row);
      console.error(line.trim());
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}, ${process.platform}, ${new Date().toISOString().slice(0, 10)}`;
  const table = [
    '# Memory of a site with many pictures',
    '',
    machine,
    '',
    '| pictures | as the encoder sees them, MiB | reading, s | a private step of 512, s | peak resident, MiB |',
    `|${' --- |'.repeat(5)}`,
    ...rows.map((row) => `| ${row.pictures} | ${row.mebibytes.toFixed(0)} | ${row.readSeconds.toFixed(1)} | ${row.secondsPerStep.toFixed(2)} | ${row.peakMebibytes.toFixed(0)} |`),
    '',
    `PNG of 96 x 96, read, decoded and resized to ${SIDE} x ${SIDE} x 3; CNN of 8 and 16 filters on wasm; at most ANTIPHON_RECORDS_IN_MEMORY_MIB (1024) in memory, more in an owner-only file.`,
    '',
  ].join('\n');
  mkdirSync('test/bench/results', { recursive: true });
  writeFileSync('test/bench/results/records.md', table);
  writeFileSync('test/bench/results/records.json', `${JSON.stringify({ machine, rows }, null, 2)}\n`);
  console.log(table);
}
