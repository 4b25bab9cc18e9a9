import { generateRoundKeys, type RoundKeys } from '../shared/crypto/keys.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { AntiphonError, invariant } from '../shared/errors.ts';
import type { EvaluationSet } from '../shared/data/evaluation-set.ts';
import { fromDecimal } from '../shared/ledger/decimal.ts';
import type { EndEntry, ReserveEntry } from '../shared/ledger/entry.ts';
import type { LedgerState } from '../shared/ledger/fold.ts';
import { bindingEpsilon, chargesAfter, statedSpending } from '../shared/ledger/spending.ts';
import { toLedgerMechanism } from '../shared/ledger/mechanism.ts';
import type { Network } from '../shared/model/network.ts';
import type { ResolvedStudy } from '../shared/study/resolve.ts';
import type { Study } from '../shared/study/schema.ts';
import type { Book } from './book.ts';
import { reserveRound } from './budget.ts';
import { checkUpdate, updateNormBound } from './check-update.ts';
import { combine } from './combine.ts';
import { loadCommitted, modelHash } from './committed-model.ts';
import { abortText, endOfSchedule, farewellText } from './ended.ts';
import { evaluateModel } from './evaluate.ts';
import type { EventSink, Spent, StudyEvent } from './events.ts';
import { conductRound, type AbortSignalLike, type RoundOutcome } from './exchange.ts';
import type { Hub } from './hub.ts';
import { flatOf, initialModel } from './model-state.ts';
import { planEntry, plannedDisclosures } from './plan.ts';
import { nextModality, withFirstProgress, withProgress } from './progress.ts';
import { sitesReady } from './sites-ready.ts';
import type { Checkpoint, CheckpointStore } from './store/checkpoint.ts';

/** A reserved round that has not ended: its X25519 secret, so that a restarted coordinator can open what sites have staged. */
export interface RoundKeyStore {
  readonly load: (round: number) => Promise<RoundKeys | undefined>;
  readonly save: (round: number, keys: RoundKeys) => Promise<void>;
}

export interface CoordinatorPorts {
  readonly book: Book;
  readonly hub: Hub;
  readonly checkpoints: CheckpointStore;
  readonly roundKeys: RoundKeyStore;
  readonly primitives: Primitives;
  readonly coordinatorKey: Uint8Array;
  readonly evaluationSets: { readonly selection: EvaluationSet; readonly test: EvaluationSet } | undefined;
  readonly feedLedger: (site: string) => void;
  /** Resolves when the connected sites have cosigned the newest head, or have had their time to. */
  readonly cosigned: () => Promise<void>;
  readonly emit: EventSink;
  readonly now: () => number;
  readonly setTimer: (callback: () => void, ms: number) => () => void;
  readonly signal: AbortSignalLike;
}

export interface StudyContext {
  readonly study: Study;
  readonly resolved: ResolvedStudy;
  readonly studyHash: string;
  readonly networks: ReadonlyMap<string, Network>;
}

export type StudyEnd = Pick<EndEntry, 'reason' | 'detail'>;

/**
 * The story of a study, as the coordinator lives it. Everything it knows is a fold over the ledger plus the last checkpoint, so that it
 * may be killed at any point and started again.
 */
