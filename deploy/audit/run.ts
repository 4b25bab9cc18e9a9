import type { DisclosureEntry, EpsilonSpentText } from '../../shared/ledger/entry.ts';
import type { LedgerState } from '../../shared/ledger/fold.ts';
import { fromDecimal } from '../../shared/ledger/decimal.ts';
import { chargesAfter, overlapCliques, siteHistories, type ChargedSteps } from '../../shared/ledger/spending.ts';
import { createVerifier, isPldCheck, type AuditedRound, type LedgerAudit, type LedgerVerifier, type LedgerWatcher } from '../../shared/ledger/verify.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { epsilonOf, type EpsilonPair } from '../../shared/privacy/accountant.ts';
import { countCliques, everyClique } from '../../shared/privacy/composition.ts';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import { compareCopies } from './copies.ts';
import { deferSignatures } from './deferred.ts';
import { readSpendLogs, type SpendCheck } from './spend-logs.ts';
import type { AuditSources, LineSource } from './source.ts';
import { readWitnesses, type WitnessCheck } from './witnesses.ts';

export type AuditVerdict = 'verified' | 'budget-exceeded' | 'tampered' | 'forked' | 'unreadable';

export interface AuditReport {
  readonly verdict: AuditVerdict;
  /** What is wrong, the worst first. */
  readonly problems: readonly { readonly verdict: AuditVerdict; readonly message: string }[];
  readonly source: string;
  readonly audit: LedgerAudit;
  readonly signatures: number;
  readonly rounds: { readonly count: number; readonly first: readonly AuditedRound[]; readonly last: readonly AuditedRound[] };
  readonly delivered: ReadonlyMap<string, number>;
  readonly disclosures: readonly DisclosureEntry[];
  readonly curve: readonly CurvePoint[];
  readonly cliques: readonly (EpsilonPair & { readonly sites: readonly string[] })[];
  /** Of which `cliques` are the worst. */
  readonly cliqueCount: number;
  readonly sites: readonly SiteFacts[];
  readonly witnesses: readonly WitnessCheck[];
  readonly spendLogs: readonly SpendCheck[];
  readonly copies: readonly { readonly name: string; readonly lines: number }[];
  readonly seconds: number;
}

export interface CurvePoint {
  /** From 0. */
  readonly line: number;
  readonly round: number;
  readonly time: string;
  readonly spent: EpsilonSpentText;
  readonly charged: ChargedSteps;
}

export interface SiteFacts extends EpsilonPair {
  readonly site: string;
  readonly modality: string;
  readonly steps: number;
  readonly delivered: number;
  readonly disjointFrom: readonly string[];
}

/** Rounds shown from either end of a long study; all are verified. */
const SHOWN = 20;
const MAX_CLIQUES = 64;
const SEVERITY: readonly AuditVerdict[] = ['unreadable', 'tampered', 'forked', 'budget-exceeded', 'verified'];

/** Verifies a ledger from its bytes alone, beside it what witnesses and sites have kept. Memory does not grow with the ledger. Throws AntiphonError('audit-unreadable' | 'audit-tampered') where there is no text to read. */
export async function auditLedger(sources: AuditSources): Promise<AuditReport> {
  const startedAt = performance.now();
  const spendLogs = await readSpendLogs(sources.spendLogs);
  const witnesses = await readWitnesses(sources.witnesses);
  const copies = compareCopies(sources.copies);
  const { audit, signatures, believed } = await verifyAll(sources.ledger, {
    eachLine: copies.line,
    alsoLine: (line, state, leaf) => {
      spendLogs.line(line, leaf, state);
      witnesses.line(state);
    },
  });
  const { rounds, delivered, disclosures } = believed;
  const found: { readonly verdict: AuditVerdict; readonly message: string }[] = [];
  if (audit.problem !== undefined) {
    const { code, message, line } = audit.problem;
    if (!audit.looksLikeLedger) found.push({ verdict: 'unreadable', message: `${sources.ledger.name} is not an Antiphon ledger: its first line is no ledger entry` });
    else found.push({ verdict: code === 'budget-exceeded' ? 'budget-exceeded' : 'tampered', message: `line ${line + 1}: ${message} (${code})` });
  }
  if (audit.lines === 0) found.push({ verdict: 'unreadable', message: 'the ledger is empty' });
  // What others say of this ledger means nothing where it does not hold by itself.
  if (found.length === 0) {
    found.push(...(await copies.finish()), ...witnesses.finish(audit.state, nodePrimitives), ...spendLogs.finish());
  }
  const problems = [...found].sort((a, b) => SEVERITY.indexOf(a.verdict) - SEVERITY.indexOf(b.verdict));
  return {
    verdict: problems[0]?.verdict ?? 'verified',
    problems,
    source: sources.ledger.name,
    audit,
    signatures,
    rounds,
    delivered,
    disclosures,
    curve: believed.curve.filter(({ line }) => line < audit.state.length),
    ...facts(audit.state, delivered),
    witnesses: witnesses.checks(),
    spendLogs: spendLogs.checks(),
    copies: copies.checks(),
    seconds: (performance.now() - startedAt) / 1000,
  };
}

