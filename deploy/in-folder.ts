import { existsSync } from 'node:fs';
import type { EventSink } from '../coordinator/events.ts';
import { enterRunFolder, runFiles } from '../coordinator/store/run-folder.ts';
import { AntiphonError } from '../shared/errors.ts';

/**
 * A run in its folder, made if need be: when it fails before its first round, also because its budget allows none, nothing of it is left; when later, or in the folder of an earlier run, all is kept and the
 * message says how to go on. `act` gets the sink that its events go through.
 */
export async function inFolder<T>(folder: string, show: EventSink, act: (show: EventSink) => Promise<T>): Promise<T> {
  const seen = { begun: existsSync(runFiles(folder).ledger), over: false };
  const fresh = await enterRunFolder(folder);
  const watch: EventSink = (event) => {
    if (event.type === 'round-started') seen.begun = true;
    if (event.type === 'ended' && event.reason !== 'interrupted') seen.over = true;
    show(event);
  };
  try {
    return await act(watch);
  } catch (error) {
    if (!(error instanceof AntiphonError) || (seen.over && seen.begun) || error.code === 'usage') throw error;
    if (seen.begun || error.code === 'interrupted') throw new AntiphonError(error.code, `${error.message}; to go on: the same command with --out ${folder}`, { cause: error });
    await fresh.undo();
    throw error;
  }
}
