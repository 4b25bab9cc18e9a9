import type { Primitives } from '../crypto/primitives.ts';
import type { EpsilonSpent } from '../privacy/event.ts';
import { modalityOfRound } from '../study/schedule.ts';
import { canonicalJson } from './canonical.ts';
import { fromDecimal, toDecimal } from './decimal.ts';
import type { AbortEntry, CommitEntry, EndEntry, EnrolEntry, EpsilonSpentText, LedgerLine, PlanEntry, ReceiptEntry, Refusal, ReserveEntry } from './entry.ts';
import { FIRST_PREVIOUS, verifyLineSignature } from './line.ts';
import { isLedgerProblem, ledgerProblem, type LedgerProblem } from './problem.ts';
import { chargesAfter, epsilonIfReserved, refundedSpend, spent, type ChargedSteps } from './spending.ts';
import { verifyEnrolment, verifyReceipt, verifyRefusal } from './statements.ts';

/** A reserved round that has neither committed nor aborted. */
export interface OpenRound {
  readonly reserve: ReserveEntry;
  /** Hash of the RESERVE line. */
  readonly hash: string;
  readonly receipts: ReadonlyMap<string, ReceiptEntry>;
}

/** What a ledger says, line by line. The coordinator's state is this fold; sites and auditors check with the same one. */
export interface LedgerState {
  readonly length: number;
  /** Hash of the last line. */
  readonly head: string;
  readonly plan: PlanEntry | undefined;
  readonly sites: ReadonlyMap<string, EnrolEntry>;
  readonly lastRound: number;
  readonly lastCommittedRound: number;
  /** Ended rounds only; refunded sites are not in it. */
  readonly charged: ChargedSteps;
  readonly open: OpenRound | undefined;
  readonly ended: EndEntry | undefined;
}

export function emptyLedger(): LedgerState {
  return { length: 0, head: FIRST_PREVIOUS, plan: undefined, sites: new Map(), lastRound: 0, lastCommittedRound: 0, charged: new Map(), open: undefined, ended: undefined };
}

export interface FoldInput {
  readonly state: LedgerState;
  readonly line: LedgerLine;
  /** SHA-256 of the line's bytes. */
  readonly hash: string;
  readonly primitives: Primitives;
}

/** The state after one more line, or the first rule it breaks. Pure; the rules are those of shared/spec/ledger.md. */
export function foldLine(input: FoldInput): LedgerState | LedgerProblem {
  const { state, line, hash, primitives } = input;
  const { body } = line;
  if (line.index !== state.length) return ledgerProblem('wrong-index', `expected line ${state.length}, found index ${line.index}`);
  if (line.previous !== state.head) return ledgerProblem('broken-link', `expected the hash of line ${state.length - 1} (${state.head.slice(0, 16)}...), found ${line.previous.slice(0, 16)}...`);
  const plan = state.plan ?? (body.type === 'plan' ? body : undefined);
  if (plan === undefined) return ledgerProblem('no-plan', `expected the PLAN first, found ${body.type}`);
  if (!verifyLineSignature(primitives, line, plan.coordinatorKey)) return ledgerProblem('bad-signature', "the line is not signed by the plan's coordinator");
  if (state.ended !== undefined) return ledgerProblem('after-end', `expected nothing after END, found ${body.type}`);

  const next = foldBody(input, plan);
  return isLedgerProblem(next) ? next : { ...next, length: state.length + 1, head: hash };
}

function foldBody({ state, line, hash, primitives }: FoldInput, plan: PlanEntry): LedgerState | LedgerProblem {
  const { body } = line;
  switch (body.type) {
    case 'plan':
      return state.plan === undefined ? { ...state, plan: body } : ledgerProblem('second-plan', 'expected one PLAN, found another');
    case 'disclosure':
      return state;
    case 'enrol':
      return foldEnrol(state, plan, body, primitives);
    case 'reserve':
      return foldReserve(state, plan, body, hash);
    case 'receipt':
      return foldReceipt(state, plan, body, primitives);
    case 'commit':
    case 'abort':
      return foldOutcome(state, plan, body, primitives);
    case 'end':
      if (state.open !== undefined) return ledgerProblem('round-open', `round ${state.open.reserve.round} has neither committed nor aborted`);
      return sameEpsilon(body.epsilonSpent, spent(state), 'epsilonSpent') ?? { ...state, ended: body };
  }
}

