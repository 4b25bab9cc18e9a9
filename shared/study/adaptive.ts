import { invariant } from '../errors.ts';
import { modalityOfRound, roundsPerModality, scheduleOrder } from './schedule.ts';
import type { Study } from './schema.ts';

/**
 * The adaptive schedule: which modality trains next, decided while the study runs, from released models and public records alone.
 *
 * Privacy: the choice is a function of noised, charged models and of the study's public selection part: post-processing. It changes which mechanism comes next, so that the composition is
 * an adaptive one. Renyi DP at one order that was fixed in advance is a filter for any such choice (Feldman and Zrnic 2021, 2008.11193). PLD holds where every step is dominated by one and
 * the same pair, whichever modality has it (one sampling rate, one noise multiplier; Zhu, Dong, Wang 2022, 2106.08567): then only the number of steps counts, which the budget caps.
 * Elsewhere the study has to bind RDP (parse.ts and the PLAN's own rule see to it).
 */

/** What the schedule can give one modality over all planned rounds. */
export interface RoundBounds {
  readonly least: number;
  readonly most: number;
}

/** Of every modality of the study. A fixed schedule gives each exactly its rounds. */
export function roundBounds(study: Study): ReadonlyMap<string, RoundBounds> {
  const { adaptive, rounds } = study.schedule;
  const even = roundsPerModality(study);
  const leastOf = (planned: number): number => (adaptive === undefined ? planned : Math.min(planned, Math.max(adaptive.window, Math.floor(adaptive.least * planned))));
  const least = new Map([...even].map(([name, planned]) => [name, leastOf(planned)]));
  const all = [...least.values()].reduce((sum, one) => sum + one, 0);
  return new Map([...even].map(([name, planned]) => [name, { least: least.get(name) ?? 0, most: adaptive === undefined || planned === 0 ? planned : rounds - all + (least.get(name) ?? 0) }]));
}

/**
 * How the first `rounds` rounds can fall at the worst: each modality in turn has as many as it may, every other what is its in any case, as far as the rest of the rounds allows (of part of
 * the plan more than can be: an upper bound). Over all planned rounds these are the corners of everything that the schedule can do, and Renyi DP at one order, linear in the rounds, is largest at a corner; so is PLD where it counts steps of one mechanism.
 */
export function worstAllocations(bounds: ReadonlyMap<string, RoundBounds>, rounds: number): readonly ReadonlyMap<string, number>[] {
  const names = [...bounds].flatMap(([name, { most }]) => (most > 0 ? [name] : []));
  const isSettled = [...bounds.values()].every(({ least, most }) => least === most) && [...bounds.values()].reduce((sum, { least }) => sum + least, 0) <= rounds;
  return (isSettled ? names.slice(0, 1) : names).map((first) => {
    const own = Math.min(rounds, bounds.get(first)?.most ?? 0);
    return new Map(names.map((name) => [name, name === first ? own : Math.min(rounds - own, bounds.get(name)?.least ?? 0)]));
  });
}

/** How a modality has fared: numbers of the ledger and of the last checkpoint, so that a restarted coordinator decides the same. */
export interface ModalityRecord {
  /** Rounds that were reserved for it, whatever came of them. */
  readonly reserved: number;
  /** How much each of its last committed rounds improved the model on the public selection part; the newest last. */
  readonly gains: readonly number[];
  /** Rounds since the last committed one that ended without: their budget is gone, and they improved nothing. */
  readonly idle: number;
  /** Privacy cost of one of its rounds, in any unit common to all modalities; above 0. */
  readonly cost: number;
}

/**
 * The modality of round r (from 1). In the study's order until every modality has had `window` rounds; then, first, whoever has fallen below `least` of its share so far (the one farthest
 * behind); else the one whose last `window` rounds have improved the model most for what they cost. Ties: the first in the order. Never more than `most`, never in the end less than `least`.
 */
export function chooseModality(study: Study, round: number, records: ReadonlyMap<string, ModalityRecord>): string {
  const { adaptive, rounds } = study.schedule;
  const order = scheduleOrder(study);
  invariant(adaptive !== undefined && round >= 1 && round <= rounds, `round ${round} of an adaptive schedule of ${rounds}`);
  const even = roundsPerModality(study);
  const bounds = roundBounds(study);
  const standing = [...new Set(order)].flatMap((name) => {
    const record = records.get(name);
    invariant(record !== undefined, `record of ${name}`);
    const share = (even.get(name) ?? 0) / rounds;
    return share === 0 ? [] : [{ name, record, owed: Math.max(0, (bounds.get(name)?.least ?? 0) - record.reserved), behind: Math.floor(adaptive.least * share * round) - record.reserved }];
  });
  // The first pass: the shortest beginning of the fixed schedule in which everybody has its `window` rounds, or all that it gives.
  if (round <= firstPass(study)) return modalityOfRound(order, round);
  // As many rounds are owed as are left: everybody gets what it is owed, and nobody more.
  const owed = standing.reduce((sum, one) => sum + one.owed, 0);
  const candidates = owed >= rounds - round + 1 ? standing.filter((one) => one.owed > 0) : standing;
  const behind = best(candidates, (one) => one.behind);
  if (behind !== undefined && behind.behind > 0) return behind.name;
  const chosen = best(candidates, ({ record }) => gainPerCost(record, adaptive.window));
  invariant(chosen !== undefined, 'a modality that may train');
  return chosen.name;
}

/** Over the last `window` rounds, idle ones among them. */
export function gainPerCost({ gains, idle, cost }: ModalityRecord, window: number): number {
  const counted = idle >= window ? [] : gains.slice(-(window - idle));
  return counted.reduce((sum, gain) => sum + gain, 0) / (window * cost);
}

function firstPass(study: Study): number {
  const { rounds, adaptive } = study.schedule;
  const order = scheduleOrder(study);
  const even = roundsPerModality(study);
  const missing = new Map([...even].map(([name, planned]) => [name, Math.min(planned, adaptive?.window ?? 0)]));
  let open = [...missing.values()].reduce((sum, one) => sum + one, 0);
  for (let round = 1; round <= rounds; round += 1) {
    if (open === 0) return round - 1;
    const name = modalityOfRound(order, round);
    const left = missing.get(name) ?? 0;
    if (left > 0) open -= 1;
    missing.set(name, left - 1);
  }
  return rounds;
}

/** The first of the largest. */
function best<T>(all: readonly T[], valueOf: (one: T) => number): T | undefined {
  return all.reduce<T | undefined>((before, one) => (before === undefined || valueOf(one) > valueOf(before) ? one : before), undefined);
}
