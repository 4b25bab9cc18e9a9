import { join } from 'node:path';
import { fromHex } from '../shared/bytes.ts';
import { AntiphonError } from '../shared/errors.ts';
import { fromLedgerMechanism } from '../shared/ledger/mechanism.ts';
import type { BackendChoice } from '../shared/platform/backend-choice.ts';
import { takeLock, type Unlock } from '../shared/platform/lock.ts';
import { nodePrimitives as primitives } from '../shared/platform/primitives.ts';
import { studyFromUnknown } from '../shared/study/parse.ts';
import { connect } from './connection.ts';
import { moveData, openHome, siteFiles, type SiteHome } from './keystore.ts';
import { endOf, openLedgerCopy, type LedgerCopy } from './ledger-copy.ts';
import { runSite, type SiteEvent } from './run.ts';
import { clearStaged, loadStaged, stageUpdate } from './staging.ts';
import { startTrainer, type Trainer } from './trainer.ts';
import { openVault } from './vault.ts';

export interface StartInput {
  readonly homes: readonly string[];
  readonly backend: BackendChoice | undefined;
  /** Where the data are now, if they have moved; kept once they have been opened there. */
  readonly data: string | undefined;
  readonly signal: AbortSignal;
  readonly emit: (site: string, event: SiteEvent | { readonly type: 'ready'; readonly detail: string; readonly backend: string }) => void;
}

/** Runs one or several enrolled sites in this process, each with its own key, folder and connection; they share one trainer. */
export async function startSites({ homes, backend, data, signal, emit }: StartInput): Promise<void> {
  const trainers = new Map<BackendChoice, Trainer>();
  const unlocks: Unlock[] = [];
  /** Whatever ends this call ends every connection: an abandoned one would reconnect for ever. */
  const closing = new AbortController();
  const interrupted = (): AntiphonError => new AntiphonError('interrupted', 'stopped; start the site again to go on');
  try {
    // Not cut short: what they lock is given back below, whichever of them fails.
    const opened = await Promise.allSettled(homes.map((folder) => openSite(folder)));
    const sites = opened.map((site) => {
      if (site.status === 'rejected') throw site.reason;
      return site.value;
    });
    // Asked to stop before there was anyone to hear it.
    if (signal.aborted) throw interrupted();
    const stopped = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(interrupted());
      });
    });
    await Promise.race([stopped, Promise.all(sites.map((site) => run(site)))]);
  } finally {
    closing.abort();
    await Promise.all([...trainers.values()].map((trainer) => trainer.close()));
    await Promise.all(unlocks.map((unlock) => unlock()));
  }

  async function openSite(folder: string): Promise<SiteHome & { readonly ledger: LedgerCopy }> {
    const home = await openHome(folder);
    // One process to a home: two would release two updates under one reserve.
    unlocks.push(await takeLock(siteFiles(folder).lock, (pid) => `process ${pid} runs the site of ${folder} already; stop that one first`));
    return { ...home, ledger: await openLedgerCopy(siteFiles(folder).ledger, primitives) };
  }

  async function run({ folder, identity, settings, study: studyText, ledger }: Awaited<ReturnType<typeof openSite>>): Promise<void> {
    const study = studyFromUnknown(JSON.parse(studyText));
    const files = siteFiles(folder);
    const end = endOf(ledger);
    if (end !== undefined) {
      emit(settings.site, { type: 'study-ended', detail: `${end.reason}: ${end.detail}; this site's own copy of the ledger holds the end of the study, there is nothing left to do` });
      return;
    }
    const choice = backend ?? settings.backend;
    const trainer = trainers.get(choice) ?? startTrainer(choice);
    trainers.set(choice, trainer);
    const report = await trainer.openSite({ site: settings.site, study: studyText, data: data ?? settings.data, home: folder, backend: choice });
    if (data !== undefined) await moveData(folder, data);
    const frozen = report.frozenRunsOn === undefined ? '' : `; frozen network: ${report.frozenRunsOn}`;
    const leftOut = report.unreadable === 0 ? '' : `; ${report.unreadable} unreadable files left out, listed in ${files.unreadable}`;
    emit(settings.site, { type: 'ready', detail: `${report.summary}${frozen}${leftOut}`, backend: `${report.backend}; ${report.why}` });
    const modality = study.modalities[settings.modality];
    if (modality === undefined) throw new AntiphonError('study-invalid', `the study has no modality "${settings.modality}"`);
    const learningRate = modality.learningRate ?? study.optimiser.local.learningRate;
    await runSite(
      { site: settings.site, identity, studyHash: settings.study, study, coordinatorKey: settings.coordinatorKey },
      {
        primitives,
        ledger,
        train: ({ weights, reserve }) => trainer.train({ site: settings.site, weights, mechanism: fromLedgerMechanism(reserve.mechanism), learningRate }),
        stage: { load: () => loadStaged(files.staged), save: (update) => stageUpdate(files.staged, update), clear: () => clearStaged(files.staged) },
        vault: openVault(settings.vault, settings.dataset),
        now: Date.now,
        connect: (listener) => {
          if (closing.signal.aborted) throw interrupted();
          emit(settings.site, { type: 'connecting', detail: settings.url });
          const connection = connect({ url: settings.url, primitives, identity, study: fromHex(settings.study, 32), coordinatorKey: fromHex(settings.coordinatorKey, 32), listener });
          closing.signal.addEventListener('abort', connection.close);
          return connection;
        },
        emit: (event) => {
          emit(settings.site, event);
        },
      },
    );
  }
}

export function defaultHome(site: string): string {
  return join(process.cwd(), `antiphon-site-${site}`);
}
