import { equalBytes, fromHex, toHex } from '../bytes.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { agrees } from '../privacy/accountant.ts';
import { modalityOfRound } from '../study/schedule.ts';
import { openCheckpoint, originOf } from './checkpoint.ts';
import { fromDecimal } from './decimal.ts';
import type { AbortEntry, CommitEntry, EndEntry, EnrolEntry, EpsilonSpentText, HeadEntry, LedgerLine, PlanEntry, ReceiptEntry, Refusal, ReserveEntry } from './entry.ts';
import { isHeadProblem } from './head-problem.ts';
import { sameMechanism } from './mechanism.ts';
import { EMPTY_FRONTIER, extendFrontier, rootOf, type Frontier } from './merkle.ts';
import { planProblem } from './plan.ts';
import { isLedgerProblem, ledgerProblem, type LedgerProblem } from './problem.ts';
import { bindingEpsilon, chargesAfter, chargesIfReserved, NOTHING_SPENT, pldOfCharges, rdpOfCharges, statedSpending, type ChargedSteps, wholePlanDetail, wholePlanFits } from './spending.ts';
import { verifyEnrolment, verifyReceipt, verifyRefusal } from './statements.ts';

/** A reserved round that has neither committed nor aborted. */
export interface OpenRound {
  readonly reserve: ReserveEntry;
  /** Leaf hash of the RESERVE line. */
  readonly hash: string;
  readonly receipts: ReadonlyMap<string, ReceiptEntry>;
}

/** The rounds of one modality. */
export interface Turns {
  readonly reserved: number;
  readonly committed: number;
  /** Ended without a COMMIT since the last one that had it. */
  readonly idle: number;
}

export const NO_TURNS: Turns = { reserved: 0, committed: 0, idle: 0 };

/** A COMMIT, as far as it speaks of a model: `modelOut` is the SHA-256 of that modality's (encoder, head) after the round. */
export type CommittedModel = Pick<CommitEntry, 'round' | 'modelOut'> & { readonly modality: string };

/** What a ledger says, line by line. The coordinator's state is this fold; sites and auditors check with the same one. */
export interface LedgerState {
  readonly length: number;
  /** Lines up to and with the last signed head; what comes after it is not believed yet. */
  readonly signedLength: number;
  readonly tree: Frontier;
  readonly plan: PlanEntry | undefined;
  readonly sites: ReadonlyMap<string, EnrolEntry>;
  readonly lastRound: number;
  readonly lastCommit: CommittedModel | undefined;
  readonly committedRounds: number;
  /** By modality, as far as it has any. */
  readonly turns: ReadonlyMap<string, Turns>;
  /** Ended rounds only; refunded sites are not in it. */
  readonly charged: ChargedSteps;
  /** As the last entry that speaks of it says; the fold has checked it. */
  readonly spent: EpsilonSpentText;
  readonly open: OpenRound | undefined;
  readonly ended: EndEntry | undefined;
}

export function emptyLedger(): LedgerState {
  return {
    length: 0,
    signedLength: 0,
    tree: EMPTY_FRONTIER,
    plan: undefined,
    sites: new Map(),
    lastRound: 0,
    lastCommit: undefined,
    committedRounds: 0,
    turns: new Map(),
    charged: new Map(),
    spent: NOTHING_SPENT,
    open: undefined,
    ended: undefined,
  };
}

/** Is everything the state says signed by the coordinator? Nothing may be done on the word of a line that is not. */
export function isSigned({ length, signedLength }: LedgerState): boolean {
  return length === signedLength;
}

export interface FoldInput {
  readonly state: LedgerState;
  readonly line: LedgerLine;
  /** Merkle leaf hash of the line's bytes. */
  readonly leaf: Uint8Array;
  readonly primitives: Primitives;
  /**
   * Is PLD recomputed at this RESERVE? Default: always. A reader of a long ledger may leave some out (RDP never is): epsilon only grows with the charges, so that a number between two
   * recomputed ones lies between them; where charges are refunded, both sides of it are recomputed.
   */
  readonly recomputePld?: (round: number) => boolean;
}

/** The state after one more line, or the first rule it breaks. Pure; the rules are those of shared/spec/ledger.md. */
export function foldLine(input: FoldInput): LedgerState | LedgerProblem {
  const { state, line, leaf, primitives } = input;
  const { body } = line;
  if (line.index !== state.length) return ledgerProblem('wrong-index', `expected line ${state.length + 1} of the ledger, found the one that says it is line ${line.index + 1} (index ${line.index}): lines were removed, added or moved`);
  const plan = state.plan ?? (body.type === 'plan' ? body : undefined);
  if (plan === undefined) return ledgerProblem('no-plan', `expected the PLAN first, found ${body.type}`);
  if (state.ended !== undefined && body.type !== 'head') return ledgerProblem('after-end', `expected nothing after END, found ${body.type}`);

  const next = foldBody(input, plan);
  if (isLedgerProblem(next)) return next;
  const length = state.length + 1;
  return { ...next, length, signedLength: body.type === 'head' ? length : state.signedLength, tree: extendFrontier(primitives, state.tree, leaf) };
}

