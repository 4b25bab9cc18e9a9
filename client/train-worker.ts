import { rm } from 'node:fs/promises';
import { parentPort } from 'node:worker_threads';
import { AntiphonError } from '../shared/errors.ts';
import { buildDataset, type Dataset, type UnreadableRecord } from '../shared/data/dataset.ts';
import { closeFeatures } from '../shared/data/features.ts';
import { networkOf, type Network } from '../shared/model/network.ts';
import { proveBackend } from '../shared/model/self-check.ts';
import { writeFileAtomic } from '../shared/platform/atomic-file.ts';
import { openBackend, type BackendReport } from '../shared/platform/backend.ts';
import { openDataFolder } from '../shared/platform/data-files.ts';
import { createKeyStream } from '../shared/platform/key-stream.ts';
import { nodePrimitives } from '../shared/platform/primitives.ts';
import { studyFromUnknown } from '../shared/study/parse.ts';
import type { Study } from '../shared/study/schema.ts';
import { siteFiles } from './keystore.ts';
import type { TrainerAnswer, TrainerRequest } from './train-job.ts';
import { checkPatientCap, trainRound } from './train.ts';

/** The trainer's own thread or process: private data live here and nowhere else; only noised updates go back. */
interface OpenSite {
  readonly study: Study;
  readonly network: Network;
  readonly dataset: Dataset;
  readonly patients: number;
}

const sites = new Map<string, OpenSite>();
let backend: Promise<BackendReport> | undefined;

async function open(request: Extract<TrainerRequest, { type: 'open' }>): Promise<TrainerAnswer> {
  const study = studyFromUnknown(JSON.parse(request.study));
  const site = study.sites.find(({ name }) => name === request.site);
  if (site === undefined) throw new AntiphonError('study-invalid', `the study has no site "${request.site}"`);
  const { where, share } = site;
  const selection = { ...(where === undefined ? {} : { where }), ...(share === undefined ? {} : { share }) };
  const { unreadable: list } = siteFiles(request.home);
  let unreadable = 0;
  await rm(list, { force: true });
  const listUnreadable = async (records: readonly UnreadableRecord[]): Promise<string> => {
    unreadable = records.length;
    await writeFileAtomic(list, records.map((record) => `${JSON.stringify(record)}\n`).join(''), 0o600);
    return list;
  };
  const files = openDataFolder(request.data, { cacheFolder: request.home });
  const dataset = await buildDataset({ study, modality: site.modality, selection, files, primitives: nodePrimitives, listUnreadable });
  checkPatientCap(site.name, dataset.patients.ids.length, site.patients);
  const network = networkOf(study, site.modality);
  backend ??= openBackend(request.backend);
  const report = await backend;
  await proveBackend([network]);
  const earlier = sites.get(site.name);
  if (earlier !== undefined) closeFeatures(earlier.dataset.features);
  sites.set(site.name, { study, network, dataset, patients: site.patients });
  return { type: 'opened', id: request.id, backend: `${report.name} (${report.package} ${report.version})`, why: report.why, summary: report.summary, unreadable, frozenRunsOn: dataset.frozenRunsOn };
}

async function train(request: Extract<TrainerRequest, { type: 'train' }>): Promise<TrainerAnswer> {
  const opened = sites.get(request.site);
  if (opened === undefined) throw new AntiphonError('internal', `site ${request.site} trains before it was opened`);
  const { network, dataset, patients, study } = opened;
  const { weights, mechanism, learningRate } = request;
  const update = await trainRound({ network, dataset, weights, mechanism, patients, learningRate, momentum: study.optimiser.local.momentum, random: createKeyStream() });
  return { type: 'trained', id: request.id, update };
}

/** One job after the other: two cores are better used by two sites than by two jobs of one. */
let queue: Promise<void> = Promise.resolve();

function receive(request: TrainerRequest, answer: (message: TrainerAnswer) => void): void {
  queue = queue.then(async () => {
    try {
      answer(request.type === 'open' ? await open(request) : await train(request));
    } catch (error) {
      const known = error instanceof AntiphonError ? error : undefined;
      answer({ type: 'failed', id: request.id, code: known?.code ?? 'internal', message: error instanceof Error ? error.message : String(error) });
    }
  });
}

if (parentPort !== null) {
  const port = parentPort;
  port.on('message', (request: TrainerRequest) => {
    receive(request, (answer) => {
      port.postMessage(answer, answer.type === 'trained' ? [answer.update.buffer as ArrayBuffer] : []);
    });
  });
} else {
  process.on('message', (request: TrainerRequest) => {
    receive(request, (answer) => process.send?.(answer));
  });
  process.on('disconnect', () => {
    process.exit(0);
  });
}
