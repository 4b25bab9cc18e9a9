import { existsSync } from 'node:fs';
import { fromHex, toHex } from '../shared/bytes.ts';
import { generateIdentity } from '../shared/crypto/keys.ts';
import { buildEvaluationSet, checkSeparation } from '../shared/data/evaluation-set.ts';
import { AntiphonError } from '../shared/errors.ts';
import { canonicalJson } from '../shared/ledger/canonical.ts';
import { writeFileAtomic } from '../shared/platform/atomic-file.ts';
import { openBackend } from '../shared/platform/backend.ts';
import type { BackendChoice } from '../shared/platform/backend-choice.ts';
import { openDataFolder } from '../shared/platform/data-files.ts';
import { openLedgerFile } from '../shared/platform/ledger-file.ts';
import { nodePrimitives as primitives } from '../shared/platform/primitives.ts';
import { proveBackend } from '../shared/model/self-check.ts';
import { failure, isFailure } from '../shared/protocol/failure.ts';
import { studyHash } from '../shared/study/hash.ts';
import { roundBounds } from '../shared/study/adaptive.ts';
import { resolveStudy } from '../shared/study/resolve.ts';
import type { Study } from '../shared/study/schema.ts';
import { openBook } from './book.ts';
import { createShortageWatch } from './budget.ts';
import { FAREWELL_MS, farewell, lastTold } from './ended.ts';
import { decideEnrolment } from './enrolment.ts';
import type { EventSink, StudyEvent } from './events.ts';
import type { AbortSignalLike } from './exchange.ts';
import { linePieces } from './ledger-feed.ts';
import { networksOf } from './model-state.ts';
import { createProofs } from './proofs.ts';
import { quietFailures } from './quiet.ts';
import { writeReport } from './report/write.ts';
import { checkStudyOf, runStudy, spentForEvent, type StudyContext, type StudyEnd } from './run.ts';
import { startServer } from './server.ts';
import { startedEvent } from './started.ts';
import { startTimer, whenever } from './timing.ts';
import { createWitnesses, restoreWitnesses } from './witnesses.ts';
import { openCheckpoints } from './store/checkpoint.ts';
import { openMetrics } from './store/metrics.ts';
import { openWitnessFile } from './store/witness-file.ts';
import { coordinatorIdentity, enterRunFolder, readInvites, roundKeyFile, runFiles, writeAddress } from './store/run-folder.ts';
import type { LedgerState } from '../shared/ledger/fold.ts';

export interface CoordinatorOptions {
  readonly study: Study;
  readonly studyYaml: string;
  readonly folder: string;
  readonly host: string;
  readonly port: number;
  /** What sites are told to call; default: the address the server listens on. */
  readonly publicUrl: string | undefined;
  /** Folder with the evaluation records; needed when the study evaluates. */
  readonly data: string | undefined;
  readonly backend: BackendChoice;
  readonly signal: AbortSignalLike;
  readonly show: EventSink;
}

