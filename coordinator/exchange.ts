import { bytesToFloats, equalBytes, floatsToBytes, fromHex, toHex } from '../shared/bytes.ts';
import type { RoundKeys } from '../shared/crypto/keys.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import { createSeal, type Direction } from '../shared/crypto/seal.ts';
import { invariant } from '../shared/errors.ts';
import type { LedgerMechanism, ReceiptEntry, Refusal } from '../shared/ledger/entry.ts';
import { failure, isFailure, type Failure } from '../shared/protocol/failure.ts';
import { LIMITS, type SiteMessage } from '../shared/protocol/messages.ts';
import { chunkCount, createInbox, createOutbox, hashChunks, openTransfer, sealTransfer, type Inbox, type Outbox } from '../shared/protocol/transfer.ts';
import type { Hub, HubEvent } from './hub.ts';
import { judgeReceipt, judgeRefusal } from './judge-statement.ts';
import { beginRound, isSettled, moveMember, verdictOf, type RoundState, type Verdict } from './round.ts';

/** One reserved round, ready to go out. */
export interface RoundOrder {
  readonly round: number;
  readonly study: string;
  /** Hash of the RESERVE line. */
  readonly reserve: string;
  readonly mechanism: LedgerMechanism;
  readonly cohort: readonly string[];
  /** Ed25519 keys of the cohort, hex. */
  readonly siteKeys: ReadonlyMap<string, string>;
  readonly quorum: number;
  readonly deadlineMs: number;
  /** The flat (encoder, head) weights the round starts from. */
  readonly weights: Float32Array;
  readonly roundKeys: RoundKeys;
}

export interface RoundOutcome {
  readonly verdict: Exclude<Verdict, { type: 'collecting' }>;
  readonly refusals: readonly Refusal[];
}

export interface ExchangePorts {
  readonly hub: Hub;
  readonly primitives: Primitives;
  /** Brings the site's copy of the ledger up to date before it is offered anything. */
  readonly feedLedger: (site: string) => void;
  /** May this update be combined? (shape, finite, norm) */
  readonly check: (site: string, update: Float32Array) => Failure | undefined;
  readonly report: (site: string, problem: Failure) => void;
  readonly setTimer: (callback: () => void, ms: number) => () => void;
  /** Aborts the exchange when the study is interrupted. */
  readonly signal: AbortSignalLike;
}

/** The part of AbortSignal that is needed here. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly addEventListener: (type: 'abort', listener: () => void) => void;
  readonly removeEventListener: (type: 'abort', listener: () => void) => void;
}

interface Download {
  readonly siteRoundKey: Uint8Array;
  readonly chunks: readonly Uint8Array[];
  readonly outbox: Outbox;
}

interface Upload {
  readonly receipt: ReceiptEntry;
  readonly siteRoundKey: Uint8Array;
  readonly totalBytes: number;
  readonly inbox: Inbox;
}

/**
 * Dispatch and collect of one round. Idempotent towards every site: a reconnected site is offered the same round again, a staged
 * update continues where it stopped, a repeated message changes nothing. Resolves when quorum or deadline decide.
 */