export async function runStudy(context: StudyContext, ports: CoordinatorPorts): Promise<StudyEnd> {
  // 1. The plan is the first thing written: no later number can depend on the data.
  await beginLedger(context, ports);
  // 2. The model: the last committed checkpoint, or the initial one from the public seed.
  let checkpoint = await lastCheckpoint(context, ports);
  // 3. Every site of the study is enrolled and ready.
  if (ports.book.state().ended === undefined) await sitesReady(context, ports, { names: context.study.sites.map(({ name }) => name), needed: context.study.sites.length });
  // 4. The rounds, one modality at a time, as long as schedule and budget allow.
  let end: StudyEnd | undefined = endedBefore(ports.book.state());
  while (end === undefined) {
    const step = await nextRound(context, ports, checkpoint);
    if (step.type === 'ended') end = step.end;
    else checkpoint = step.checkpoint;
  }
  // 5. The last number: the test part, looked at once.
  const trained = ports.book.state().committedRounds > 0;
  if (trained && (end.reason === 'completed' || end.reason === 'budget-exhausted')) await evaluate(context, ports, { checkpoint, split: 'test' });
  // 6. The ledger is closed, every site gets the whole of it and cosigns it.
  //    A stopped study goes on when it is started again: its sites wait for that.
  if (end.reason === 'interrupted') return end;
  if (ports.book.state().ended === undefined) await ports.book.append({ type: 'end', ...end, epsilonSpent: ports.book.state().spent });
  for (const site of ports.hub.ready()) ports.feedLedger(site);
  await ports.cosigned();
  for (const site of ports.hub.ready()) ports.hub.send(site, { type: 'study-ended', reason: farewellText(end) });
  return end;
}

async function beginLedger(context: StudyContext, { book, coordinatorKey }: CoordinatorPorts): Promise<void> {
  checkStudyOf(book.state(), context);
  if (book.state().plan === undefined) await book.append(planEntry({ ...context, coordinatorKey }), ...plannedDisclosures(context.study));
}

/** Throws AntiphonError('study-invalid') for a ledger of another study: before anything in its folder is touched. */
export function checkStudyOf({ plan }: LedgerState, { study, studyHash }: StudyContext): void {
  if (plan !== undefined && plan.study !== studyHash) {
    throw new AntiphonError('study-invalid', `this folder's ledger belongs to study ${plan.studyName} (${plan.study.slice(0, 16)}), expected ${study.name} (${studyHash.slice(0, 16)}): the study file was changed or the folder is another study's; use a new --out folder`);
  }
}

async function lastCheckpoint({ study, studyHash, networks }: StudyContext, { book, checkpoints, evaluationSets, primitives }: CoordinatorPorts): Promise<Checkpoint> {
  const { lastCommit } = book.state();
  if (lastCommit !== undefined) return loadCommitted(checkpoints, lastCommit, { primitives, studyHash });
  const checkpoint: Checkpoint = { round: 0, model: initialModel(study, networks), average: undefined, optimisers: new Map(), headMoments: new Map(), progress: undefined };
  return withFirstProgress({ study, networks }, checkpoint, evaluationSets?.selection);
}

function endedBefore(state: LedgerState): StudyEnd | undefined {
  return state.ended === undefined ? undefined : { reason: state.ended.reason, detail: state.ended.detail };
}

type RoundStep = { readonly type: 'advanced'; readonly checkpoint: Checkpoint } | { readonly type: 'ended'; readonly end: StudyEnd };

