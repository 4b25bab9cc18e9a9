import { join } from 'node:path';
import type { Connection, ConnectionEvent } from '../../client/connection.ts';
import { openLedgerCopy } from '../../client/ledger-copy.ts';
import type { Limits, SpendEntry } from '../../client/limits.ts';
import { runSite, type SiteEvent } from '../../client/run.ts';
import type { StagedUpdate } from '../../client/staging.ts';
import type { Vault } from '../../client/vault.ts';
import type { Identity } from '../../shared/crypto/keys.ts';
import { toHex } from '../../shared/bytes.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { Chunk, CoordinatorMessage, SiteMessage } from '../../shared/protocol/messages.ts';
import type { Study } from '../../shared/study/schema.ts';
import { STUDY } from './ledger-builder.ts';
import { ledgerStudy } from './ledger-study.ts';
import { temporaryFolder } from './processes.ts';

export const NOW = Date.parse('2026-03-04T05:06:07.000Z');

/** What a site keeps when its process ends. */
export interface SiteDisk {
  readonly ledger: string;
  readonly log: SpendEntry[];
  staged: StagedUpdate | undefined;
  limits: Limits;
}

export function freshDisk(): SiteDisk {
  return { ledger: join(temporaryFolder(), 'ledger.jsonl'), log: [], staged: undefined, limits: {} };
}

export interface SiteBench {
  /** What the site asked of its ports, in order: `name` when it asked, `name done` when that was so. */
  readonly calls: readonly string[];
  readonly sent: readonly SiteMessage[];
  readonly chunks: readonly Chunk[];
  readonly told: readonly SiteEvent[];
  readonly deliver: (...events: readonly ConnectionEvent[]) => void;
  readonly receive: (...messages: readonly CoordinatorMessage[]) => void;
  /** Rejects when the site ends without it. */
  readonly until: (call: string, times?: number) => Promise<void>;
  /** Everything delivered has been handled, and nothing goes on but what a test holds. */
  readonly settled: () => Promise<void>;
  /** 'ended', or the code of the error that ended the site. */
  readonly end: Promise<string>;
}

export interface BenchInput {
  readonly identity: Identity;
  /** That the site was enrolled with. */
  readonly coordinatorKey: Uint8Array;
  readonly disk: SiteDisk;
  readonly study?: Study;
  readonly train?: (weights: Float32Array) => Promise<Float32Array> | Float32Array;
  /** Awaited inside of a call, before it is done. */
  readonly hold?: (call: string) => Promise<void> | undefined;
  readonly now?: () => number;
}

/** Site `a` with its real run, ledger copy and keys; data set, trainer, staging and connection are in memory. Each port takes a turn of the event loop, the vault four, so that a missing await shows. */
export async function startBench({ identity, coordinatorKey, disk, study = ledgerStudy(), train = (weights) => weights, hold, now = () => NOW }: BenchInput): Promise<SiteBench> {
  const calls: string[] = [];
  const sent: SiteMessage[] = [];
  const chunks: Chunk[] = [];
  const told: SiteEvent[] = [];
  const watchers = new Set<() => void>();
  const note = (call: string): void => {
    calls.push(call);
    for (const watch of [...watchers]) watch();
  };
  const call = async <T>(name: string, act: () => T | Promise<T>, turns = 1): Promise<T> => {
    note(name);
    for (let i = 0; i < turns; i += 1) await turn();
    await hold?.(name);
    const result = await act();
    note(`${name} done`);
    return result;
  };
  let listener: (event: ConnectionEvent) => void = () => undefined;
  let isOpen = false;
  const connection: Connection = {
    send: (message) => {
      if (!isOpen) return;
      sent.push(message);
      note(`send ${message.type}`);
    },
    sendChunk: (chunk) => {
      if (!isOpen) return;
      chunks.push(chunk);
      note('send chunk');
    },
    isOpen: () => isOpen,
    close: () => {
      isOpen = false;
    },
  };
  const vault: Pick<Vault, 'limits' | 'entries' | 'append'> = {
    limits: () => Promise.resolve(disk.limits),
    entries: () => Promise.resolve([...disk.log]),
    append: (entry) => call(entry.type, () => void disk.log.push(entry), 4),
  };
  const end = runSite(
    { site: 'a', identity, studyHash: STUDY, study, coordinatorKey: toHex(coordinatorKey) },
    {
      primitives,
      ledger: await openLedgerCopy(disk.ledger, primitives),
      train: ({ weights }) => call('train', () => train(weights)),
      stage: {
        load: () => Promise.resolve(disk.staged),
        save: (update) => call('stage', () => void (disk.staged = structuredClone(update))),
        clear: () => call('clear', () => void (disk.staged = undefined)),
      },
      vault: { ...vault, exclusively: (decide) => decide(vault) },
      now,
      connect: (listen) => {
        listener = listen;
        return connection;
      },
      emit: (event) => {
        told.push(event);
        note(`tell ${event.type}`);
      },
    },
  ).then(
    () => 'ended',
    (error: unknown) => (error instanceof AntiphonError ? error.code : String(error)),
  );
  const deliver = (...events: readonly ConnectionEvent[]): void => {
    for (const event of events) {
      if (event.type === 'open') isOpen = true;
      listener(event);
    }
  };
  const until = (wanted: string, times = 1): Promise<void> =>
    new Promise((resolve, reject) => {
      const watch = (): void => {
        if (calls.filter((each) => each === wanted).length < times) return;
        watchers.delete(watch);
        resolve();
      };
      watchers.add(watch);
      watch();
      void end.then((code) => {
        reject(new Error(`the site ended (${code}) before "${wanted}": ${calls.join(', ')}`));
      });
    });
  // The first turn lets a staged update be loaded and the connection be made.
  await turn();
  return {
    calls,
    sent,
    chunks,
    told,
    deliver,
    receive: (...messages) => {
      deliver(...messages.map((message) => ({ type: 'message', message }) as const));
    },
    until,
    settled: async () => {
      const before = calls.filter((each) => each === 'tell failure').length;
      deliver({ type: 'message', message: { type: 'failure', code: 'ended', message: 'said by the test, to see that all before it was handled', fatal: false } });
      await Promise.race([until('tell failure', before + 1).catch(() => undefined), end]);
      for (let i = 0; i < 10; i += 1) await turn();
    },
    end,
  };
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