export function conductRound(order: RoundOrder, ports: ExchangePorts): Promise<RoundOutcome> {
  const { hub, primitives } = ports;
  const plaintext = floatsToBytes(order.weights);
  const downloads = new Map<string, Download>();
  /** Offered since they last accepted: one offer is accepted under one key, so that the model is sealed once for it. */
  const unanswered = new Set<string>();
  const uploads = new Map<string, Upload>();
  let state: RoundState = beginRound(order.round, order.cohort, order.quorum);

  const statements = { ...order, primitives };
  const sealWith = (site: string, siteRoundKey: Uint8Array) => (direction: Direction, totalBytes: number) =>
    createSeal({
      primitives,
      own: order.roundKeys,
      coordinatorRoundKey: order.roundKeys.publicKey,
      siteRoundKey,
      study: fromHex(order.study, 32),
      round: order.round,
      site,
      direction,
      chunks: chunkCount(totalBytes),
    });

  const offer = (site: string): void => {
    ports.feedLedger(site);
    unanswered.add(site);
    hub.send(site, {
      type: 'offer',
      round: order.round,
      reserve: fromHex(order.reserve, 32),
      roundKey: new Uint8Array(order.roundKeys.publicKey),
      totalBytes: plaintext.length,
      deadlineMs: Math.round(order.deadlineMs),
    });
  };
  const pump = (site: string): void => {
    const download = downloads.get(site);
    if (download === undefined) return;
    for (const index of download.outbox.next()) {
      const sealed = download.chunks[index];
      invariant(sealed !== undefined, `chunk ${index}`);
      hub.sendChunk(site, { round: order.round, index, sealed });
    }
  };
  const refuseMessage = (site: string, problem: Failure): void => {
    ports.report(site, problem);
    hub.send(site, { type: 'failure', code: problem.code, message: problem.message, fatal: false });
  };

  /** What it sent can never be combined: the round does not wait for it. */
  const reject = (site: string, problem: Failure): void => {
    refuseMessage(site, problem);
    state = moveMember(state, site, { type: 'rejected', code: problem.code });
    downloads.delete(site);
  };

  const accept = (site: string, siteRoundKey: Uint8Array): void => {
    const member = state.members.get(site);
    if (member === undefined || isSettled(member)) return;
    const former = downloads.get(site);
    const isSame = former !== undefined && equalBytes(former.siteRoundKey, siteRoundKey);
    // Said again without a new offer: what the window allows is on its way.
    if (isSame && !unanswered.has(site)) return;
    if (!unanswered.delete(site)) {
      refuseMessage(site, failure('out-of-order', 'this offer was accepted under another key: one offer, one key'));
      return;
    }
    const chunks = isSame ? former.chunks : sealTransfer(sealWith(site, siteRoundKey)('to-site', plaintext.length), plaintext);
    downloads.set(site, { siteRoundKey, chunks, outbox: createOutbox({ chunks: chunks.length, window: LIMITS.window }) });
    state = moveMember(state, site, { type: 'training' });
    pump(site);
  };

  const receive = (site: string, message: SiteMessage): void => {
    if ('round' in message && message.round !== order.round) {
      refuseMessage(site, failure('wrong-round', `expected round ${order.round}, found ${message.round}`));
      return;
    }
    switch (message.type) {
      case 'accept':
        accept(site, message.roundKey);
        return;
      case 'ack':
        downloads.get(site)?.outbox.acknowledge(message.nextChunk);
        pump(site);
        return;
      case 'refuse': {
        const problem = uploads.has(site) ? failure('out-of-order', 'a refusal came after the receipt: nothing is refunded after a release') : judgeRefusal(statements, message.refusal, site);
        if (problem !== undefined) refuseMessage(site, problem);
        else state = moveMember(state, site, { type: 'refused', refusal: message.refusal });
        return;
      }
      case 'update':
        announce(site, message);
        return;
      case 'failure':
        // Whatever it was, the site cannot deliver; its part of the reserve stays spent.
        ports.report(site, failure('site-failed', `${message.code}: ${message.message}`));
        state = moveMember(state, site, { type: 'rejected', code: 'site-failed' });
        return;
      case 'hello':
      case 'enrol':
      case 'ready':
      case 'cosign':
        refuseMessage(site, failure('out-of-order', `a message of type ${message.type} does not belong into a round`));
    }
  };

  const announce = (site: string, message: Extract<SiteMessage, { type: 'update' }>): void => {
    const { receipt, totalBytes, roundKey } = message;
    if (receipt.round !== order.round) {
      // It may have been under way when its round ended: no word on this one.
      refuseMessage(site, failure('wrong-round', `expected a receipt of round ${order.round}, found one of round ${receipt.round}`));
      return;
    }
    const problem = judgeReceipt(statements, receipt, site) ?? (totalBytes === plaintext.length ? undefined : failure('wrong-length', `expected an update of ${plaintext.length} bytes, found ${totalBytes}`));
    if (problem !== undefined) {
      reject(site, problem);
      return;
    }
    const member = state.members.get(site);
    if (member !== undefined && isSettled(member)) {
      hub.send(site, { type: 'stored', round: order.round });
      return;
    }
    let upload = uploads.get(site);
    if (upload !== undefined && upload.receipt.update !== receipt.update) {
      reject(site, failure('hash-mismatch', 'a second receipt names another update than the first: there is one release for a reserve'));
      return;
    }
    if (upload === undefined) {
      const inbox = createInbox(totalBytes);
      if (isFailure(inbox)) {
        reject(site, inbox);
        return;
      }
      upload = { receipt, siteRoundKey: roundKey, totalBytes, inbox };
      uploads.set(site, upload);
    }
    state = moveMember(state, site, { type: 'uploading' });
    hub.send(site, { type: 'resume', round: order.round, nextChunk: upload.inbox.nextChunk() });
  };

  const take = (site: string, index: number, sealed: Uint8Array): void => {
    const upload = uploads.get(site);
    const member = state.members.get(site);
    if (member === undefined || member.type === 'rejected' || member.type === 'refused') return;
    if (upload === undefined) {
      refuseMessage(site, failure('out-of-order', 'a chunk came before its update was announced'));
      return;
    }
    const problem = upload.inbox.accept(index, sealed);
    if (problem !== undefined) {
      reject(site, problem);
      return;
    }
    hub.send(site, { type: 'ack', round: order.round, nextChunk: upload.inbox.nextChunk() });
    if (upload.inbox.complete() && !isSettled(member)) finishUpload(site, upload);
  };

  const finishUpload = (site: string, upload: Upload): void => {
    const update = openUpdate(site, upload);
    const problem = isFailure(update) ? update : ports.check(site, update);
    if (isFailure(update) || problem !== undefined) {
      reject(site, problem ?? failure('malformed', 'the update could not be read'));
      return;
    }
    state = moveMember(state, site, { type: 'delivered', receipt: upload.receipt, update });
    downloads.delete(site);
    hub.send(site, { type: 'stored', round: order.round });
  };

  const openUpdate = (site: string, { inbox, receipt, siteRoundKey, totalBytes }: Upload): Float32Array | Failure => {
    if (toHex(hashChunks(primitives, inbox.chunks())) !== receipt.update) return failure('hash-mismatch', 'the update is not the one that the receipt names');
    const opened = openTransfer(sealWith(site, siteRoundKey)('to-coordinator', totalBytes), inbox.chunks());
    return isFailure(opened) ? opened : bytesToFloats(opened);
  };

  return new Promise((resolve) => {
    const settle = (deadlinePassed: boolean): void => {
      const verdict = ports.signal.aborted ? { type: 'abort' as const, reason: 'the coordinator was stopped' } : verdictOf(state, deadlinePassed);
      if (verdict.type === 'collecting') return;
      unsubscribe();
      cancelTimer();
      ports.signal.removeEventListener('abort', interrupted);
      const refusals = [...state.members.values()].flatMap((member) => (member.type === 'refused' ? [member.refusal] : []));
      resolve({ verdict, refusals });
    };
    const interrupted = (): void => {
      settle(true);
    };
    const unsubscribe = hub.subscribe((event: HubEvent) => {
      if (!state.members.has(event.site)) return;
      if (event.type === 'ready') offer(event.site);
      else if (event.type === 'message') receive(event.site, event.message);
      else if (event.type === 'chunk') {
        if (event.chunk.round === order.round) take(event.site, event.chunk.index, event.chunk.sealed);
        else refuseMessage(event.site, failure('wrong-round', `expected a chunk of round ${order.round}, found ${event.chunk.round}`));
      }
      settle(false);
    });
    const cancelTimer = ports.setTimer(() => {
      settle(true);
    }, order.deadlineMs);
    ports.signal.addEventListener('abort', interrupted);
    for (const site of order.cohort) if (hub.ready().has(site)) offer(site);
    if (ports.signal.aborted) interrupted();
  });
}