/** A round with its commit point (design: architecture.md, "A round, with its commit point"). */
async function nextRound(context: StudyContext, ports: CoordinatorPorts, checkpoint: Checkpoint): Promise<RoundStep> {
  const { study, resolved } = context;
  const { book } = ports;
  if (isStopped(ports.signal)) return ended('interrupted', `stopped after round ${book.state().lastRound}; start again with the same folder to go on`);
  // plan, reserve (or take up the reserved round that a crash left open)
  if (book.state().open === undefined) {
    const round = book.state().lastRound + 1;
    if (round > study.schedule.rounds) return { type: 'ended', end: endOfSchedule(study.schedule.rounds, book) };
    const modality = nextModality(context, book.state(), checkpoint.progress);
    const plan = resolved.modalities.get(modality);
    invariant(plan !== undefined, `modality ${modality}`);
    const names = study.sites.filter((site) => site.modality === modality).map(({ name }) => name);
    // Sites that all went away for a moment come back; a study is not given up for that.
    await sitesReady(context, ports, { names, needed: 1 });
    const sites = names.filter((name) => ports.hub.ready().has(name));
    if (sites.length === 0) return ended('interrupted', `stopped before round ${round}; start again with the same folder to go on`);
    const modelIn = modelHash(ports.primitives, checkpoint.model, modality);
    const decision = reserveRound(book.state(), { round, modality, sites, mechanism: toLedgerMechanism(plan.mechanism), modelIn });
    if (decision.type === 'exhausted') return ended('budget-exhausted', decision.detail);
    await ports.roundKeys.save(round, generateRoundKeys(ports.primitives));
    // From here on the budget counts as spent, whatever crashes.
    await book.append(decision.entry);
  }
  const { open } = book.state();
  invariant(open !== undefined, 'a reserved round');
  const { reserve } = open;
  const startedAt = ports.now();
  ports.emit({ type: 'round-started', time: iso(startedAt), round: reserve.round, modality: reserve.modality, cohort: reserve.sites, epsilonAfter: spentForEvent(book.state()).epsilon });
  // dispatch, train (at the sites), collect
  const outcome = await exchange(context, ports, { checkpoint, reserve, reserveHash: open.hash });
  // Stopped inside the round: the reserve stays open, and the next start takes up what the sites have staged.
  if (isStopped(ports.signal) && outcome.verdict.type === 'abort') return ended('interrupted', `stopped in round ${reserve.round}; start again with the same folder to go on`);
  // aggregate, commit
  const next = await conclude(context, ports, { checkpoint, reserve, reserveHash: open.hash, outcome, startedAt });
  // evaluate
  if (next.round === reserve.round && isEvaluated(study, reserve.round)) await evaluate(context, ports, { checkpoint: next, split: 'selection' });
  return { type: 'advanced', checkpoint: next };
}

/** Asked anew each time: it changes while we wait. */
function isStopped(signal: AbortSignalLike): boolean {
  return signal.aborted;
}

function ended(reason: StudyEnd['reason'], detail: string): RoundStep {
  return { type: 'ended', end: { reason, detail } };
}

async function exchange(
  { study, resolved, studyHash, networks }: StudyContext,
  ports: CoordinatorPorts,
  { checkpoint, reserve, reserveHash }: { readonly checkpoint: Checkpoint; readonly reserve: ReserveEntry; readonly reserveHash: string },
): Promise<RoundOutcome> {
  const plan = resolved.modalities.get(reserve.modality);
  const network = networks.get(reserve.modality);
  const roundKeys = await ports.roundKeys.load(reserve.round);
  invariant(plan !== undefined && network !== undefined, `round ${reserve.round} of ${reserve.modality}`);
  if (roundKeys === undefined) {
    throw new AntiphonError('ledger-tampered', `the ledger has round ${reserve.round} open, but its key is not in the folder: the ledger is another copy than the folder's own; put the newest one back`);
  }
  const patients = new Map(study.sites.map((site) => [site.name, site.patients]));
  return conductRound(
    {
      round: reserve.round,
      study: studyHash,
      reserve: reserveHash,
      mechanism: reserve.mechanism,
      cohort: reserve.sites,
      siteKeys: new Map([...ports.book.state().sites].map(([name, { key }]) => [name, key])),
      quorum: study.operation.quorum,
      deadlineMs: study.operation.roundDeadlineSeconds * 1000,
      weights: flatOf(checkpoint.model, reserve.modality),
      roundKeys,
    },
    {
      ...ports,
      check: (site, update) =>
        checkUpdate(update, {
          parameters: network.size,
          normBound: updateNormBound({
            mechanism: plan.mechanism,
            parameters: network.size,
            patients: patients.get(site) ?? 1,
            learningRate: plan.learningRate,
            momentum: study.optimiser.local.momentum,
          }),
        }),
      report: (site, { code, message }) => {
        ports.emit({ type: 'failure', time: iso(ports.now()), site, code, message });
      },
    },
  );
}

