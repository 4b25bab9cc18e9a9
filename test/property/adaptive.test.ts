import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseModality, gainPerCost, roundBounds, worstAllocations, type ModalityRecord } from '../../shared/study/adaptive.ts';
import { modalityOfRound, roundsPerModality, scheduleOrder } from '../../shared/study/schedule.ts';
import type { Study } from '../../shared/study/schema.ts';
import { ledgerStudy } from '../support/ledger-study.ts';

const NAMES = ['c', 'a', 'd', 'b'];

/** A study as far as schedules go. */
function studyOf({ names, turns, rounds, window, least }: { readonly names: number; readonly turns: readonly number[]; readonly rounds: number; readonly window: number; readonly least: number }): Study {
  const modalities = NAMES.slice(0, names);
  const order = [...modalities, ...turns.map((turn) => modalities[turn % names]!)];
  const { image } = ledgerStudy().modalities;
  return { ...ledgerStudy(), modalities: Object.fromEntries(modalities.map((name) => [name, image!])), schedule: { rounds, order, localSteps: 1, adaptive: { window, least } } };
}

const schedules = fc.record({
  names: fc.integer({ min: 2, max: 4 }),
  turns: fc.array(fc.nat({ max: 3 }), { maxLength: 3 }),
  rounds: fc.integer({ min: 1, max: 70 }),
  window: fc.integer({ min: 1, max: 9 }),
  least: fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true })),
});

/** Every round of a study, each one's gain and outcome drawn by `draw`. */
function play(study: Study, draw: (round: number) => { readonly gain: number; readonly commits: boolean }): readonly string[] {
  const records = new Map<string, ModalityRecord>(scheduleOrder(study).map((name, i) => [name, { reserved: 0, gains: [], idle: 0, cost: 0.5 + i }]));
  return Array.from({ length: study.schedule.rounds }, (_, i) => {
    const name = chooseModality(study, i + 1, records);
    const { gain, commits } = draw(i + 1);
    const before = records.get(name)!;
    records.set(name, commits ? { ...before, reserved: before.reserved + 1, gains: [...before.gains, gain].slice(-study.schedule.adaptive!.window), idle: 0 } : { ...before, reserved: before.reserved + 1, idle: before.idle + 1 });
    return name;
  });
}

const countOf = (sequence: readonly string[], name: string): number => sequence.filter((each) => each === name).length;

