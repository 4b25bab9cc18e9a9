import { readFile } from 'node:fs/promises';
import { loadCommitted } from '../../coordinator/committed-model.ts';
import { networksOf, type ModelState } from '../../coordinator/model-state.ts';
import { openCheckpoints } from '../../coordinator/store/checkpoint.ts';
import { runFiles } from '../../coordinator/store/run-folder.ts';
import { AntiphonError } from '../../shared/errors.ts';
import type { LedgerState } from '../../shared/ledger/fold.ts';
import { createVerifier } from '../../shared/ledger/verify.ts';
import type { Network } from '../../shared/model/network.ts';
import { proveBackend } from '../../shared/model/self-check.ts';
import { fileLines } from '../../shared/platform/lines.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { studyHash } from '../../shared/study/hash.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import type { TrainedRound } from './in-process.ts';

export interface FinishedRun {
  readonly study: Study;
  readonly studyHash: string;
  readonly networks: ReadonlyMap<string, Network>;
  /** The committed ones: what the model has come of. */
  readonly rounds: readonly TrainedRound[];
  readonly ledger: LedgerState;
  /** The last committed round, above 0. */
  readonly round: number;
  /** What the study evaluated last: the average where rounds are averaged. */
  readonly model: ModelState;
}

/** The last committed model of a run's folder, after its ledger has been verified and the backend proved. */
export async function openFinishedRun(folder: string): Promise<FinishedRun> {
  const files = runFiles(folder);
  const study = parseStudy(await readFile(files.study, 'utf8').catch((error: unknown) => {
    throw new AntiphonError('usage', `${folder} holds no run (no study.yaml); give the folder that a coordinator or \`npx antiphon simulate\` has written`, { cause: error });
  }), files.study);
  const rounds: TrainedRound[] = [];
  const verifier = createVerifier({ primitives, watcher: { round: ({ round, modality, outcome }) => void (outcome === 'committed' && rounds.push({ round, modality })), disclosure: () => undefined } });
  for await (const line of fileLines(files.ledger, { notLines: 'audit-tampered', unreadable: 'audit-unreadable' })) verifier.push(line);
  const { state, problem } = verifier.finish();
  if (problem !== undefined) throw new AntiphonError('ledger-tampered', `the run's ledger does not verify (line ${problem.line + 1}: ${problem.message}); run \`npx antiphon audit ${files.ledger}\``);
  const hash = studyHash(study, primitives);
  if (state.plan?.study !== hash) throw new AntiphonError('ledger-tampered', `expected the ledger of study ${hash.slice(0, 16)}... in ${folder}, as its study.yaml is, found one of ${state.plan?.study.slice(0, 16) ?? 'none'}...: one of them was changed or is another run's; restore the folder's own from a copy`);
  const { lastCommit } = state;
  if (lastCommit === undefined) throw new AntiphonError('usage', `the run in ${folder} has committed no round: there is no trained model in it`);
  const networks = networksOf(study);
  await proveBackend([...networks.values()]);
  const { model, average } = await loadCommitted(await openCheckpoints(files.checkpoints, networks), lastCommit, { primitives, studyHash: hash });
  return { study, studyHash: hash, networks, rounds, ledger: state, round: lastCommit.round, model: average?.model ?? model };
}
