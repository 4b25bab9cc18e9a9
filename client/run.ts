import { bytesToFloats, floatsToBytes, fromHex, toHex } from '../shared/bytes.ts';
import { generateRoundKeys, type Identity, type RoundKeys } from '../shared/crypto/keys.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { createSeal, type Direction, type SealContext } from '../shared/crypto/seal.ts';
import { AntiphonError, invariant } from '../shared/errors.ts';
import type { ReserveEntry } from '../shared/ledger/entry.ts';
import { fromLedgerMechanism } from '../shared/ledger/mechanism.ts';
import { signReceipt, signRefusal } from '../shared/ledger/statements.ts';
import { isFailure } from '../shared/protocol/failure.ts';
import { failureToError } from './failure-to-error.ts';
import { LIMITS, type Chunk, type CoordinatorMessage } from '../shared/protocol/messages.ts';
import { SOFTWARE } from '../shared/protocol/software.ts';
import { chunkCount, createInbox, createOutbox, hashChunks, openTransfer, sealTransfer, type Inbox, type Outbox } from '../shared/protocol/transfer.ts';
import type { Study } from '../shared/study/schema.ts';
import type { Connection, ConnectionEvent } from './connection.ts';
import { decideOffer, publicReason, unbelievable } from './decide.ts';
import { checkPlan } from './guard.ts';
import { cosignLastHead, endOf, isBelievable, type LedgerCopy } from './ledger-copy.ts';
import { createRetryNotes } from './retry-notes.ts';
import type { StagedUpdate } from './staging.ts';
import type { Vault } from './vault.ts';
import { counted } from '../shared/plural.ts';

/** What a site tells the person who runs it. Nothing of its data. */
export type SiteEvent =
  | { readonly type: 'connecting' | 'connected' | 'study-ended'; readonly detail: string }
  | { readonly type: 'disconnected' | 'failure' | 'refused'; readonly detail: string }
  | { readonly type: 'training' | 'released' | 'round-ended'; readonly round: number; readonly detail: string };

export interface SitePorts {
  readonly primitives: Primitives;
  readonly ledger: LedgerCopy;
  readonly train: (input: { readonly weights: Float32Array; readonly reserve: ReserveEntry }) => Promise<Float32Array>;
  readonly stage: { readonly load: () => Promise<StagedUpdate | undefined>; readonly save: (update: StagedUpdate) => Promise<void>; readonly clear: () => Promise<void> };
  /** Limits and spend log of the data set. */
  readonly vault: Vault;
  readonly now: () => number;
  readonly connect: (listener: (event: ConnectionEvent) => void) => Connection;
  readonly emit: (event: SiteEvent) => void;
}

export interface SiteContext {
  readonly site: string;
  readonly identity: Identity;
  /** Hex. */
  readonly studyHash: string;
  readonly study: Study;
  /** Hex. */
  readonly coordinatorKey: string;
}

/** A model that is meant to compute has smaller ones: with larger ones whoever chose them looks for the records that overflow. */
const LARGEST_WEIGHT = 1e6;

/** Finite, too. A loop, because a million weights come with every round. */
function areReasonable(weights: Float32Array): boolean {
  for (let i = 0; i < weights.length; i += 1) if (!(Math.abs(weights[i]!) <= LARGEST_WEIGHT)) return false;
  return true;
}

/** One offered round on its way through the site. */
interface Work {
  readonly reserve: ReserveEntry;
  readonly reserveHash: string;
  readonly coordinatorRoundKey: Uint8Array;
  readonly roundKeys: RoundKeys;
  readonly inbox: Inbox;
  readonly totalBytes: number;
  stage: 'receiving' | 'training';
}

/**
 * The story of a site: connect, follow, verify and cosign the ledger, and for each round that is offered: judge it, log the spend, train it,
 * stage the sealed update, send it until it is stored. Ends with the study. Every event is handled whole before the next.
 */