function foldBody({ state, line, leaf, primitives, recomputePld }: FoldInput, plan: PlanEntry): LedgerState | LedgerProblem {
  const { body } = line;
  switch (body.type) {
    case 'plan':
      if (state.plan !== undefined) return ledgerProblem('second-plan', 'expected one PLAN, found another');
      return planProblem(body) ?? { ...state, plan: body, spent: { ...NOTHING_SPENT, delta: body.budget.delta } };
    case 'disclosure':
      return state;
    case 'enrol':
      return foldEnrol(state, plan, body, primitives);
    case 'reserve':
      return foldReserve(state, plan, body, { hash: toHex(leaf), recomputePld: recomputePld === undefined || recomputePld(body.round) });
    case 'receipt':
      return foldReceipt(state, plan, body, primitives);
    case 'commit':
    case 'abort':
      return foldOutcome(state, plan, body, { primitives, reserveIsChecked: recomputePld === undefined || recomputePld(body.round) });
    case 'head':
      return foldHead(state, plan, body, primitives);
    case 'end':
      if (state.open !== undefined) return ledgerProblem('round-open', `round ${state.open.reserve.round} has neither committed nor aborted`);
      return sameText(body.epsilonSpent, state.spent, 'epsilonSpent') ?? { ...state, ended: body };
  }
}

