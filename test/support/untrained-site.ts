import { connect } from '../../client/connection.ts';
import { openHome, siteFiles } from '../../client/keystore.ts';
import { openLedgerCopy } from '../../client/ledger-copy.ts';
import { runSite, type SiteEvent } from '../../client/run.ts';
import { clearStaged, loadStaged, stageUpdate } from '../../client/staging.ts';
import { openVault } from '../../client/vault.ts';
import { fromHex } from '../../shared/bytes.ts';
import type { ReserveEntry } from '../../shared/ledger/entry.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { studyFromUnknown } from '../../shared/study/parse.ts';

/**
 * An enrolled site with its real key, ledger copy, staging and socket, and a trainer of the caller's: one that takes no time for benchmarks, one
 * that lies for tests. It has no data and no mechanism, so it lives with the tests.
 */
export async function runUntrainedSite(home: string, train: (input: { readonly weights: Float32Array; readonly reserve: ReserveEntry }) => Float32Array, emit: (event: SiteEvent) => void = () => undefined): Promise<void> {
  const { identity, settings, study } = await openHome(home);
  const files = siteFiles(home);
  await runSite(
    { site: settings.site, identity, studyHash: settings.study, study: studyFromUnknown(JSON.parse(study)), coordinatorKey: settings.coordinatorKey },
    {
      primitives,
      ledger: await openLedgerCopy(files.ledger, primitives),
      train: (input) => Promise.resolve(train(input)),
      stage: { load: () => loadStaged(files.staged), save: (update) => stageUpdate(files.staged, update), clear: () => clearStaged(files.staged) },
      vault: openVault(settings.vault, settings.dataset),
      now: Date.now,
      connect: (listener) => connect({ url: settings.url, primitives, identity, study: fromHex(settings.study, 32), coordinatorKey: fromHex(settings.coordinatorKey, 32), listener }),
      emit,
    },
  );
}
