import { checkUpdate } from '../../coordinator/check-update.ts';
import { conductRound, type ExchangePorts, type RoundOrder, type RoundOutcome } from '../../coordinator/exchange.ts';
import { toHex } from '../../shared/bytes.ts';
import { generateRoundKeys } from '../../shared/crypto/keys.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { Failure } from '../../shared/protocol/failure.ts';
import { MECHANISM, STUDY } from './ledger-builder.ts';
import { createMemoryHub, type MemoryHub } from './memory-hub.ts';
import { createMember, type Member } from './round-member.ts';

/** A timer that runs when the test says so. */
export interface FakeTimer {
  readonly setTimer: (callback: () => void, ms: number) => () => void;
  readonly fire: () => void;
  readonly running: () => readonly number[];
}

export function createFakeTimer(): FakeTimer {
  const timers = new Map<() => void, number>();
  return {
    setTimer: (callback, ms) => {
      timers.set(callback, ms);
      return () => void timers.delete(callback);
    },
    fire: () => {
      for (const callback of [...timers.keys()]) {
        timers.delete(callback);
        callback();
      }
    },
    running: () => [...timers.values()],
  };
}

export interface ExchangeScene {
  readonly hub: MemoryHub;
  readonly timer: FakeTimer;
  readonly members: readonly [Member, Member, Member];
  readonly order: RoundOrder;
  /** In the order of their reports. */
  readonly reported: readonly { readonly site: string; readonly code: string }[];
  readonly fed: readonly string[];
  readonly stop: AbortController;
  readonly outcome: Promise<RoundOutcome>;
  /** Undefined until the round is over. */
  readonly settled: () => RoundOutcome | undefined;
}

export const WEIGHTS = Float32Array.from({ length: 29 }, (_, i) => Math.cos(2 * i + 1));

/** Round 7 of sites a, b and c, of which two suffice; all are connected. Updates are as long as `weights` and at most 100 long. */
export function exchangeScene(change: { readonly weights?: Float32Array; readonly quorum?: number; readonly connected?: readonly string[]; readonly check?: ExchangePorts['check']; readonly stop?: AbortController } = {}): ExchangeScene {
  const { weights = WEIGHTS, quorum = 0.6, connected = ['a', 'b', 'c'], stop = new AbortController() } = change;
  const hub = createMemoryHub();
  const timer = createFakeTimer();
  const [a, b, c] = [createMember('a', { hub }), createMember('b', { hub }), createMember('c', { hub })];
  const members = [a, b, c] as const;
  for (const site of connected) hub.arrive(site);
  const order: RoundOrder = {
    round: 7,
    study: STUDY,
    reserve: '5c'.repeat(32),
    mechanism: MECHANISM,
    cohort: ['a', 'b', 'c'],
    siteKeys: new Map(members.map(({ name, identity }) => [name, toHex(identity.publicKey)])),
    quorum,
    deadlineMs: 60_000.4,
    weights,
    roundKeys: generateRoundKeys(primitives),
  };
  const reported: { site: string; code: string }[] = [];
  const fed: string[] = [];
  let result: RoundOutcome | undefined;
  const outcome = conductRound(order, {
    hub,
    primitives,
    feedLedger: (site) => fed.push(site),
    check: change.check ?? ((_site, update) => checkUpdate(update, { parameters: weights.length, normBound: 100 })),
    report: (site: string, { code }: Failure) => reported.push({ site, code }),
    setTimer: timer.setTimer,
    signal: stop.signal,
  }).then((value) => (result = value));
  return { hub, timer, members, order, reported, fed, stop, outcome, settled: () => result };
}

/** The sites whose updates were combined, or why none was. */
export async function verdict({ outcome }: ExchangeScene): Promise<readonly string[] | string> {
  const found = (await outcome).verdict;
  return found.type === 'aggregate' ? found.delivered.map(({ receipt }) => receipt.site) : found.reason;
}