/** Puts the real parts together: folder, ledger, server, evaluation data, clock. The story itself is `run.ts`. */
export async function startCoordinator(options: CoordinatorOptions): Promise<StudyEnd & { readonly roundsCommitted: number }> {
  const { study, folder, signal } = options;
  const startedAt = Date.now();
  checkSeparation(study);
  const context: StudyContext = { study, resolved: resolveStudy(study), studyHash: studyHash(study, primitives), networks: networksOf(study) };
  const fresh = await enterRunFolder(folder);
  const files = runFiles(folder);
  const identity = await coordinatorIdentity(folder, () => generateIdentity(primitives));
  const store = await openLedgerFile(files.ledger);
  let begun = store.lines.length > 0;
  const metrics = openMetrics(files.metrics);
  const events: StudyEvent[] = [...metrics.events];
  // An event may come from a socket's callback, where nobody catches: what cannot be recorded stops the study instead.
  const stop = new AbortController();
  signal.addEventListener('abort', () => { stop.abort(); });
  if (signal.aborted) stop.abort();
  let unrecorded: AntiphonError | undefined;
  const unrecordable = (error: unknown): void => {
    unrecorded ??= error instanceof AntiphonError ? error : new AntiphonError('internal', String(error));
    stop.abort();
  };
  const record: EventSink = (event) => {
    events.push(event);
    options.show(event);
    try {
      metrics.append(event);
    } catch (error) {
      unrecordable(error);
    }
  };
  const { emit, flush } = quietFailures({ emit: record, now: Date.now });
  try {
    const book = await openBook({ store, identity, primitives, now: Date.now });
    checkStudyOf(book.state(), context);
    const { ended: over } = book.state();
    // The test part is looked at once: of a study that has ended nothing is evaluated again, and nothing is needed for it.
    const stage = over === undefined ? { over, ...(await openParts(options, context)) } : { over };
    await writeFileAtomic(files.study, options.studyYaml);
    const witnesses = createWitnesses({ primitives, ledger: book });
    const witnessFile = await openWitnessFile({ path: files.witnesses, lines: witnesses.lines, setTimer: startTimer, failed: unrecordable });
    restoreWitnesses(witnesses, { path: files.witnesses, lines: witnessFile.kept });
    witnesses.subscribe(witnessFile.changed);
    const conclude = async (end: StudyEnd): Promise<StudyEnd & { readonly roundsCommitted: number }> => {
      const roundsCommitted = book.state().committedRounds;
      emit({
        type: 'ended',
        time: now(),
        reason: end.reason,
        detail: end.detail,
        roundsCommitted,
        ...(study.schedule.adaptive === undefined ? {} : { roundsPerModality: Object.fromEntries([...book.state().turns].map(([modality, { committed }]) => [modality, committed])) }),
        epsilonSpent: spentForEvent(book.state()),
        seconds: (Date.now() - startedAt) / 1000,
        peakMemoryMiB: Math.round(process.resourceUsage().maxRSS / 1024),
      });
      if (unrecorded !== undefined) throw unrecorded;
      await writeReport(files.report, events, options.studyYaml);
      return { ...end, roundsCommitted };
    };
    if (over !== undefined) {
      const last = lastTold(events, folder);
      // Killed right behind its END, it has not told it yet.
      if (last === undefined) await conclude(over);
      else if (!existsSync(files.report)) await writeReport(files.report, events, options.studyYaml);
      for (const event of last ?? []) options.show(event);
    }
    const unaware = over === undefined ? [] : witnesses.behind(book.state().sites.keys());
    if (over !== undefined && unaware.length === 0) return { reason: over.reason, detail: over.detail, roundsCommitted: book.state().committedRounds };
    // Who comes and goes behind the end of a study is no part of its story.
    const tell = over === undefined ? emit : options.show;
    const shortage = createShortageWatch(roundBounds(study));
    const proofs = createProofs({ primitives, lines: book.lines });
    const server = await startServer({
      host: options.host,
      port: options.port,
      primitives,
      identity,
      study: fromHex(context.studyHash, 32),
      siteOfKey: (key) => [...book.state().sites.values()].find((site) => site.key === key),
      enrol: async (siteKey, request) => {
        const known = book.state().sites.get(request.site);
        // The same key again (an enrolment whose answer was lost, or a site that starts over): nothing new to record.
        if (known !== undefined && known.key === toHex(siteKey) && canonicalJson(known.disjointFrom) === canonicalJson(request.disjointFrom)) return { study: canonicalJson(study) };
        if (book.state().open !== undefined) return failure('out-of-order', 'a round is running; enrol again when it has ended');
        const entry = decideEnrolment({ request, siteKey, ledger: book.state(), invites: await readInvites(folder), now: Date.now(), primitives });
        if (isFailure(entry)) return entry;
        await book.append(entry);
        emit({ type: 'site', time: now(), site: entry.site, modality: entry.modality, state: 'enrolled' });
        const short = shortage(book.state());
        if (short !== undefined) emit({ type: 'failure', time: now(), site: entry.site, code: 'budget-short', message: short });
        return { study: canonicalJson(study) };
      },
      cosigned: witnesses.receive,
      published: (path) => {
        if (path === '/health') return 'ok\n';
        if (path === '/ledger.jsonl') return linePieces(book.lines());
        if (path === '/witnesses.jsonl') return witnesses.lines().map((line) => `${line}\n`).join('');
        return path === '/head' ? book.head() : proofs(path);
      },
      report: (problem, site) => {
        tell({ type: 'failure', time: now(), ...(site === undefined ? {} : { site }), code: problem.code, message: problem.message });
      },
    });
    try {
      const modalityOf = new Map(study.sites.map((site) => [site.name, site.modality]));
      server.subscribe((event) => {
        // At once, not only before an offer: a site that has seen more than this ledger holds is to notice.
        if (event.type === 'ready') server.feedLedger(event.site, book.lines());
        if (event.type === 'ready' || event.type === 'closed') {
          tell({ type: 'site', time: now(), site: event.site, modality: modalityOf.get(event.site) ?? '', state: event.type === 'ready' ? 'connected' : 'disconnected' });
        }
      });
      const url = options.publicUrl ?? `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${server.port}`;
      const listening = {
        type: 'listening',
        time: now(),
        url,
        coordinatorKey: Buffer.from(identity.publicKey).toString('hex'),
        ...(over === undefined ? { notEnrolled: study.sites.map(({ name }) => name).filter((name) => !book.state().sites.has(name)) } : { unaware }),
      } as const;
      if (stage.over !== undefined) {
        options.show(listening);
        const { reason, detail } = stage.over;
        await farewell({ server, witnesses, sites: unaware, end: { reason, detail }, signal: stop.signal });
        return { reason, detail, roundsCommitted: book.state().committedRounds };
      }
      const { backend, evaluationSets } = stage;
      emit(startedEvent(context, { folder, backend: `${backend.name} (${backend.package} ${backend.version}; ${backend.why})`, backendSummary: backend.summary, resumedAfterRound: endedRounds(book.state()) }));
      await writeAddress(folder, { url, study: context.studyHash, coordinatorKey: Buffer.from(identity.publicKey).toString('hex'), pid: process.pid });
      begun = true;
      const running = runStudy(context, {
        book,
        hub: server,
        checkpoints: await openCheckpoints(files.checkpoints, context.networks),
        roundKeys: roundKeyFile(folder),
        primitives,
        coordinatorKey: identity.publicKey,
        evaluationSets,
        feedLedger: (site) => {
          server.feedLedger(site, book.lines());
        },
        cosigned: () => whenever(() => witnesses.behind(server.ready()).length === 0, [server.subscribe, witnesses.subscribe], FAREWELL_MS),
        emit,
        now: Date.now,
        setTimer: startTimer,
        signal: stop.signal,
      });
      emit(listening);
      const end = await running;
      flush();
      const concluded = await conclude(end);
      // A closed socket drops what it has not sent: sites that were told the end leave by themselves.
      if (end.reason !== 'interrupted') await whenever(() => server.ready().size === 0, [server.subscribe], FAREWELL_MS);
      return concluded;
    } finally {
      await server.close();
      await witnessFile.close();
    }
  } catch (error) {
    // Nothing of a study is recorded: nothing of the start is left. The lock is still ours.
    if (!begun) await fresh.undo();
    throw error;
  } finally {
    await store.close();
  }
}

