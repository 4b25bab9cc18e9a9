import { generateIdentity, type Identity } from '../../shared/crypto/keys.ts';
import { toHex, utf8 } from '../../shared/bytes.ts';
import { originOf, signCheckpoint } from '../../shared/ledger/checkpoint.ts';
import type { EntryBody, LedgerMechanism, PlanEntry } from '../../shared/ledger/entry.ts';
import { emptyLedger, foldLine, type LedgerState } from '../../shared/ledger/fold.ts';
import { formatLine, readLine } from '../../shared/ledger/line.ts';
import { leafHash, rootOf } from '../../shared/ledger/merkle.ts';
import { isLedgerProblem, type LedgerProblem } from '../../shared/ledger/problem.ts';
import { chargesAfter, chargesIfReserved, statedSpending } from '../../shared/ledger/spending.ts';
import { signEnrolment, signReceipt, signRefusal } from '../../shared/ledger/statements.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';

export const STUDY = 'ab'.repeat(32);
export const MECHANISM: LedgerMechanism = { protection: 'local-noise', samplingRate: '0.2', noiseMultiplier: '1.7', clipNorm: '0.9', steps: 3 };

/** Writes real ledgers, line by line, with real keys; `force` writes a line whatever the rules say. */
export class LedgerBuilder {
  readonly coordinator: Identity = generateIdentity(primitives);
  readonly sites = new Map<string, Identity>();
  readonly lines: string[] = [];
  state: LedgerState = emptyLedger();
  /** The hash of the study that it is about. */
  study = STUDY;
  /** As a reader of a long ledger, who recomputes PLD at some reserves only. */
  recomputePld: (round: number) => boolean = () => true;

  plan(budget = '3', overrides: Partial<PlanEntry> = {}): PlanEntry {
    return {
      type: 'plan',
      study: this.study,
      studyName: 'test',
      coordinatorKey: toHex(this.coordinator.publicKey),
      privacyUnit: 'patient',
      neighbouringRelation: 'add-or-remove-one',
      trustModel: 'local',
      budget: { delta: '0.00001', epsilon: budget },
      accountant: { binding: 'pld', pld: 'antiphon-pld-1', rdpOrder: '6.5' },
      modalities: { image: { mechanism: MECHANISM, rounds: 5, sitesDisjoint: true }, table: { mechanism: MECHANISM, rounds: 5, sitesDisjoint: false } },
      sites: [
        { name: 'a', modality: 'image', patients: 90 },
        { name: 'b', modality: 'image', patients: 80 },
        { name: 'c', modality: 'table', patients: 70 },
      ],
      order: ['image', 'table'],
      rounds: 10,
      ...overrides,
    };
  }

  /** The line's text and what folding it gives. */
  write(body: EntryBody): { text: string; next: LedgerState | LedgerProblem } {
    const text = formatLine({ index: this.state.length, time: '2026-01-02T03:04:05.678Z', body });
    const line = readLine(text);
    return { text, next: isLedgerProblem(line) ? line : foldLine({ state: this.state, line, leaf: leafHash(primitives, utf8(text)), primitives, recomputePld: this.recomputePld }) };
  }

  /** The head over everything so far, by whomever. */
  head(identity = this.coordinator, size = this.state.length): EntryBody {
    return { type: 'head', note: signCheckpoint({ primitives, identity, checkpoint: { origin: originOf(this.study), size, root: rootOf(primitives, this.state.tree) } }) };
  }

  /** One append: the lines and their head. */
  add(...bodies: readonly EntryBody[]): this {
    for (const body of bodies) this.push(body);
    this.push(this.head());
    return this;
  }

  /** One line, without a head behind it. */
  push(body: EntryBody): void {
    const { text, next } = this.write(body);
    if (isLedgerProblem(next)) throw new Error(`${next.code}: ${next.message}`);
    this.state = next;
    this.lines.push(text);
  }

  enrolment(site: string, modality: string, disjointFrom: readonly string[] = ['*']): EntryBody {
    const identity = this.sites.get(site) ?? generateIdentity(primitives);
    this.sites.set(site, identity);
    return signEnrolment(primitives, identity, { type: 'enrol', study: this.study, site, modality, key: toHex(identity.publicKey), invite: toHex(primitives.sha256(identity.publicKey)), disjointFrom: [...disjointFrom] });
  }

  reserve(modality: string, sites: string[]): Extract<EntryBody, { type: 'reserve' }> {
    return {
      type: 'reserve',
      round: this.state.lastRound + 1,
      modality,
      sites,
      mechanism: MECHANISM,
      modelIn: 'cd'.repeat(32),
      epsilonBefore: this.state.spent,
      epsilonAfter: statedSpending(this.state, chargesIfReserved(this.state, { sites, mechanism: MECHANISM })),
    };
  }

  receipt(site: string): Extract<EntryBody, { type: 'receipt' }> {
    const { open } = this.state;
    const identity = this.sites.get(site);
    if (open === undefined || identity === undefined) throw new Error('no open round or unknown site');
    return signReceipt(primitives, identity, { type: 'receipt', study: this.study, site, round: open.reserve.round, reserve: open.hash, mechanism: MECHANISM, update: 'ef'.repeat(32), software: 'test/1' });
  }

  outcome(type: 'commit' | 'abort', sites: string[], refused: string[] = []): EntryBody {
    const { open } = this.state;
    if (open === undefined) throw new Error('no open round');
    const refusals = refused.map((site) => {
      const identity = this.sites.get(site);
      if (identity === undefined) throw new Error('unknown site');
      return signRefusal(primitives, identity, { study: this.study, site, round: open.reserve.round, reserve: open.hash, reason: 'limits-exceeded' });
    });
    const common = { round: open.reserve.round, reserve: open.hash, refusals, epsilonSpent: statedSpending(this.state, chargesAfter(this.state, refused)) };
    return type === 'commit' ? { type, sites, modelOut: '01'.repeat(32), ...common } : { type, reason: 'quorum', ...common };
  }

  /** Plan, enrolments, two committed rounds, one aborted, the end. */
  static example(): LedgerBuilder {
    const builder = new LedgerBuilder();
    builder.add(builder.plan(), { type: 'disclosure', what: 'metrics', why: 'public' });
    builder.add(builder.enrolment('a', 'image'), builder.enrolment('b', 'image'), builder.enrolment('c', 'table'));
    builder.add(builder.reserve('image', ['a', 'b']));
    builder.push(builder.receipt('a'));
    builder.push(builder.receipt('b'));
    builder.add(builder.outcome('commit', ['a', 'b']));
    builder.add(builder.reserve('table', ['c']));
    builder.add(builder.outcome('abort', [], ['c']));
    return builder.add({ type: 'end', reason: 'completed', detail: 'done', epsilonSpent: builder.state.spent });
  }
}
