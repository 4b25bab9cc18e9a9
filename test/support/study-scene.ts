import { openBook, type Book } from '../../coordinator/book.ts';
import type { StudyEvent } from '../../coordinator/events.ts';
import { networksOf } from '../../coordinator/model-state.ts';
import { runStudy, type CoordinatorPorts, type StudyEnd } from '../../coordinator/run.ts';
import type { Checkpoint, CheckpointStore } from '../../coordinator/store/checkpoint.ts';
import type { RoundKeys } from '../../shared/crypto/keys.ts';
import type { EntryBody } from '../../shared/ledger/entry.ts';
import { toLedgerMechanism } from '../../shared/ledger/mechanism.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import type { Study } from '../../shared/study/schema.ts';
import { createFakeTimer, type FakeTimer } from './exchange-scene.ts';
import { LedgerBuilder } from './ledger-builder.ts';
import { createMemoryHub, type MemoryHub } from './memory-hub.ts';
import { createMemoryLines, type MemoryLines } from './memory-lines.ts';
import { createMember, type Member, type Parcel } from './round-member.ts';

export type Answer = 'deliver' | 'refuse' | 'fail' | 'nothing';

/** What a coordinator keeps when its process ends, and its sites. */
export interface World {
  readonly builder: LedgerBuilder;
  readonly lines: MemoryLines;
  readonly keys: Map<number, RoundKeys>;
  readonly checkpoints: Map<number, Checkpoint>;
  /** Saved checkpoints and appended lines, in order. */
  readonly acts: string[];
  readonly staged: Map<string, Parcel>;
}

export interface Running {
  readonly book: Book;
  readonly hub: MemoryHub;
  readonly timer: FakeTimer;
  readonly stop: AbortController;
  readonly events: readonly StudyEvent[];
  readonly members: ReadonlyMap<string, Member>;
  readonly end: Promise<StudyEnd>;
}

export function newWorld(): World {
  const acts: string[] = [];
  const lines = createMemoryLines();
  const append = async (texts: readonly string[]): Promise<void> => {
    await lines.append(texts);
    acts.push(...bodiesOf(texts).map(({ type }) => type));
  };
  return { builder: new LedgerBuilder(), lines: { ...lines, append }, keys: new Map(), checkpoints: new Map(), acts, staged: new Map() };
}

export const bodiesOf = (lines: readonly string[]): readonly EntryBody[] => lines.map((line) => (JSON.parse(line) as { body: EntryBody }).body);

export interface SceneChange {
  readonly sites?: readonly string[];
  readonly studyHash?: string;
  /** What a site seals: of that length. */
  readonly update?: (site: string, round: number, size: number) => Float32Array;
  readonly evaluationSets?: CoordinatorPorts['evaluationSets'];
  /** Omitted: in memory. */
  readonly checkpoints?: CheckpointStore;
}

/** A coordinator over what the world holds; its sites answer each offer as `answer` says, after a turn of the event loop. */
export async function startStudy(world: World, study: Study, answer: (site: string, round: number) => Answer, change: SceneChange = {}): Promise<Running> {
  const { sites = study.sites.map(({ name }) => name), studyHash = world.builder.study, update = (_site: string, round: number, size: number) => new Float32Array(size).fill(0.01 * round) } = change;
  const { builder, keys, checkpoints, acts, staged } = world;
  const members = new Map<string, Member>();
  const hub = createMemoryHub((site, message) => {
    const member = members.get(site);
    if (message.type !== 'offer' || member === undefined) return;
    const act = answer(site, message.round);
    setImmediate(() => {
      if (act === 'refuse') member.refuse();
      else if (act === 'fail') hub.say(site, { type: 'failure', code: 'site-failed', message: 'the site could not train', fatal: false });
      else if (act === 'deliver') {
        const parcel = staged.get(`${site}/${message.round}`) ?? member.seal(update(site, message.round, message.totalBytes / 4));
        staged.set(`${site}/${message.round}`, parcel);
        member.announce(parcel);
        member.upload(parcel);
      }
    });
  });
  const timer = createFakeTimer();
  const stop = new AbortController();
  const events: StudyEvent[] = [];
  const store = { ...world.lines, lines: [...world.lines.disk()] };
  const book = await openBook({ store, identity: builder.coordinator, primitives, now: Date.now });
  const resolved = resolveStudy(study);
  const modalityOf = new Map(study.sites.map(({ name, modality }) => [name, modality]));
  const end = runStudy(
    { study, resolved, studyHash, networks: networksOf(study) },
    {
      book,
      hub,
      primitives,
      coordinatorKey: builder.coordinator.publicKey,
      cosigned: () => Promise.resolve(),
      checkpoints: {
        save: (checkpoint) => {
          checkpoints.set(checkpoint.round, checkpoint);
          acts.push('checkpoint');
          return Promise.resolve();
        },
        load: (round) => Promise.resolve(checkpoints.get(round)!),
        ...change.checkpoints,
      },
      roundKeys: { load: (round) => Promise.resolve(keys.get(round)), save: (round, own) => Promise.resolve(void keys.set(round, own)) },
      evaluationSets: change.evaluationSets,
      feedLedger: () => undefined,
      emit: (event) => events.push(event),
      now: Date.now,
      setTimer: timer.setTimer,
      signal: stop.signal,
    },
  );
  end.catch(() => undefined);
  if (book.state().plan === undefined) await book.append();
  for (const site of sites) {
    const modality = modalityOf.get(site)!;
    if (!book.state().sites.has(site)) await book.append(builder.enrolment(site, modality));
    members.set(site, createMember(site, { hub, study: builder.study, mechanism: toLedgerMechanism(resolved.modalities.get(modality)!.mechanism), identity: builder.sites.get(site)! }));
    hub.arrive(site);
  }
  return { book, hub, timer, stop, events, members, end };
}