/** The round that a stop left open goes on. */
function endedRounds({ lastRound, open }: LedgerState): number {
  return open === undefined ? lastRound : lastRound - 1;
}

function now(): string {
  return new Date().toISOString();
}

async function openParts(options: CoordinatorOptions, { networks }: StudyContext): Promise<{ readonly backend: Awaited<ReturnType<typeof openBackend>>; readonly evaluationSets: Awaited<ReturnType<typeof evaluationData>> }> {
  const evaluationSets = await evaluationData(options);
  const backend = await openBackend(options.backend);
  await proveBackend([...networks.values()]);
  return { backend, evaluationSets };
}

async function evaluationData({ study, data }: CoordinatorOptions): Promise<{ selection: Awaited<ReturnType<typeof buildEvaluationSet>>; test: Awaited<ReturnType<typeof buildEvaluationSet>> } | undefined> {
  if (study.evaluation === undefined) return undefined;
  if (data === undefined) throw new AntiphonError('data-invalid', 'the study evaluates on public records: give the coordinator their folder with --data DIR, or remove `evaluation` from the study');
  const files = openDataFolder(data);
  return {
    selection: await buildEvaluationSet({ study, part: 'selection', files, primitives }),
    test: await buildEvaluationSet({ study, part: 'test', files, primitives }),
  };
}