function foldEnrol(state: LedgerState, plan: PlanEntry, entry: EnrolEntry, primitives: Primitives): LedgerState | LedgerProblem {
  const enrolled = [...state.sites.values()];
  if (entry.study !== plan.study) return ledgerProblem('wrong-study', `site "${entry.site}" enrolled for another study`);
  if (!plan.sites.some(({ name, modality }) => name === entry.site && modality === entry.modality)) return ledgerProblem('unknown-site', `the plan has no site "${entry.site}" of ${entry.modality}`);
  if (state.sites.has(entry.site)) return ledgerProblem('enrolled-twice', `site "${entry.site}" is enrolled already`);
  if (enrolled.some(({ invite }) => invite === entry.invite)) return ledgerProblem('invite-used-twice', `the invite of "${entry.site}" admitted another site before`);
  if (enrolled.some(({ key }) => key === entry.key)) return ledgerProblem('key-used-twice', `the key of "${entry.site}" is another site's`);
  if (!verifyEnrolment(primitives, entry, entry.key)) return ledgerProblem('bad-site-signature', `the enrolment of "${entry.site}" is not signed by its key`);
  if (state.open !== undefined) return ledgerProblem('round-open', `"${entry.site}" enrolled inside round ${state.open.reserve.round}`);
  return { ...state, sites: new Map([...state.sites, [entry.site, entry]]) };
}

function foldReserve(state: LedgerState, plan: PlanEntry, entry: ReserveEntry, hash: string): LedgerState | LedgerProblem {
  if (state.open !== undefined) return ledgerProblem('round-open', `expected the end of round ${state.open.reserve.round}, found another RESERVE`);
  if (entry.round !== state.lastRound + 1) return ledgerProblem('wrong-round', `expected round ${state.lastRound + 1}, found ${entry.round}`);
  const modality = modalityOfRound(plan.order, entry.round);
  if (entry.modality !== modality) return ledgerProblem('wrong-modality', `the schedule gives round ${entry.round} to ${modality}, found ${entry.modality}`);
  const outsider = entry.sites.find((site, i) => state.sites.get(site)?.modality !== modality || entry.sites.indexOf(site) !== i);
  if (outsider !== undefined) return ledgerProblem('wrong-cohort', `"${outsider}" is not an enrolled site of ${modality}, or is named twice`);
  const planned = plan.modalities[modality];
  if (planned === undefined || canonicalJson(planned.mechanism) !== canonicalJson(entry.mechanism)) return ledgerProblem('wrong-mechanism', `the mechanism is not the plan's for ${modality}`);
  const after = epsilonIfReserved(state, entry);
  const problem = sameEpsilon(entry.epsilonBefore, spent(state), 'epsilonBefore') ?? sameEpsilon(entry.epsilonAfter, after, 'epsilonAfter');
  if (problem !== undefined) return problem;
  if (after.epsilon > fromDecimal(plan.budget.epsilon)) return ledgerProblem('budget-exceeded', `round ${entry.round} brings epsilon to ${toDecimal(after.epsilon)}, above the budget of ${plan.budget.epsilon}`);
  return { ...state, lastRound: entry.round, open: { reserve: entry, hash, receipts: new Map() } };
}

