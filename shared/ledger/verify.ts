import { utf8 } from '../bytes.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { agrees } from '../privacy/accountant.ts';
import { fromDecimal } from './decimal.ts';
import type { DisclosureEntry, EntryBody, EpsilonSpentText, LedgerLine } from './entry.ts';
import { emptyLedger, foldLine, isSigned, type LedgerState } from './fold.ts';
import { readLine } from './line.ts';
import { leafHash } from './merkle.ts';
import { isLedgerProblem, ledgerProblem, type LedgerProblem } from './problem.ts';
import { bindingEpsilon, chargesAfter, pldOfCharges, statedSpending } from './spending.ts';
import { counted } from '../plural.ts';

/** One reserved round as the entries tell it. */
export interface AuditedRound {
  readonly round: number;
  readonly modality: string;
  readonly sites: readonly string[];
  readonly steps: number;
  readonly samplingRate: string;
  /** `none` without privacy. */
  readonly noiseMultiplier: string;
  readonly outcome: 'committed' | 'aborted' | 'open';
  readonly delivered: readonly string[];
  readonly refunded: readonly string[];
  readonly time: string;
  readonly spent: EpsilonSpentText;
}

export type PlacedProblem = LedgerProblem & { readonly line: number };

export interface LedgerAudit {
  readonly lines: number;
  /** False where not even the first line has the outer form of an entry: another file. */
  readonly looksLikeLedger: boolean;
  /** Where there is a problem, the state under the last head before it that verified: what stands behind that head nobody has signed, or the next head contradicts it. */
  readonly state: LedgerState;
  readonly problem: PlacedProblem | undefined;
  /** Of the history in `state`, recomputed; the open reserve at its worst case. */
  readonly spent: EpsilonSpentText;
}

/** What a reader is told as the lines pass; only what waits for its head is kept, so that memory does not grow with the ledger. */
export interface LedgerWatcher {
  /** Told when a head over it has verified; so is `disclosure`. */
  readonly round: (round: AuditedRound) => void;
  readonly disclosure: (entry: DisclosureEntry) => void;
  /** Every line that holds, at once, with the state after it and its leaf hash. No head over it may follow: believe it only if its index is below the final state's length. */
  readonly line?: (line: LedgerLine, state: LedgerState, leaf: Uint8Array) => void;
}

export function isPldCheck(round: number, plannedRounds: number): boolean {
  return round % Math.max(1, Math.ceil(plannedRounds / PLD_CHECKS)) === 0;
}

export interface LedgerVerifier {
  /** After the first problem lines are only counted. `whole`: false where a file ends without the line's newline; it is believed no more than one that was never written. */
  readonly push: (text: string, whole?: boolean) => void;
  readonly finish: () => LedgerAudit;
}

/** So many RESERVEs, evenly over the planned rounds, have their PLD recomputed: enough for a curve, few enough for a ledger of any length. */
export const PLD_CHECKS = 128;

/**
 * Verifies every line from nothing but the lines: trusts nobody, recomputes every hash, signature, rule and the RDP of every round; the PLD of at most PLD_CHECKS
 * rounds (all of a shorter study) and of the whole. PLD only grows with the charges: where the last number is within the budget, all before it were.
 */