export async function runSite(context: SiteContext, ports: SitePorts): Promise<void> {
  let end: () => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  let work: Work | undefined;
  // What ends the site ends everything: no event queued behind it is handled, nothing that trains meanwhile is released.
  let isOver = false;
  const over = new Promise<void>((resolve, reject) => {
    end = () => {
      isOver = true;
      work = undefined;
      resolve();
    };
    fail = (error) => {
      isOver = true;
      work = undefined;
      reject(error instanceof Error ? error : new AntiphonError('internal', String(error)));
    };
  });
  // The plan of an earlier process is judged like a new one: it may be the one that this site stopped at.
  const kept = ports.ledger.state().plan;
  const keptProblem = kept === undefined ? undefined : checkPlan(kept, context);
  if (keptProblem !== undefined) throw unbelievable(keptProblem.message);
  let staged = await ports.stage.load();
  let outbox: Outbox | undefined;
  const retries = createRetryNotes(ports.now);

  // 1. Connect; after every (re)connection say how far this site's ledger goes. The coordinator offers what is open.
  let queue: Promise<void> = Promise.resolve();
  const connection = ports.connect((event) => {
    queue = queue.then(() => (isOver ? undefined : handle(event))).catch(fail);
  });

  const handle = async (event: ConnectionEvent): Promise<void> => {
    switch (event.type) {
      case 'open':
        outbox = undefined;
        retries.open();
        if (work?.stage === 'receiving') work = undefined;
        connection.send({ type: 'ready', site: context.site, ledgerLength: ports.ledger.state().length });
        ports.emit({ type: 'connected', detail: 'connected to the coordinator' });
        return;
      case 'closed': {
        const ended = endOf(ports.ledger);
        if (ended !== undefined) {
          ports.emit({ type: 'study-ended', detail: ended.reason });
          connection.close();
          end();
          return;
        }
        const detail = retries.closed(event);
        if (detail !== undefined) ports.emit({ type: 'disconnected', detail });
        return;
      }
      case 'refused':
        throw failureToError(event.problem);
      case 'message':
        return receive(event.message);
      case 'chunk':
        takeChunk(event.chunk);
        return;
    }
  };

  const receive = async (message: CoordinatorMessage): Promise<void> => {
    switch (message.type) {
      case 'ledger':
        return follow(message.from, message.lines);
      case 'offer':
        return consider(message);
      case 'resume':
        outbox?.resumeAt(message.nextChunk);
        pump();
        return;
      case 'ack':
        outbox?.acknowledge(message.nextChunk);
        pump();
        return;
      case 'round-ended':
        if (staged?.receipt.round === message.round) {
          staged = undefined;
          outbox = undefined;
          await ports.stage.clear();
        }
        if (work?.reserve.round === message.round) work = undefined;
        ports.emit({ type: 'round-ended', round: message.round, detail: message.outcome });
        return;
      case 'study-ended':
        ports.emit({ type: 'study-ended', detail: message.reason });
        connection.close();
        end();
        return;
      case 'failure':
        ports.emit({ type: 'failure', detail: `the coordinator refused a message (${message.code}): ${message.message}` });
        return;
      case 'stored':
        return;
      case 'challenge':
      case 'welcome':
      case 'enrolled':
        throw new AntiphonError('protocol-violation', `the coordinator sent ${message.type} inside a session`);
    }
  };

  // 2. Believe only a ledger that verifies: heads, signatures, order, every epsilon recomputed; and that still holds every line this site has seen.
  const follow = async (from: number, lines: readonly string[]): Promise<void> => {
    const first = ports.ledger.state().plan === undefined;
    const problem = await ports.ledger.extend(from, lines);
    const { plan } = ports.ledger.state();
    const planProblem = first && plan !== undefined ? checkPlan(plan, context) : undefined;
    if (problem === undefined && planProblem === undefined) {
      // What it has seen it will never see denied: its word on the head, as a witness.
      if (isBelievable(ports.ledger)) connection.send({ type: 'cosign', ...cosignLastHead(ports.ledger, { primitives: ports.primitives, identity: context.identity, site: context.site, now: ports.now() }) });
      return;
    }
    const message = problem?.message ?? planProblem?.message ?? '';
    connection.send({ type: 'failure', code: 'ledger-invalid', message: message.slice(0, 1000), fatal: true });
    throw unbelievable(message);
  };

  // 3. Judge the offered round by the ledger and the site's own limits, before any data are touched.
  const consider = async (offer: Extract<CoordinatorMessage, { type: 'offer' }>): Promise<void> => {
    const reserveHash = toHex(offer.reserve);
    if (staged?.receipt.reserve === reserveHash) return void announce(staged);
    if (work?.reserveHash === reserveHash && work.stage === 'training') return;
    const inbox = createInbox(offer.totalBytes);
    // What is decided is durable before it is said, and what has been decided on a reserve stays so.
    const own = { site: context.site, study: context.studyHash, key: toHex(context.identity.publicKey) };
    const decision = await ports.vault.exclusively((vault) => decideOffer(offer, { ...own, vault, ledger: ports.ledger, unreceivable: isFailure(inbox) ? inbox : undefined, now: ports.now() }));
    if (decision.type !== 'accepted' || isFailure(inbox)) {
      if (work?.reserveHash === reserveHash) work = undefined;
      if (decision.type === 'refused') {
        const body = { study: context.studyHash, site: context.site, round: offer.round, reserve: reserveHash, reason: publicReason(decision.reason) };
        connection.send({ type: 'refuse', refusal: signRefusal(ports.primitives, context.identity, body) });
        ports.emit({ type: 'refused', detail: `${decision.reason.code}: ${decision.reason.message}` });
      } else {
        connection.send({ type: 'failure', code: 'site-failed', message: 'the site could not train', fatal: false });
        ports.emit({ type: 'failure', detail: `round ${offer.round}: ${decision.type === 'barred' ? decision.why : 'not receivable'}; it stays charged` });
      }
      return;
    }
    // A staged update of an older round can no longer be wanted: its round has ended.
    staged = undefined;
    await ports.stage.clear();
    work = { reserve: decision.reserve, reserveHash, coordinatorRoundKey: offer.roundKey, roundKeys: generateRoundKeys(ports.primitives), inbox, totalBytes: offer.totalBytes, stage: 'receiving' };
    connection.send({ type: 'accept', round: offer.round, roundKey: new Uint8Array(work.roundKeys.publicKey) });
  };

  const takeChunk = ({ round, index, sealed }: Chunk): void => {
    if (work?.reserve.round !== round || work.stage !== 'receiving') return;
    const problem = work.inbox.accept(index, sealed);
    if (problem !== undefined) {
      ports.emit({ type: 'failure', detail: problem.message });
      return;
    }
    connection.send({ type: 'ack', round, nextChunk: work.inbox.nextChunk() });
    if (!work.inbox.complete()) return;
    const current = work;
    current.stage = 'training';
    const weights = openWeights(current);
    // Not awaited: the socket stays served while the trainer works.
    void trainAndRelease(current, weights).catch((error: unknown) => {
      // Only that it failed leaves the site, not why; the round stays charged.
      connection.send({ type: 'failure', code: 'site-failed', message: 'the site could not train', fatal: false });
      fail(error);
    });
  };

  const openWeights = (current: Work): Float32Array => {
    const opened = openTransfer(sealOf(current, 'to-site'), current.inbox.chunks());
    if (isFailure(opened)) throw failureToError(opened);
    if (toHex(ports.primitives.sha256(opened)) !== current.reserve.modelIn) {
      throw new AntiphonError('protocol-violation', 'the weights are not the ones the ledger reserved the round for; this site stops, nothing was trained');
    }
    const weights = bytesToFloats(opened);
    if (!areReasonable(weights)) throw new AntiphonError('protocol-violation', `the coordinator sent weights that no training leads to (not finite, or beyond ${LARGEST_WEIGHT}); this site stops, nothing was trained`);
    return weights;
  };

  const sealOf = ({ coordinatorRoundKey, roundKeys, reserve, totalBytes }: Work, direction: Direction): SealContext =>
    createSeal({
      primitives: ports.primitives,
      own: roundKeys,
      coordinatorRoundKey,
      siteRoundKey: roundKeys.publicKey,
      study: fromHex(context.studyHash, 32),
      round: reserve.round,
      site: context.site,
      direction,
      chunks: chunkCount(totalBytes),
    });

  const logged = ({ round }: ReserveEntry, reserve: string) => ({ study: context.studyHash, site: context.site, round, reserve, time: new Date(ports.now()).toISOString() });

  // 4. Train; then log the release, stage the sealed bytes, and only then send: asked again, the same bytes go out.
  const trainAndRelease = async (current: Work, weights: Float32Array): Promise<void> => {
    const { reserve, reserveHash, roundKeys, totalBytes } = current;
    ports.emit({ type: 'training', round: reserve.round, detail: counted(fromLedgerMechanism(reserve.mechanism).steps, 'step') });
    const update = await ports.train({ weights, reserve });
    if (work !== current) return; // the round ended meanwhile: nothing is released
    const chunks = sealTransfer(sealOf(current, 'to-coordinator'), floatsToBytes(update));
    const receipt = signReceipt(ports.primitives, context.identity, {
      type: 'receipt',
      study: context.studyHash,
      site: context.site,
      round: reserve.round,
      reserve: reserveHash,
      mechanism: reserve.mechanism,
      update: toHex(hashChunks(ports.primitives, chunks)),
      software: SOFTWARE,
    });
    await ports.vault.append({ type: 'release', ...logged(reserve, reserveHash), update: receipt.update });
    const finished: StagedUpdate = { roundKey: new Uint8Array(roundKeys.publicKey), totalBytes, receipt, chunks };
    await ports.stage.save(finished);
    if (work !== current) {
      // The round ended while this was written: nobody waits for it, and another round may have begun. Where the site itself ended, the bytes wait for its next start.
      if (!isOver) await ports.stage.clear();
      return;
    }
    staged = finished;
    work = undefined;
    ports.emit({ type: 'released', round: reserve.round, detail: reserve.mechanism.protection === 'none' ? 'update staged, NOT noised: the study runs without privacy' : 'noised update staged' });
    announce(finished);
  };

  // 5. Upload: resumable, idempotent.
  const announce = (update: StagedUpdate): void => {
    outbox = createOutbox({ chunks: update.chunks.length, window: LIMITS.window });
    outbox.resumeAt(update.chunks.length); // nothing goes out before the coordinator says where to begin
    const { roundKey, totalBytes, receipt } = update;
    connection.send({ type: 'update', roundKey: new Uint8Array(roundKey), totalBytes, receipt });
  };
  const pump = (): void => {
    if (staged === undefined || outbox === undefined) return;
    for (const index of outbox.next()) {
      const sealed = staged.chunks[index];
      invariant(sealed !== undefined, `chunk ${index}`);
      connection.sendChunk({ round: staged.receipt.round, index, sealed });
    }
  };

  try {
    await over;
  } finally {
    connection.close();
  }
}