/** Staged checkpoint, then ONE durable write of receipts and COMMIT: the commit point. An abort keeps the old model; what was reserved stays spent. */
async function conclude(
  context: StudyContext,
  ports: CoordinatorPorts,
  round: { readonly checkpoint: Checkpoint; readonly reserve: ReserveEntry; readonly reserveHash: string; readonly outcome: RoundOutcome; readonly startedAt: number },
): Promise<Checkpoint> {
  const { reserve, reserveHash, outcome, startedAt } = round;
  const { verdict } = outcome;
  const refusals = [...outcome.refusals];
  const ledger = ports.book.state();
  const epsilonSpent = refusals.length === 0 ? ledger.spent : statedSpending(ledger, chargesAfter(ledger, refusals.map(({ site }) => site)));
  let { checkpoint } = round;
  let delivered: readonly string[] = [];
  if (verdict.type === 'aggregate') {
    delivered = verdict.delivered.map(({ receipt }) => receipt.site);
    // Scored before it is saved: whatever the next round depends on is durable with the COMMIT.
    checkpoint = await withProgress(context, combine(context, round.checkpoint, reserve, verdict.delivered), { modality: reserve.modality, selection: ports.evaluationSets?.selection });
    await ports.checkpoints.save(checkpoint, { studyHash: context.studyHash, protection: context.study.privacy.protection });
    const modelOut = modelHash(ports.primitives, checkpoint.model, reserve.modality);
    await ports.book.append(
      ...verdict.delivered.map(({ receipt }) => receipt),
      { type: 'commit', round: reserve.round, reserve: reserveHash, sites: [...delivered], refusals, modelOut, epsilonSpent },
    );
  } else {
    await ports.book.append({ type: 'abort', round: reserve.round, reserve: reserveHash, reason: verdict.reason, refusals, epsilonSpent });
  }
  const committed = verdict.type === 'aggregate';
  for (const site of reserve.sites) ports.hub.send(site, { type: 'round-ended', round: reserve.round, outcome: committed ? 'committed' : 'aborted' });
  const event: Extract<StudyEvent, { type: 'round-ended' }> = {
    type: 'round-ended',
    time: iso(ports.now()),
    round: reserve.round,
    modality: reserve.modality,
    outcome: committed ? 'committed' : 'aborted',
    sites: delivered,
    seconds: (ports.now() - startedAt) / 1000,
    epsilonSpent: spentForEvent(ports.book.state()),
  };
  ports.emit(verdict.type === 'abort' ? { ...event, reason: abortText({ reason: verdict.reason, refusals }) } : event);
  return checkpoint;
}

function isEvaluated(study: Study, round: number): boolean {
  return study.evaluation !== undefined && (round % study.evaluation.everyRounds === 0 || round === study.schedule.rounds);
}

async function evaluate(
  { study, networks }: StudyContext,
  ports: CoordinatorPorts,
  { checkpoint, split }: { readonly checkpoint: Checkpoint; readonly split: 'selection' | 'test' },
): Promise<void> {
  if (ports.evaluationSets === undefined) return;
  const { selection, [split]: set } = ports.evaluationSets;
  const evaluated = await evaluateModel({ model: checkpoint.average?.model ?? checkpoint.model, networks, selection, set, fusion: study.fusion, degraded: split === 'test' });
  ports.emit({ type: 'evaluated', time: iso(ports.now()), round: checkpoint.round, split, ...evaluated });
}

/** JSON has no infinity: null says it. */
export function spentForEvent({ plan, spent }: LedgerState): Spent {
  const finite = (epsilon: number): number | null => (Number.isFinite(epsilon) ? epsilon : null);
  return { epsilon: plan === undefined ? 0 : finite(bindingEpsilon(plan, spent)), delta: fromDecimal(spent.delta), pld: finite(fromDecimal(spent.pld)), rdp: finite(fromDecimal(spent.rdp)) };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
