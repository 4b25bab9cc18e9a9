import { appendFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { filterEpsilon, judgeLimits, roundsAllowed, type Limits, type SpendEntry } from '../../client/limits.ts';
import { openVault } from '../../client/vault.ts';
import type { LedgerMechanism, ReserveEntry } from '../../shared/ledger/entry.ts';
import { rdpEpsilon } from '../../shared/privacy/accountant.ts';
import { pldEpsilon } from '../../shared/privacy/pld.ts';
import { temporaryFolder } from '../support/processes.ts';

const MECHANISM: LedgerMechanism = { protection: 'local-noise', samplingRate: '0.2', noiseMultiplier: '1.7', clipNorm: '0.9', steps: 3 };
const NOW = Date.parse('2026-03-04T05:06:07.000Z');
const SPENT = { delta: '0.00001', pld: '0', rdp: '0' };
const RESERVE: ReserveEntry = { type: 'reserve', round: 7, modality: 'image', sites: ['a', 'b'], mechanism: MECHANISM, modelIn: '00'.repeat(32), epsilonBefore: SPENT, epsilonAfter: SPENT };

const spend = (i: number, hoursAgo = 30, mechanism: LedgerMechanism = MECHANISM): SpendEntry => ({
  type: 'spend',
  study: `study ${i % 2}`,
  site: `site ${i % 3}`,
  round: i + 1,
  reserve: i.toString(16).padStart(64, '0'),
  time: new Date(NOW - hoursAgo * 3_600_000).toISOString(),
  modality: 'image',
  mechanism,
  delta: '0.00001',
});
const judge = (limits: Limits, log: readonly SpendEntry[] = [], reserve: Partial<ReserveEntry> = {}): string | undefined =>
  judgeLimits(limits, { site: 'a', reserve: { ...RESERVE, ...reserve }, reserveHash: 'ff'.repeat(32), delta: '0.00001', log, now: NOW });

describe('the limits of a data set', () => {
  it('without any, everything is allowed', () => {
    expect(judge({}, Array.from({ length: 500 }, (_, i) => spend(i, 1)))).toBeUndefined();
  });

  it('modalities, cohort and noise are the round’s own', () => {
    expect(judge({ modalities: ['sound', 'image'], minCohort: 2, minNoiseMultiplier: 1.7 })).toBeUndefined();
    expect(judge({ modalities: ['sound'] })).toContain('open to sound, the round trains image');
    expect(judge({ minCohort: 3 })).toContain('at least 3 sites');
    expect(judge({ minNoiseMultiplier: 1.8 })).toContain('at least 1.8 is asked here, the round has 1.7');
    expect(judge({ minNoiseMultiplier: 0.1 }, [], { mechanism: { protection: 'none', samplingRate: '0.2', steps: 3 } })).toContain('the round has 0');
  });

  it('rounds of the last 24 hours count, of whatever study; the offered one does not count twice', () => {
    const log = [spend(1, 1), spend(2, 23.9), spend(3, 24.1)];
    expect(judge({ maxRoundsPerDay: 3 }, log)).toBeUndefined();
    expect(judge({ maxRoundsPerDay: 2 }, log)).toContain('at most 2 rounds a day');
    const offered = { ...spend(4, 0), site: 'a', reserve: 'ff'.repeat(32) };
    expect(judge({ maxRoundsPerDay: 3 }, [...log, offered])).toBeUndefined();
    // Of one round, but another site's: these patients pay for both.
    expect(judge({ maxRoundsPerDay: 3 }, [...log, { ...offered, site: 'b' }])).toContain('at most 3 rounds a day');
    const others = ['b', 'c'].map((site) => ({ ...offered, site }));
    expect(judge({ maxEpsilon: 2.5 }, [offered])).toBeUndefined();
    expect(judge({ maxEpsilon: 2.5 }, [offered, ...others])).toContain('would bring it to');
  });

  it('a round just a day ago counts no more, and one a millisecond younger does', () => {
    const ago = (ms: number): SpendEntry => ({ ...spend(1), time: new Date(NOW - ms).toISOString() });
    expect(judge({ maxRoundsPerDay: 1 }, [ago(86_400_000)])).toBeUndefined();
    expect(judge({ maxRoundsPerDay: 1 }, [ago(86_399_999)])).toContain('at most 1 rounds a day');
  });

  it('only what was spent counts: releases and refusals are of rounds that are counted or never trained', () => {
    const where = { study: 's', site: 'z', round: 3, reserve: 'ee'.repeat(32), time: new Date(NOW - 1000).toISOString() };
    expect(judge({ maxRoundsPerDay: 1, maxEpsilon: 2.5 }, [{ type: 'release', ...where, update: 'cd'.repeat(32) }, { type: 'refusal', ...where }])).toBeUndefined();
  });

  it('epsilon up to its limit is allowed, and nothing above', () => {
    const log = Array.from({ length: 12 }, (_, i) => spend(i));
    // The limit chooses the order: one that is just what its order says is spent.
    const spentAt = (cap: number): number => filterEpsilon(Array.from({ length: 13 }, () => MECHANISM), { cap, delta: 1e-5, orderFor: 1e-5 });
    const limit = Array.from({ length: 30 }).reduce<number>((cap) => spentAt(cap), 5);
    expect(spentAt(limit)).toBe(limit);
    expect(judge({ maxEpsilon: limit }, log)).toBeUndefined();
    expect(judge({ maxEpsilon: limit * (1 - 1e-12) }, log)).toContain('would bring it to');
  });

  it('allows just as many rounds as it says at enrolment', () => {
    for (const [maxEpsilon, before] of [[3.1, 2], [5, 0], [0.4, 0], [60, 3]] as const) {
      const log = Array.from({ length: before }, (_, i) => spend(i));
      const said = roundsAllowed({ maxEpsilon }, { mechanism: MECHANISM, delta: 1e-5, log, planned: 40 })!;
      let done = 0;
      while (done < 40 && judge({ maxEpsilon }, [...log, ...Array.from({ length: done }, (_, i) => spend(100 + i))]) === undefined) done += 1;
      expect(said).toBe(done);
    }
    expect(roundsAllowed({ minCohort: 3 }, { mechanism: MECHANISM, delta: 1e-5, log: [], planned: 40 })).toBeUndefined();
    expect(roundsAllowed({ maxEpsilon: 1e-6 }, { mechanism: MECHANISM, delta: 1e-5, log: [], planned: 40 })).toBe(0);
    expect(roundsAllowed({ maxEpsilon: 1e3 }, { mechanism: MECHANISM, delta: 1e-5, log: [], planned: 40 })).toBe(40);
  });

  it('epsilon is told at the study’s delta where that is the smallest, and at the custodian’s wherever there is one', () => {
    const log = Array.from({ length: 5 }, (_, i) => spend(i));
    const told = (limits: Limits, delta: string): number => Number(/bring it to ([\d.]+)/.exec(judgeLimits(limits, { site: 'a', reserve: RESERVE, reserveHash: 'ff'.repeat(32), delta, log, now: NOW }) ?? '')?.[1]);
    const at = (delta: number, orderFor: number): number => filterEpsilon(Array.from({ length: 6 }, () => MECHANISM), { cap: 1.5, delta, orderFor });
    expect(told({ maxEpsilon: 1.5 }, '1e-9')).toBeCloseTo(at(1e-9, 1e-5), 4);
    expect(told({ maxEpsilon: 1.5, delta: 1e-7 }, '1e-9')).toBeCloseTo(at(1e-7, 1e-7), 4);
    expect(at(1e-9, 1e-9)).not.toBeCloseTo(at(1e-9, 1e-5), 2);
    // The order that is near the best one for a history that fills the limit: 1 + 2 ln(1 / delta) / limit.
    expect(at(1e-7, 1e-7)).toBe(rdpEpsilon({ events: [{ type: 'poisson-gaussian', samplingRate: 0.2, noiseMultiplier: 1.7, steps: 18 }], delta: 1e-7, orders: [22] }).epsilon);
  });

  it('epsilon is that of the smallest delta of all studies, at an order that none of them chooses', () => {
    const log = Array.from({ length: 5 }, (_, i) => spend(i));
    const at = (delta: number): number => filterEpsilon(Array.from({ length: 6 }, () => MECHANISM), { cap: 4, delta, orderFor: 1e-5 });
    expect(at(1e-9)).toBeGreaterThan(1.2 * at(1e-5));
    const told = (text: string | undefined): number => Number(/bring it to ([\d.]+)/.exec(text ?? '')?.[1]);
    const cap = { maxEpsilon: 4, maxRoundsPerDay: 99 };
    expect(judge(cap, log)).toBeUndefined();
    const strict = [{ ...log[0]!, delta: '1e-9' } as SpendEntry, ...log.slice(1)];
    expect(at(1e-9)).toBeGreaterThan(4);
    expect(told(judge(cap, strict))).toBeCloseTo(at(1e-9), 3);
  });

  it('epsilon adds up over all studies and is never below what was spent', () => {
    const log = Array.from({ length: 12 }, (_, i) => spend(i));
    const truth = pldEpsilon({ events: [{ type: 'poisson-gaussian', samplingRate: 0.2, noiseMultiplier: 1.7, steps: 39 }], delta: 1e-5 });
    const bound = filterEpsilon(Array.from({ length: 13 }, () => MECHANISM), { cap: 5, delta: 1e-5, orderFor: 1e-5 });
    expect(bound).toBeGreaterThan(truth);
    expect(bound).toBeLessThan(1.4 * truth);
    expect(bound).toBeLessThan(5);
    expect(judge({ maxEpsilon: 5 }, log)).toBeUndefined();
    expect(judge({ maxEpsilon: 5 }, [...log, ...log.map((entry, i) => ({ ...entry, reserve: `${i}`.padStart(64, 'a') }))])).toContain('allows epsilon up to 5');
    expect(judge({ maxEpsilon: truth * 0.999 }, log)).toContain('over all studies, the round would bring it to');
    expect(judge({ maxEpsilon: 1e6 }, [spend(0, 30, { protection: 'none', samplingRate: '0.2', steps: 1 })])).toContain('Infinity');
  });
});

describe('the vault', () => {
  it('keeps entries and limits for the next process, for its owner alone', async () => {
    const folder = temporaryFolder();
    const vault = openVault(folder, 'ward-7');
    expect(await vault.entries()).toEqual([]);
    expect(await vault.limits()).toEqual({});
    await vault.append(spend(1));
    await vault.append({ type: 'release', study: 's', site: 'a', round: 2, reserve: 'ab'.repeat(32), time: new Date(NOW).toISOString(), update: 'cd'.repeat(32) });
    await vault.changeLimits({ maxEpsilon: 2.5 });
    const again = openVault(folder, 'ward-7');
    expect((await again.entries()).map(({ type }) => type)).toEqual(['spend', 'release']);
    expect(await again.limits()).toEqual({ maxEpsilon: 2.5 });
    for (const file of ['ward-7.jsonl', 'ward-7.limits.json']) expect(statSync(join(folder, file)).mode & 0o077).toBe(0);
    expect(await openVault(folder, 'ward-8').entries()).toEqual([]);
  });

  it('lies in a folder of its owner alone, whoever writes to it first', async () => {
    const first: readonly ((vault: ReturnType<typeof openVault>) => Promise<void>)[] = [(vault) => vault.append(spend(1)), (vault) => vault.changeLimits({ minCohort: 3 })];
    for (const write of first) {
      const folder = join(temporaryFolder(), 'institution', 'vault');
      await write(openVault(folder, 'ward'));
      for (const made of [folder, join(folder, '..')]) expect(statSync(made).mode & 0o777).toBe(0o700);
    }
  });

  it('changes the limits that are given and keeps the others', async () => {
    const vault = openVault(temporaryFolder(), 'ward');
    await vault.changeLimits({ maxEpsilon: 2.5, minCohort: 2 });
    await vault.changeLimits({ minCohort: 3 });
    expect(await vault.limits()).toEqual({ maxEpsilon: 2.5, minCohort: 3 });
    for (const nonsense of [NaN, Infinity, 0, -1]) {
      for (const name of ['maxEpsilon', 'minNoiseMultiplier', 'delta', 'minCohort', 'maxRoundsPerDay']) await expect(vault.changeLimits({ [name]: nonsense }), `${name} ${nonsense}`).rejects.toThrow();
    }
    expect(await vault.limits()).toEqual({ maxEpsilon: 2.5, minCohort: 3 });
  });

  it('takes one release of a site for a reserve, and that of another site or for another reserve', async () => {
    const vault = openVault(temporaryFolder(), 'ward');
    const release = { type: 'release', study: 's', site: 'a', round: 2, reserve: 'ab'.repeat(32), time: new Date(NOW).toISOString(), update: 'cd'.repeat(32) } as const;
    await vault.append({ ...spend(1), site: 'a', reserve: release.reserve });
    await vault.append(release);
    await expect(vault.append({ ...release, update: 'ef'.repeat(32) })).rejects.toMatchObject({ code: 'storage-failed' });
    await vault.append({ ...release, site: 'b' });
    await vault.append({ ...release, reserve: '12'.repeat(32) });
    await vault.append({ ...spend(1), site: 'a', reserve: release.reserve });
    expect((await vault.entries()).map(({ type }) => type)).toEqual(['spend', 'release', 'release', 'release', 'spend']);
  });

  it('a log that cannot be read stops everything: it is not taken for an empty one', async () => {
    const folder = temporaryFolder();
    for (const name of ['ward.jsonl', 'ward.limits.json']) mkdirSync(join(folder, name));
    const vault = openVault(folder, 'ward');
    await expect(vault.entries()).rejects.toMatchObject({ code: 'storage-failed' });
    await expect(vault.limits()).rejects.toThrow(/cannot read .*ward\.limits\.json.*nothing is trained/);
  });

  it('a line that a crash cut short is left out, and the next one stands by itself', async () => {
    const folder = temporaryFolder();
    const vault = openVault(folder, 'ward');
    await vault.append(spend(1));
    appendFileSync(join(folder, 'ward.jsonl'), '{"type":"spend","stu');
    expect(await vault.entries()).toHaveLength(1);
    await vault.append(spend(2));
    expect((await vault.entries()).map(({ round }) => round)).toEqual([2, 3]);
    // From the file, too, not only from what this process remembers.
    expect((await openVault(folder, 'ward').entries()).map(({ round }) => round)).toEqual([2, 3]);
    // Whole, but without its newline: it was never acknowledged.
    appendFileSync(join(folder, 'ward.jsonl'), JSON.stringify(spend(3)));
    expect((await openVault(folder, 'ward').entries()).map(({ round }) => round)).toEqual([2, 3]);
  });

  it('sees at once what another process has added, and a log that was put back from a copy', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'ward.jsonl');
    const [one, other] = [openVault(folder, 'ward'), openVault(folder, 'ward')];
    const rounds = async (): Promise<readonly (readonly number[])[]> => Promise.all([one, other].map(async (vault) => (await vault.entries()).map(({ round }) => round)));
    await one.append(spend(1));
    const copy = readFileSync(path, 'utf8');
    expect(await rounds()).toEqual([[2], [2]]);
    await other.append(spend(2));
    await one.append(spend(3));
    expect(await rounds()).toEqual([[2, 3, 4], [2, 3, 4]]);
    writeFileSync(path, copy);
    expect(await rounds()).toEqual([[2], [2]]);
    await one.append(spend(4));
    expect(await rounds()).toEqual([[2, 5], [2, 5]]);
  });

  it('a damaged log stops everything: what was spent is not forgotten', async () => {
    const folder = temporaryFolder();
    const vault = openVault(folder, 'ward');
    await vault.append(spend(1));
    const path = join(folder, 'ward.jsonl');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"type":"spend"', '"type":"spent"'));
    await expect(vault.entries()).rejects.toMatchObject({ code: 'storage-failed' });
    writeFileSync(join(folder, 'ward.limits.json'), '{"maxEpsilon":-1}');
    await expect(vault.limits()).rejects.toMatchObject({ code: 'storage-failed' });
    expect(() => openVault(folder, '../ward')).toThrow(/name of the data set/);
  });
});