export function createVerifier({ primitives, watcher }: { readonly primitives: Primitives; readonly watcher: LedgerWatcher }): LedgerVerifier {
  let state = emptyLedger();
  /** Under the last head that verified. */
  let signed = { state, open: undefined as AuditedRound | undefined };
  /** What was told of the lines behind that head. */
  let waiting: (() => void)[] = [];
  let lines = 0;
  let looksLikeLedger = true;
  let problem: PlacedProblem | undefined;
  let open: AuditedRound | undefined;
  const recomputePld = (round: number): boolean => isPldCheck(round, state.plan?.rounds ?? 1);

  const later: Pick<LedgerWatcher, 'round' | 'disclosure'> = {
    round: (round) => void waiting.push(() => { watcher.round(round); }),
    disclosure: (entry) => void waiting.push(() => { watcher.disclosure(entry); }),
  };

  const push = (text: string, whole = true): void => {
    const place = lines;
    lines += 1;
    if (place === 0) looksLikeLedger = /^\{.*"(antiphon|body|index)"/.test(text);
    if (problem !== undefined) return;
    const line = readLine(text);
    const leaf = leafHash(primitives, utf8(text));
    const next = isLedgerProblem(line) ? line : foldLine({ state, line, leaf, primitives, recomputePld });
    if (isLedgerProblem(next) || isLedgerProblem(line)) {
      problem = { ...(isLedgerProblem(next) ? next : ledgerProblem('not-an-entry', '')), line: place };
      return;
    }
    if (!whole) {
      problem = { ...ledgerProblem('unsigned', 'the last line has no newline: it was cut'), line: place };
      return;
    }
    state = next;
    open = tell(line.body, line.time, { open, watcher: later });
    watcher.line?.(line, state, leaf);
    if (!isSigned(state)) return;
    signed = { state, open };
    for (const tellNow of waiting) tellNow();
    waiting = [];
  };

  const finish = (): LedgerAudit => {
    if (problem === undefined && lines > 0) problem = unsignedTail(state) ?? wrongSum(state);
    if (signed.open !== undefined) watcher.round(signed.open);
    return { lines, looksLikeLedger, state: signed.state, problem, spent: statedSpending(signed.state, chargesAfter(signed.state)) };
  };
  return { push, finish };
}

function unsignedTail(state: LedgerState): PlacedProblem | undefined {
  if (isSigned(state)) return undefined;
  return { ...ledgerProblem('unsigned', `${counted(state.length - state.signedLength, 'line')} after the last signed head: the file was cut while it was written, or they were added`), line: state.signedLength };
}

/** The last stated number, whose PLD may not have been recomputed where it stands. */
function wrongSum(state: LedgerState): PlacedProblem | undefined {
  const pld = pldOfCharges(state, chargesAfter(state));
  const budget = Number(state.plan?.budget.epsilon);
  const line = state.length - 1;
  if (!agrees('pld', fromDecimal(state.spent.pld), pld)) return { ...ledgerProblem('wrong-epsilon', `the entries add up to epsilon ${pld} (PLD), the last one states ${state.spent.pld}`), line };
  if (state.plan !== undefined && bindingEpsilon(state.plan, state.spent) > budget) return { ...ledgerProblem('budget-exceeded', `epsilon ${state.spent.pld} is above the budget of ${budget}`), line };
  return undefined;
}

/** A whole ledger at once: for short ones. */
export function verifyLedger({ lines, primitives }: { readonly lines: readonly string[]; readonly primitives: Primitives }): LedgerAudit & { readonly rounds: readonly AuditedRound[]; readonly disclosures: readonly DisclosureEntry[] } {
  const rounds: AuditedRound[] = [];
  const disclosures: DisclosureEntry[] = [];
  const verifier = createVerifier({ primitives, watcher: { round: (round) => rounds.push(round), disclosure: (entry) => disclosures.push(entry) } });
  for (const line of lines) verifier.push(line);
  return { ...verifier.finish(), rounds, disclosures };
}

/** Tells of a round when it is over; returns the one that is open after this line. */
function tell(body: EntryBody, time: string, { open, watcher }: { readonly open: AuditedRound | undefined; readonly watcher: Pick<LedgerWatcher, 'round' | 'disclosure'> }): AuditedRound | undefined {
  if (body.type === 'disclosure') watcher.disclosure(body);
  if (body.type === 'reserve') {
    const { round, modality, sites, mechanism, epsilonAfter } = body;
    const noiseMultiplier = mechanism.protection === 'none' ? 'none' : mechanism.noiseMultiplier;
    return { round, modality, sites, steps: mechanism.steps, samplingRate: mechanism.samplingRate, noiseMultiplier, outcome: 'open', delivered: [], refunded: [], time, spent: epsilonAfter };
  }
  if (open === undefined || (body.type !== 'commit' && body.type !== 'abort')) return open;
  const [outcome, delivered] = body.type === 'commit' ? (['committed', body.sites] as const) : (['aborted', []] as const);
  watcher.round({ ...open, outcome, delivered, refunded: body.refusals.map(({ site }) => site), time, spent: body.epsilonSpent });
  return undefined;
}
