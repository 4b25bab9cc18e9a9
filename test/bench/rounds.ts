/**
 * Round overhead: the time of a whole round of a real federation (reserve, dispatch, sealing, sockets, spend logs, staging, receipts, aggregation,
 * checkpoint, commit, every fdatasync) in which training takes no time: each site answers with a fixed update of the right size.
 *
 *   npm run bench:rounds
 *
 * Prints a table and writes test/bench/results/rounds.md and rounds.json under the current folder.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { enrolSite } from '../../client/enrol.ts';
import { openHome } from '../../client/keystore.ts';
import { issueInvite } from '../../coordinator/invite.ts';
import { networksOf } from '../../coordinator/model-state.ts';
import { startCoordinator } from '../../coordinator/start.ts';
import { formatNpy } from '../../shared/data/npy.ts';
import { studyFromUnknown } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { runUntrainedSite } from '../support/untrained-site.ts';

const SITES = 10;
const WARM_UP = 5;
const ROUNDS = 35;
/** Inputs and features of an MLP with a head of ten classes that has about so many parameters. */
const MODELS = [
  { inputs: 1012, features: 98 },
  { inputs: 10_100, features: 99 },
] as const;

interface Row {
  readonly parameters: number;
  readonly siteProcesses: number;
  readonly medianMs: number;
  readonly p10Ms: number;
  readonly p90Ms: number;
}

function studyOf({ inputs, features }: (typeof MODELS)[number]): Study {
  const names = Array.from({ length: SITES }, (_, i) => `site-${i + 1}`);
  return studyFromUnknown({
    antiphon: 1,
    name: 'round-overhead',
    classes: Array.from({ length: 10 }, (_, c) => `class ${c}`),
    modalities: { table: { shape: [inputs], sitesDisjoint: true, encoder: { type: 'mlp', hidden: [] }, records: { index: 'index.csv', values: 'values.npy', patient: 'patient', label: 'label' } } },
    head: { features },
    sites: names.map((name, i) => ({ name, modality: 'table', patients: 1000, share: { from: i / SITES, to: (i + 1) / SITES } })),
    schedule: { rounds: WARM_UP + ROUNDS, localSteps: 1 },
    optimiser: { local: { learningRate: 0.1 } },
    privacy: { protection: 'local-noise', clipNorm: 1, samplingRate: 0.1, delta: 1e-5, noiseMultiplier: 1 },
  });
}

/** What a site sends instead of training: made once, because making it is not overhead. */
async function runSites(homes: readonly string[]): Promise<void> {
  const update = Float32Array.from({ length: await sizeOfModel(homes[0] ?? '') }, (_, i) => 1e-4 * Math.sin(i));
  await Promise.all(homes.map((home) => runUntrainedSite(home, () => update.slice())));
}

async function sizeOfModel(home: string): Promise<number> {
  const { study } = await openHome(home);
  return networksOf(studyFromUnknown(JSON.parse(study))).get('table')?.size ?? 0;
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

async function measure(study: Study, siteProcesses: number): Promise<Row> {
  const folder = mkdtempSync(join(tmpdir(), 'antiphon-bench-'));
  const data = mkdtempSync(join(tmpdir(), 'antiphon-bench-data-'));
  // Enrolling looks for them; nothing is trained on them.
  const inputs = study.modalities['table']?.shape[0] ?? 0;
  writeFileSync(join(data, 'index.csv'), 'row,patient,label\n0,p0,0\n');
  writeFileSync(join(data, 'values.npy'), formatNpy({ shape: [1, inputs], data: new Float32Array(inputs) }));
  const stop = new AbortController();
  const children: ChildProcess[] = [];
  const ends: number[] = [];
  let listening: () => void = () => undefined;
  const started = new Promise<void>((resolve) => (listening = resolve));
  try {
    const coordinator = startCoordinator({
      study,
      studyYaml: JSON.stringify(study),
      folder,
      host: '127.0.0.1',
      port: 0,
      publicUrl: undefined,
      data: undefined,
      backend: 'wasm',
      signal: stop.signal,
      show: (event) => {
        if (event.type === 'listening') listening();
        if (event.type === 'failure') console.error(event);
        if (event.type === 'round-ended') {
          if (event.outcome !== 'committed') throw new Error(`round ${event.round} was aborted: ${event.reason ?? ''}`);
          ends.push(performance.now());
        }
      },
    });
    await Promise.race([started, coordinator]);
    const homes: string[] = [];
    for (const { name } of study.sites) {
      const home = join(folder, name);
      await enrolSite({ invite: await issueInvite({ folder, study, site: name, hours: 1, url: undefined }), home, data, backend: 'wasm', disjointFrom: ['*'], mayOverlap: false, vault: home, dataset: 'spend', limits: undefined });
      homes.push(home);
    }
    for (let p = 0; p < siteProcesses; p += 1) children.push(fork(fileURLToPath(import.meta.url), ['sites', ...homes.filter((_, i) => i % siteProcesses === p)]));
    const end = await coordinator;
    if (end.reason !== 'completed') throw new Error(`the study ended: ${end.reason}, ${end.detail}`);
    await Promise.all(children.filter(({ exitCode }) => exitCode === null).map((child) => new Promise((resolve) => child.once('exit', resolve))));
    const periods = ends.slice(WARM_UP).map((time, i) => time - (ends[WARM_UP + i - 1] ?? NaN)).sort((a, b) => a - b);
    const parameters = networksOf(study).get('table')?.size ?? 0;
    return { parameters, siteProcesses, medianMs: percentile(periods, 0.5), p10Ms: percentile(periods, 0.1), p90Ms: percentile(periods, 0.9) };
  } finally {
    stop.abort();
    for (const child of children) child.kill();
    for (const made of [folder, data]) rmSync(made, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const loadBefore = loadavg()[0] ?? NaN;
  const rows: Row[] = [];
  for (const model of MODELS) {
    for (const siteProcesses of [1, SITES]) {
      const row = await measure(studyOf(model), siteProcesses);
      console.error(row);
      rows.push(row);
    }
  }
  const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}, ${process.platform}, ${new Date().toISOString().slice(0, 10)}; load average ${loadBefore.toFixed(1)} before`;
  const table = [
    `# Round overhead, ${SITES} sites`,
    '',
    machine,
    '',
    '| parameters | processes of the sites | median ms | 10th percentile | 90th percentile |',
    `|${' --- |'.repeat(5)}`,
    ...rows.map((row) => `| ${row.parameters} | ${row.siteProcesses} | ${row.medianMs.toFixed(1)} | ${row.p10Ms.toFixed(1)} | ${row.p90Ms.toFixed(1)} |`),
    '',
    `From the end of one round to the end of the next, over ${ROUNDS} rounds after ${WARM_UP}; all that is not training: reserve and commit on disk, sealed chunks over real sockets both ways,`,
    'spend logs and staged updates of the sites, receipts signed and verified, aggregation, checkpoint. Coordinator and sites share the machine.',
    '',
  ].join('\n');
  mkdirSync('test/bench/results', { recursive: true });
  writeFileSync('test/bench/results/rounds.md', table);
  writeFileSync('test/bench/results/rounds.json', `${JSON.stringify({ machine, rows }, null, 2)}\n`);
  console.log(table);
}

const [, , mode, ...homes] = process.argv;
await (mode === 'sites' ? runSites(homes) : main());
