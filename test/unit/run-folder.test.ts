import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StudyEvent } from '../../coordinator/events.ts';
import { openMetrics } from '../../coordinator/store/metrics.ts';
import { inFolder } from '../../deploy/in-folder.ts';
import { readStudyFile } from '../../deploy/study-file.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { temporaryFolder } from '../support/processes.ts';

const failure = (code: string): StudyEvent => ({ type: 'failure', time: '2026-03-04T05:06:07.000Z', code, message: 'é' });
const ROUND: StudyEvent = { type: 'round-started', time: '2026-03-04T05:06:07.000Z', round: 2, modality: 'm', cohort: ['a'], epsilonAfter: 1 };

describe('metrics.jsonl', () => {
  it('loses the half line of a crash, keeps the rest, and goes on in whole lines', () => {
    const path = join(temporaryFolder(), 'metrics.jsonl');
    const first = openMetrics(path);
    expect(first.events).toEqual([]);
    first.append(failure('one'));
    first.append(failure('two'));
    const whole = readFileSync(path);
    // Cut inside a character of two bytes, too.
    for (let cut = 1; cut < 60; cut += 7) {
      writeFileSync(path, Buffer.concat([whole, Buffer.from(JSON.stringify(failure('three')), 'utf8').subarray(0, cut)]));
      expect(openMetrics(path).events).toEqual([failure('one'), failure('two')]);
      expect(readFileSync(path)).toEqual(whole);
    }
    const again = openMetrics(path);
    again.append(failure('three'));
    expect(openMetrics(path).events).toEqual([failure('one'), failure('two'), failure('three')]);
  });

  it('that cannot be written stops with storage-failed', () => {
    const folder = temporaryFolder();
    expect(() => openMetrics(folder)).toThrow(expect.objectContaining({ code: 'storage-failed' }) as Error);
    expect(() => { openMetrics(join(folder, 'none', 'metrics.jsonl')).append(failure('one')); }).toThrow(/could not append .*free space/);
  });
});

describe('a run in its folder', () => {
  const wrong = new AntiphonError('data-invalid', 'no such table');
  const act = (folder: string, ...events: readonly StudyEvent[]) =>
    inFolder(folder, () => undefined, (show) => {
      writeFileSync(join(folder, 'study.yaml'), 'x');
      for (const event of events) show(event);
      return Promise.reject(wrong);
    });

  const goOn = (folder: string) => inFolder(folder, () => undefined, () => Promise.resolve('went on'));

  it('that fails before its first round leaves nothing, nor the folders that were made for it', async () => {
    const root = temporaryFolder();
    await expect(act(join(root, 'runs', 'one'))).rejects.toBe(wrong);
    expect(readdirSync(root)).toEqual([]);
  });

  it('whose budget allows no round leaves nothing; one that ends after its rounds stays, and there is nothing to go on with', async () => {
    const root = temporaryFolder();
    const spent = { epsilon: 0, pld: 0, rdp: 0, delta: 1e-5 };
    const ended: StudyEvent = { type: 'ended', time: '2026-03-04T05:06:07.000Z', reason: 'budget-exhausted', detail: 'too little', roundsCommitted: 0, epsilonSpent: spent, seconds: 1, peakMemoryMiB: 90 };
    await expect(act(join(root, 'one'), ended)).rejects.toBe(wrong);
    expect(readdirSync(root)).toEqual([]);
    await expect(act(join(root, 'two'), ROUND, ended)).rejects.toBe(wrong);
    expect(readdirSync(join(root, 'two'))).toContain('study.yaml');
  });

  it('leaves what was there before', async () => {
    const root = temporaryFolder();
    writeFileSync(join(root, '.gitignore'), 'mine');
    await expect(act(root)).rejects.toBe(wrong);
    expect(readdirSync(root)).toEqual(['.gitignore']);
  });

  it.each([
    ['a study file of somebody', ['study.yaml'], 'study.yaml'],
    ['somebody’s study and data', ['study.yaml', 'data/all.csv'], 'data, study.yaml'],
    ['a ledger alone', ['ledger.jsonl'], 'ledger.jsonl'],
    ['private things that are no run’s', ['private/letter.txt', 'photo.jpg', 'a', 'b'], 'a, b, photo.jpg and 1 more'],
  ])('does not go into a folder with %s: nothing of it is touched', async (_title, names, shown) => {
    const root = temporaryFolder();
    for (const name of names) {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      writeFileSync(join(root, name), 'mine');
    }
    const before = readdirSync(root, { recursive: true });
    await expect(act(root, ROUND)).rejects.toMatchObject({ code: 'usage' });
    await expect(act(root)).rejects.toThrow(`expected an empty folder or a run's in --out, found ${shown} in ${root}`);
    expect(readdirSync(root, { recursive: true })).toEqual(before);
    for (const name of names) expect(readFileSync(join(root, name), 'utf8')).toBe('mine');
  });

  it('goes on in a folder whose run crashed at any moment, whatever notes lie beside its ledger', async () => {
    const made = ['private', 'data', 'study.yaml', 'study.yaml.0a1b2c.tmp', 'ledger.jsonl.lock', 'coordinator.json', 'metrics.jsonl', 'checkpoints', 'sites'];
    for (let count = 1; count <= made.length; count += 1) {
      const root = temporaryFolder();
      for (const name of made.slice(0, count)) mkdirSync(join(root, name));
      await expect(goOn(root)).resolves.toBe('went on');
    }
    const root = temporaryFolder();
    for (const name of ['private', 'ledger.jsonl', 'notes.txt']) mkdirSync(join(root, name));
    await expect(goOn(root)).resolves.toBe('went on');
  });

  it('that fails after its first round, or again, is kept and says how to go on', async () => {
    const root = temporaryFolder();
    const folder = join(root, 'run');
    await expect(act(folder, ROUND)).rejects.toThrow(`no such table; to go on: the same command with --out ${folder}`);
    expect(existsSync(join(folder, 'study.yaml'))).toBe(true);
    const older = join(root, 'older');
    mkdirSync(join(older, 'private'), { recursive: true });
    writeFileSync(join(older, 'ledger.jsonl'), 'x');
    await expect(act(older)).rejects.toThrow(/to go on/);
    expect(readdirSync(older)).toEqual(['ledger.jsonl', 'private', 'study.yaml']);
  });
});

describe('a study by its name', () => {
  const shipped = new URL('../../deploy/studies/', import.meta.url).pathname;

  it('is a path, or a shipped one; unknown names list what there is', async () => {
    const named = await readStudyFile('uci-heart', shipped);
    expect(named.path).toBe(join(shipped, 'uci-heart.yaml'));
    expect(await readStudyFile(named.path, shipped)).toEqual(named);
    for (const [given, said] of [['avmnist-hrd', /no shipped study of that name; did you mean "avmnist-hard"\?/], ['nothing-like-it-at-all', /the shipped studies \(.*cremad, .*synthetic, /], ['./uci-heart', /ENOENT.*did you mean "uci-heart"/]] as const) {
      await expect(readStudyFile(given, shipped)).rejects.toThrow(said);
      await expect(readStudyFile(given, shipped)).rejects.toMatchObject({ code: 'study-invalid' });
    }
  });
});