/** The coordinator's signature under exactly the lines before this one. */
function foldHead(state: LedgerState, plan: PlanEntry, { note }: HeadEntry, primitives: Primitives): LedgerState | LedgerProblem {
  const opened = openCheckpoint({ primitives, note, origin: originOf(plan.study), publicKey: fromHex(plan.coordinatorKey, 32) });
  if (isHeadProblem(opened)) return ledgerProblem('bad-head', opened.message);
  const { checkpoint: head } = opened;
  if (head.size !== state.length) return ledgerProblem('wrong-root', `the head signs ${head.size} lines, found ${state.length} before it`);
  if (!equalBytes(head.root, rootOf(primitives, state.tree))) return ledgerProblem('wrong-root', `the head signs other lines than the ${state.length} before it: one was changed, removed, added or moved`);
  return state;
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

function foldReserve(state: LedgerState, plan: PlanEntry, entry: ReserveEntry, { hash, recomputePld }: { readonly hash: string; readonly recomputePld: boolean }): LedgerState | LedgerProblem {
  if (state.open !== undefined) return ledgerProblem('round-open', `expected the end of round ${state.open.reserve.round}, found another RESERVE`);
  if (entry.round !== state.lastRound + 1) return ledgerProblem('wrong-round', `expected round ${state.lastRound + 1}, found ${entry.round}`);
  if (entry.round > plan.rounds) return ledgerProblem('wrong-round', `the plan has ${plan.rounds} rounds, found round ${entry.round}`);
  const { modality } = entry;
  const misplaced = modalityProblem(state, plan, entry);
  if (misplaced !== undefined) return misplaced;
  const outsider = entry.sites.find((site, i) => state.sites.get(site)?.modality !== modality || entry.sites.indexOf(site) !== i);
  if (outsider !== undefined) return ledgerProblem('wrong-cohort', `"${outsider}" is not an enrolled site of ${modality}, or is named twice`);
  const planned = plan.modalities[modality];
  if (planned === undefined || !sameMechanism(planned.mechanism, entry.mechanism)) return ledgerProblem('wrong-mechanism', `the mechanism is not the plan's for ${modality}`);
  const problem = sameText(entry.epsilonBefore, state.spent, 'epsilonBefore') ?? sameEpsilon(entry.epsilonAfter, state, { charged: chargesIfReserved(state, entry), recomputePld });
  if (problem !== undefined) return problem;
  const after = bindingEpsilon(plan, entry.epsilonAfter);
  if (!(after <= fromDecimal(plan.budget.epsilon))) return ledgerProblem('budget-exceeded', `round ${entry.round} brings epsilon to ${after}, above the budget of ${plan.budget.epsilon}`);
  if (!wholePlanFits(state)) return ledgerProblem('budget-exceeded', wholePlanDetail(state));
  const turns = state.turns.get(modality) ?? NO_TURNS;
  return { ...state, lastRound: entry.round, spent: entry.epsilonAfter, turns: new Map([...state.turns, [modality, { ...turns, reserved: turns.reserved + 1 }]]), open: { reserve: entry, hash, receipts: new Map() } };
}

/** May the round train this modality? In turn, or, where the plan leaves that open, one of its order that has not had all its rounds. */
function modalityProblem({ turns }: LedgerState, plan: PlanEntry, { round, modality }: ReserveEntry): LedgerProblem | undefined {
  if (plan.schedule === undefined) {
    const due = modalityOfRound(plan.order, round);
    return due === modality ? undefined : ledgerProblem('wrong-modality', `the schedule gives round ${round} to ${due}, found ${modality}`);
  }
  if (!plan.order.includes(modality)) return ledgerProblem('wrong-modality', `the plan gives no round to ${modality}, found it in round ${round}`);
  const most = plan.modalities[modality]?.rounds ?? 0;
  return (turns.get(modality) ?? NO_TURNS).reserved < most ? undefined : ledgerProblem('wrong-modality', `the plan gives ${modality} at most ${most} rounds, found another in round ${round}`);
}

function foldReceipt(state: LedgerState, plan: PlanEntry, entry: ReceiptEntry, primitives: Primitives): LedgerState | LedgerProblem {
  const { open } = state;
  if (open === undefined) return ledgerProblem('no-open-round', `a receipt of "${entry.site}" outside any round`);
  if (entry.study !== plan.study) return ledgerProblem('wrong-study', `the receipt of "${entry.site}" belongs to another study`);
  if (entry.round !== open.reserve.round || entry.reserve !== open.hash) return ledgerProblem('wrong-reserve', `the receipt of "${entry.site}" belongs to another reserve`);
  if (!open.reserve.sites.includes(entry.site)) return ledgerProblem('wrong-cohort', `"${entry.site}" is not in the cohort of round ${entry.round}`);
  if (open.receipts.has(entry.site)) return ledgerProblem('second-receipt', `"${entry.site}" has two receipts in round ${entry.round}`);
  if (!sameMechanism(entry.mechanism, open.reserve.mechanism)) return ledgerProblem('wrong-mechanism', `the receipt of "${entry.site}" names another mechanism than the reserve`);
  if (!verifyReceipt(primitives, entry, state.sites.get(entry.site)?.key ?? '')) return ledgerProblem('bad-site-signature', `the receipt of "${entry.site}" is not signed by its key`);
  return { ...state, open: { ...open, receipts: new Map([...open.receipts, [entry.site, entry]]) } };
}

function foldOutcome(state: LedgerState, plan: PlanEntry, entry: CommitEntry | AbortEntry, { primitives, reserveIsChecked }: { readonly primitives: Primitives; readonly reserveIsChecked: boolean }): LedgerState | LedgerProblem {
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
  // A refund takes the RESERVE's number out of the sum that bounds it from above: it is recomputed before that.
  const unrefunded = refused.length === 0 || reserveIsChecked ? undefined : sameEpsilon(open.reserve.epsilonAfter, state, { charged: chargesAfter(state), recomputePld: true });
  if (unrefunded !== undefined) return unrefunded;
  const charged = chargesAfter(state, refused);
  const problem = refused.length === 0 ? sameText(entry.epsilonSpent, state.spent, 'epsilonSpent') : sameEpsilon(entry.epsilonSpent, state, { charged, recomputePld: true });
  if (problem !== undefined) return problem;
  const { modality } = open.reserve;
  const { reserved, committed, idle } = state.turns.get(modality) ?? NO_TURNS;
  const turns: Turns = entry.type === 'commit' ? { reserved, committed: committed + 1, idle: 0 } : { reserved, committed, idle: idle + 1 };
  const ended: LedgerState = { ...state, charged, spent: entry.epsilonSpent, open: undefined, turns: new Map([...state.turns, [modality, turns]]) };
  return entry.type === 'abort' ? ended : { ...ended, lastCommit: { round: entry.round, modality, modelOut: entry.modelOut }, committedRounds: state.committedRounds + 1 };
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

function sameText(found: EpsilonSpentText, expected: EpsilonSpentText, field: string): LedgerProblem | undefined {
  if (found.pld === expected.pld && found.rdp === expected.rdp && found.delta === expected.delta) return undefined;
  return ledgerProblem('wrong-epsilon', `${field}: expected PLD ${expected.pld}, RDP ${expected.rdp} at delta ${expected.delta} as stated before, found ${found.pld}, ${found.rdp} at ${found.delta}`);
}

function sameEpsilon(found: EpsilonSpentText, state: LedgerState, { charged, recomputePld }: { readonly charged: ChargedSteps; readonly recomputePld: boolean }): LedgerProblem | undefined {
  const pldAgrees = recomputePld ? agrees('pld', fromDecimal(found.pld), pldOfCharges(state, charged)) : fromDecimal(found.pld) >= fromDecimal(state.spent.pld);
  if (pldAgrees && agrees('rdp', fromDecimal(found.rdp), rdpOfCharges(state, charged)) && found.delta === state.plan?.budget.delta) return undefined;
  const expected = statedSpending(state, charged);
  return ledgerProblem('wrong-epsilon', `the entries add up to epsilon ${expected.pld} (PLD) and ${expected.rdp} (RDP) at delta ${expected.delta}, found ${found.pld} and ${found.rdp} at ${found.delta}`);
}