describe('an adaptive schedule, whatever its rounds bring', () => {
  const played = fc.tuple(schedules, fc.array(fc.tuple(fc.double({ min: -3, max: 3, noNaN: true }), fc.integer({ min: 0, max: 9 })), { minLength: 70, maxLength: 70 }));
  const run = ([given, outcomes]: [Parameters<typeof studyOf>[0], [number, number][]]): { study: Study; sequence: readonly string[] } => {
    const study = studyOf(given);
    return { study, sequence: play(study, (round) => ({ gain: outcomes[round - 1]![0], commits: outcomes[round - 1]![1] > 1 })) };
  };

  it('gives every modality its least and none more than its most, on the way, too', () => {
    fc.assert(fc.property(played, (input) => {
      const { study, sequence } = run(input);
      const even = roundsPerModality(study);
      const { rounds, adaptive } = study.schedule;
      expect(sequence).toHaveLength(rounds);
      for (const [name, { least, most }] of roundBounds(study)) {
        const count = countOf(sequence, name);
        expect(count).toBeGreaterThanOrEqual(least);
        expect(count).toBeLessThanOrEqual(most);
        expect(least).toBeGreaterThanOrEqual(Math.min(even.get(name)!, adaptive!.window));
        // At no time much below its share of what has been given out: one waits for at most all the others.
        sequence.forEach((_, i) => expect(countOf(sequence.slice(0, i + 1), name)).toBeGreaterThanOrEqual(Math.floor((adaptive!.least * even.get(name)! * (i + 1)) / rounds) - even.size));
      }
    }));
  });

  it('begins as the fixed one does, until every modality has had its window', () => {
    fc.assert(fc.property(played, (input) => {
      const { study, sequence } = run(input);
      const { window } = study.schedule.adaptive!;
      const even = roundsPerModality(study);
      const first = sequence.findIndex((_, i) => [...even].every(([name, planned]) => countOf(sequence.slice(0, i), name) >= Math.min(window, planned)));
      sequence.slice(0, first === -1 ? sequence.length : first).forEach((name, i) => expect(name).toBe(modalityOfRound(scheduleOrder(study), i + 1)));
    }));
  });

  it('is the fixed one in numbers where every modality is to have all its turns', () => {
    fc.assert(fc.property(schedules, fc.double({ min: -2, max: 2, noNaN: true }), (given, gain) => {
      const study = studyOf({ ...given, least: 1 });
      const sequence = play(study, (round) => ({ gain: gain * Math.sin(round), commits: true }));
      for (const [name, planned] of roundsPerModality(study)) expect(countOf(sequence, name)).toBe(planned);
    }));
  });

  it('never takes a round away from a modality because that improved more or cost less', () => {
    const records = fc.array(fc.record({ reserved: fc.integer({ min: 3, max: 12 }), gains: fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 1, maxLength: 5 }), idle: fc.nat({ max: 4 }), cost: fc.double({ min: 0.1, max: 5, noNaN: true }) }), { minLength: 4, maxLength: 4 });
    fc.assert(fc.property(records, fc.double({ min: 0, max: 2, noNaN: true }), fc.double({ min: 0.2, max: 1, noNaN: true }), (of, more, cheaper) => {
      const study = studyOf({ names: 4, turns: [], rounds: 60, window: 3, least: 0.2 });
      const before = new Map(NAMES.map((name, i) => [name, of[i]!]));
      const chosen = chooseModality(study, 40, before);
      const { gains, cost, ...rest } = before.get(chosen)!;
      const better = gains.map((gain) => gain + more);
      // A dearer loss is no reason to train: only what improves becomes better by being cheaper.
      const sum = gainPerCost({ ...rest, gains: better, cost }, 3);
      expect(chooseModality(study, 40, new Map([...before, [chosen, { ...rest, gains: better, cost: sum > 0 ? cheaper * cost : cost }]]))).toBe(chosen);
    }));
  });

  it('at the worst comes to one of the corners: nothing it can do is outside of them', () => {
    fc.assert(fc.property(played, fc.array(fc.double({ min: 0.1, max: 3, noNaN: true }), { minLength: 4, maxLength: 4 }), (input, prices) => {
      const { study, sequence } = run(input);
      const priceOf = (name: string): number => prices[NAMES.indexOf(name)]!;
      const corners = worstAllocations(roundBounds(study), study.schedule.rounds).map((counts) => [...counts].reduce((sum, [name, count]) => sum + count * priceOf(name), 0));
      const cost = sequence.reduce((sum, name) => sum + priceOf(name), 0);
      expect(cost).toBeLessThanOrEqual(Math.max(...corners) + 1e-9);
      // Of a part of the plan, too, whatever that part has been.
      sequence.forEach((_, i) => {
        const part = sequence.slice(0, i + 1).reduce((sum, name) => sum + priceOf(name), 0);
        const bound = Math.max(...worstAllocations(roundBounds(study), i + 1).map((counts) => [...counts].reduce((sum, [name, count]) => sum + count * priceOf(name), 0)));
        expect(part).toBeLessThanOrEqual(bound + 1e-9);
      });
      for (const counts of worstAllocations(roundBounds(study), study.schedule.rounds)) expect([...counts.values()].reduce((a, b) => a + b)).toBe(study.schedule.rounds);
    }));
  });
});

it('rounds that ended without a model count as rounds that improved nothing: a modality whose sites are away does not keep its turn', () => {
  const record: ModalityRecord = { reserved: 9, gains: [0.5, 0.25, 0.75], idle: 0, cost: 2 };
  expect(gainPerCost(record, 3)).toBeCloseTo(1.5 / 6, 12);
  expect(gainPerCost({ ...record, idle: 1 }, 3)).toBeCloseTo(1 / 6, 12);
  expect(gainPerCost({ ...record, idle: 2 }, 3)).toBeCloseTo(0.75 / 6, 12);
  expect(gainPerCost({ ...record, idle: 3 }, 3)).toBe(0);
  expect(gainPerCost({ ...record, idle: 7 }, 3)).toBe(0);
});