interface Believed {
  readonly watcher: LedgerWatcher;
  readonly rounds: { count: number; readonly first: AuditedRound[]; readonly last: AuditedRound[] };
  readonly delivered: Map<string, number>;
  readonly disclosures: DisclosureEntry[];
  /** Of every line that held, also of one that no head has signed. */
  readonly curve: CurvePoint[];
}

function collect(alsoLine: LedgerWatcher['line']): Believed {
  const rounds = { count: 0, first: [] as AuditedRound[], last: [] as AuditedRound[] };
  const delivered = new Map<string, number>();
  const disclosures: DisclosureEntry[] = [];
  const curve: CurvePoint[] = [];
  const watcher: LedgerWatcher = {
    round: (round) => {
      rounds.count += 1;
      if (rounds.first.length < SHOWN) rounds.first.push(round);
      else {
        rounds.last.push(round);
        if (rounds.last.length > SHOWN) rounds.last.shift();
      }
      for (const site of round.delivered) delivered.set(site, (delivered.get(site) ?? 0) + 1);
    },
    disclosure: (entry) => disclosures.push(entry),
    line: (line, state, leaf) => {
      alsoLine?.(line, state, leaf);
      if (line.body.type === 'reserve' && isPldCheck(line.body.round, state.plan?.rounds ?? 1)) {
        curve.push({ line: line.index, round: line.body.round, time: line.time, spent: line.body.epsilonAfter, charged: chargesAfter(state) });
      }
    },
  };
  return { watcher, rounds, delivered, disclosures, curve };
}

/** The lines pass once, signatures being verified beside. Only where one is bad they pass again, up to it, and what the first pass has told is forgotten: nothing behind a bad one is believed. */
async function verifyAll(source: LineSource, { eachLine, alsoLine }: { readonly eachLine: (text: string) => Promise<void> | undefined; readonly alsoLine: LedgerWatcher['line'] }): Promise<{ readonly audit: LedgerAudit; readonly signatures: number; readonly believed: Believed }> {
  const deferred = deferSignatures(nodePrimitives);
  const believed = collect(alsoLine);
  const verifier = createVerifier({ primitives: deferred.primitives, watcher: believed.watcher });
  await pass(source, verifier, async (text, line) => {
    deferred.reading(line);
    await eachLine(text);
  });
  const { badLine, count: signatures } = await deferred.settled();
  const audit = verifier.finish();
  return badLine !== undefined && badLine <= (audit.problem?.line ?? Infinity) ? { ...(await verifyAgain(source)), signatures } : { audit, signatures, believed };
}

async function verifyAgain(source: LineSource): Promise<{ readonly audit: LedgerAudit; readonly believed: Believed }> {
  const believed = collect(undefined);
  const verifier = createVerifier({ primitives: nodePrimitives, watcher: believed.watcher });
  await pass(source, verifier, () => undefined);
  return { audit: verifier.finish(), believed };
}

async function pass(source: LineSource, verifier: LedgerVerifier, before: (text: string, line: number) => Promise<void> | undefined): Promise<void> {
  const lines = source.lines();
  let held = await lines.next();
  for (let line = 0; held.done !== true; line += 1) {
    const next = await lines.next();
    await before(held.value, line);
    verifier.push(held.value, next.done !== true || next.value.complete);
    held = next;
  }
}

function facts(state: LedgerState, delivered: ReadonlyMap<string, number>): Pick<AuditReport, 'cliques' | 'cliqueCount' | 'sites'> {
  const { plan } = state;
  if (plan === undefined) return { cliques: [], cliqueCount: 0, sites: [] };
  const charged = chargesAfter(state);
  const settings = { delta: fromDecimal(plan.budget.delta), rdpOrder: fromDecimal(plan.accountant.rdpOrder) };
  const histories = siteHistories(plan, charged);
  const composition = { sites: histories, cliques: overlapCliques(state) };
  const cliques = everyClique(composition, { limit: MAX_CLIQUES, order: settings.rdpOrder })
    .filter(({ sites }) => sites.length > 0)
    .map(({ sites, events }) => ({ sites, ...epsilonOf({ events, ...settings }) }))
    .sort((a, b) => b.pld - a.pld);
  const sites = [...state.sites.values()].map(({ site, modality, disjointFrom }) => {
    const events = histories.find((history) => history.site === site)?.events ?? [];
    return { site, modality, steps: charged.get(site) ?? 0, delivered: delivered.get(site) ?? 0, disjointFrom, ...epsilonOf({ events, ...settings }) };
  });
  return { cliques, cliqueCount: countCliques(composition), sites };
}

export function auditError({ verdict, problems }: AuditReport): AntiphonError | undefined {
  const message = problems[0]?.message ?? '';
  switch (verdict) {
    case 'verified':
      return undefined;
    case 'budget-exceeded':
    case 'tampered':
    case 'forked':
    case 'unreadable':
      return new AntiphonError(`audit-${verdict}`, message);
  }
}
