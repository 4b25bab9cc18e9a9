import type { Primitives } from '../crypto/primitives.ts';
import type { DisclosureEntry, EntryBody } from './entry.ts';
import { emptyLedger, foldLine, type LedgerState } from './fold.ts';
import { hashLine, readLine } from './line.ts';
import { isLedgerProblem, type LedgerProblem } from './problem.ts';

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
  readonly epsilonSpent: string;
}

export interface LedgerAudit {
  readonly lines: number;
  /** The state up to the first problem. */
  readonly state: LedgerState;
  readonly problem: (LedgerProblem & { readonly line: number }) | undefined;
  readonly rounds: readonly AuditedRound[];
  readonly disclosures: readonly DisclosureEntry[];
}

/** Verifies every line from nothing but the lines: trusts nobody, recomputes every hash, signature, rule and epsilon. */
export function verifyLedger(input: { readonly lines: readonly string[]; readonly primitives: Primitives }): LedgerAudit {
  const { lines, primitives } = input;
  const rounds: AuditedRound[] = [];
  const disclosures: DisclosureEntry[] = [];
  let state = emptyLedger();
  for (const [i, text] of lines.entries()) {
    const line = readLine(text);
    const next = isLedgerProblem(line) ? line : foldLine({ state, line, hash: hashLine(primitives, text), primitives });
    if (isLedgerProblem(next)) return { lines: lines.length, state, problem: { ...next, line: i }, rounds, disclosures };
    state = next;
    if (!isLedgerProblem(line)) note(line.body, rounds, disclosures);
  }
  return { lines: lines.length, state, problem: undefined, rounds, disclosures };
}

function note(body: EntryBody, rounds: AuditedRound[], disclosures: DisclosureEntry[]): void {
  if (body.type === 'disclosure') disclosures.push(body);
  if (body.type === 'reserve') {
    const { round, modality, sites, mechanism, epsilonAfter } = body;
    const noiseMultiplier = mechanism.protection === 'none' ? 'none' : mechanism.noiseMultiplier;
    rounds.push({ round, modality, sites, steps: mechanism.steps, samplingRate: mechanism.samplingRate, noiseMultiplier, outcome: 'open', delivered: [], refunded: [], epsilonSpent: epsilonAfter.epsilon });
  }
  const last = rounds.at(-1);
  if ((body.type === 'commit' || body.type === 'abort') && last !== undefined) {
    const delivered = body.type === 'commit' ? body.sites : [];
    rounds[rounds.length - 1] = { ...last, outcome: body.type === 'commit' ? 'committed' : 'aborted', delivered, refunded: body.refusals.map(({ site }) => site), epsilonSpent: body.epsilonSpent.epsilon };
  }
}