function foldReceipt(state: LedgerState, plan: PlanEntry, entry: ReceiptEntry, primitives: Primitives): LedgerState | LedgerProblem {
  const { open } = state;
  if (open === undefined) return ledgerProblem('no-open-round', `a receipt of "${entry.site}" outside any round`);
  if (entry.study !== plan.study) return ledgerProblem('wrong-study', `the receipt of "${entry.site}" belongs to another study`);
  if (entry.round !== open.reserve.round || entry.reserve !== open.hash) return ledgerProblem('wrong-reserve', `the receipt of "${entry.site}" belongs to another reserve`);
  if (!open.reserve.sites.includes(entry.site)) return ledgerProblem('wrong-cohort', `"${entry.site}" is not in the cohort of round ${entry.round}`);
  if (open.receipts.has(entry.site)) return ledgerProblem('second-receipt', `"${entry.site}" has two receipts in round ${entry.round}`);
  if (canonicalJson(entry.mechanism) !== canonicalJson(open.reserve.mechanism)) return ledgerProblem('wrong-mechanism', `the receipt of "${entry.site}" names another mechanism than the reserve`);
  if (!verifyReceipt(primitives, entry, state.sites.get(entry.site)?.key ?? '')) return ledgerProblem('bad-site-signature', `the receipt of "${entry.site}" is not signed by its key`);
  return { ...state, open: { ...open, receipts: new Map([...open.receipts, [entry.site, entry]]) } };
}

function foldOutcome(state: LedgerState, plan: PlanEntry, entry: CommitEntry | AbortEntry, primitives: Primitives): LedgerState | LedgerProblem {
  const { open } = state;
  if (open === undefined) return ledgerProblem('no-open-round', `${entry.type} of round ${entry.round} without a RESERVE`);
  if (entry.round !== open.reserve.round || entry.reserve !== open.hash) return ledgerProblem('wrong-reserve', `${entry.type} names another reserve than the open one of round ${open.reserve.round}`);
  for (const refusal of entry.refusals) {
    const problem = judgeRefusal({ refusal, open, state, plan, primitives });
    if (problem !== undefined) return problem;
  }
  if (entry.type === 'commit') {
    const missing = entry.sites.find((site, i) => !open.receipts.has(site) || entry.sites.indexOf(site) !== i);
    if (missing !== undefined) return ledgerProblem('missing-receipt', `round ${entry.round} combines "${missing}" without its receipt, or twice`);
  }
  const refused = entry.refusals.map(({ site }) => site);
  const problem = sameEpsilon(entry.epsilonSpent, refundedSpend(state, refused), 'epsilonSpent');
  if (problem !== undefined) return problem;
  const charged = chargesAfter(state, refused);
  return { ...state, charged, open: undefined, lastCommittedRound: entry.type === 'commit' ? entry.round : state.lastCommittedRound };
}

function judgeRefusal(input: { readonly refusal: Refusal; readonly open: OpenRound; readonly state: LedgerState; readonly plan: PlanEntry; readonly primitives: Primitives }): LedgerProblem | undefined {
  const { refusal, open, state, plan, primitives } = input;
  const { site } = refusal;
  if (refusal.study !== plan.study || refusal.round !== open.reserve.round || refusal.reserve !== open.hash || !open.reserve.sites.includes(site)) {
    return ledgerProblem('wrong-refusal', `the refusal of "${site}" does not belong to round ${open.reserve.round}`);
  }
  if (open.receipts.has(site)) return ledgerProblem('wrong-refusal', `"${site}" has a receipt and a refusal in one round: nothing is refunded after a release`);
  if (!verifyRefusal(primitives, refusal, state.sites.get(site)?.key ?? '')) return ledgerProblem('bad-site-signature', `the refusal of "${site}" is not signed by its key`);
  return undefined;
}

function sameEpsilon(found: EpsilonSpentText, expected: EpsilonSpent, field: string): LedgerProblem | undefined {
  if (found.epsilon === toDecimal(expected.epsilon) && found.delta === toDecimal(expected.delta)) return undefined;
  return ledgerProblem('wrong-epsilon', `${field}: the entries add up to epsilon ${toDecimal(expected.epsilon)} at delta ${toDecimal(expected.delta)}, found ${found.epsilon} at ${found.delta}`);
}

