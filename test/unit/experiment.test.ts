import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cellFiles, cellHash, claimAttempt, identityOf, readResult, readScores, removeOtherAttempts, writeResult } from '../../deploy/experiment/cell-store.ts';
import { dataDigest } from '../../deploy/experiment/sources.ts';
import { PRESETS } from '../../deploy/experiment/presets.ts';
import { finishedOf, resumeCell } from '../../deploy/experiment/run-cell.ts';
import { parseExperiment } from '../../deploy/experiment/schema.ts';
import { chosen, combinations, withSettings } from '../../deploy/experiment/settings.ts';
import { formatScores, scoresFromUnknown } from '../../deploy/experiment/scores.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { degradedModalities, finishedCell, gridOf, scoredSamples, shippedStudy } from '../support/experiment-cells.ts';
import { temporaryFolder } from '../support/processes.ts';

const errorOf = (act: () => unknown): AntiphonError => {
  try {
    act();
  } catch (error) {
    if (error instanceof AntiphonError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe('an experiment file', () => {
  const text = (...lines: readonly string[]): string => ['experiment: 1', 'name: try', 'studies: [{ study: synthetic }]', ...lines].join('\n');

  it('needs little: the rest has defaults', () => {
    expect(parseExperiment(text('epsilon: [none, 2]'), 'try.yaml')).toMatchObject({ presets: ['antiphon'], seeds: [1], overrides: {}, membership: false, references: 4 });
  });

  it('names every fault with its line, and the key that was probably meant', () => {
    const error = errorOf(() => parseExperiment(text('epsilon: [none, -2]', 'seed: [1]', 'presets: [mal]', 'overrides: { fusion.alpha: 0.5 }', 'references: 3'), 'try.yaml'));
    expect(error.code).toBe('study-invalid');
    expect(error.message).toMatch(/5 faults/);
    expect(error.message).toMatch(/try\.yaml:5 seed: unknown key "seed"; did you mean "seeds"\?/);
    expect(error.message).toMatch(/try\.yaml:4 epsilon\.1: /);
    expect(error.message).toMatch(/try\.yaml:6 presets\.0: .*"mla"/);
    expect(error.message).toMatch(/try\.yaml:7 overrides\.fusion\.alpha: expected a list of values/);
    expect(error.message).toMatch(/references: expected an even number/);
  });

  it('words its faults as those of a study file', () => {
    const { message } = errorOf(() => parseExperiment(text('epsilon: [two, 0]', 'presets: [foo]', 'seeds: [0.5]', 'rules: []', 'degraded: maybe'), 'try.yaml'));
    expect(message).toContain('epsilon.0: expected "none" or a number, found the text "two"');
    expect(message).toContain('epsilon.1: expected a number above 0, found 0');
    expect(message).toContain('presets.0: expected one of "antiphon", "mla", "pamrl", found the text "foo"');
    expect(message).toContain('seeds.0: expected a whole number, found 0.5');
    expect(message).toContain('rules: expected at least 1 entry, found 0');
    expect(message).toContain('degraded: expected true or false, found the text "maybe"');
    expect(message).not.toMatch(/Invalid|received|Too small/);
  });

  it('suggests keys inside a study of the list, too, and takes no data folder outside --data', () => {
    const error = errorOf(() => parseExperiment(text('epsilon: [3]').replace('study: synthetic', 'study: synthetic, epsilom: [2], data: ../private'), 'try.yaml'));
    expect(error.message).toContain('unknown key "epsilom"; did you mean "epsilon"?');
    expect(error.message).toContain('studies.0.data: expected a folder below --data');
  });

  it('refuses overrides of what the grid sets itself', () => {
    for (const [path, key] of [['seed', 'seeds'], ['privacy.epsilon', 'epsilon'], ['privacy.noiseMultiplier', 'epsilon']] as const) {
      expect(errorOf(() => parseExperiment(text('epsilon: [2]', `overrides: { ${path}: [3] }`), 'try.yaml')).message).toMatch(new RegExp(`overrides\\.${path.replace('.', '\\.')}: .*own key ${key}`));
    }
  });

  it.each(['main', 'ablation', 'membership', 'retention'])('ships as %s, and every study of it expands', (name) => {
    const experiment = parseExperiment(readFileSync(new URL(`../../deploy/experiments/${name}.yaml`, import.meta.url), 'utf8'), name);
    expect(experiment.name).toBe(name);
    for (const { study } of experiment.studies) expect(shippedStudy(study).text).toContain(`name: ${study}`);
  });
});

describe('a grid', () => {
  it('crosses budgets, seeds, site counts and settings, and names what it trains', () => {
    const { cells, readings } = gridOf('synthetic', 'epsilon: [none, 2.5, 7]', 'seeds: [3, 5]', 'sites: [3, 4]', 'overrides: { head.features: [6, 9], schedule.rounds: [8] }');
    expect(cells).toHaveLength(3 * 2 * 2 * 2);
    expect(readings).toHaveLength(24);
    const cell = cells.find(({ name }) => name === 'synthetic epsilon=2.5 seed=5 sites=4 head.features=9 schedule.rounds=8');
    expect(cell?.study).toMatchObject({ seed: 5, head: { features: 9 }, schedule: { rounds: 8 }, privacy: { epsilon: 2.5 } });
    expect(cell?.study.sites).toHaveLength(12);
    expect(cells.filter(({ study }) => study.privacy.protection === 'none').map(({ epsilon }) => epsilon)).toEqual(Array(8).fill('none'));
  });

  it('trains nothing anew for fusion: its settings are readings of one cell', () => {
    const { cells, readings } = gridOf('synthetic', 'epsilon: [2]', 'overrides: { fusion.alpha: [0.2, 0.7], fusion.tau: [0.1, 0.9, 3], fusion.pool: [log, linear] }');
    expect(cells).toHaveLength(1);
    expect(readings.map(({ fusion: { alpha, tau, pool } }) => [alpha, tau, pool].join())).toHaveLength(12);
    expect(new Set(readings.map(({ cell }) => cell)).size).toBe(1);
    // The trained study is the file's own.
    expect(cells[0]?.study.fusion).toEqual({ alpha: 0.5, tau: 0.5, pool: 'robust', contamination: 0.02, calibration: 'selection', reference: 'consensus' });
  });

  it('reads a rule once where settings that it does not see differ', () => {
    const { readings } = gridOf('synthetic', 'epsilon: [2]', 'rules: [hybrid, hybrid-linear, robust, equal, entropy, product]', 'overrides: { fusion.alpha: [0.3, 1], fusion.reference: [consensus, leave-one-out], fusion.pool: [log, linear, robust], fusion.contamination: [0.01, 0.1] }');
    const of = (rule: string): number => readings.filter((reading) => reading.rule === rule).length;
    // alpha 0.3 sees the reference, alpha 1 does not; the robust pool sees neither, but the contamination.
    expect([of('hybrid'), of('hybrid-linear'), of('robust'), of('equal'), of('entropy'), of('product')]).toEqual([8, 3, 2, 1, 1, 1]);
    expect(readings.find(({ rule }) => rule === 'equal')?.fusionSettings).toEqual({});
    expect(readings.filter(({ fusion }) => fusion.alpha === 1).map(({ fusion }) => fusion.reference)).toEqual(['consensus', 'consensus', 'consensus']);
    expect(readings.find(({ rule, fusion }) => rule === 'hybrid-linear' && fusion.alpha === 1)?.fusionSettings).toEqual({ 'fusion.alpha': 1 });
  });

  it('has the presets as documented: mla without privacy only, and its cell is that of pamrl without privacy', () => {
    const { cells, readings } = gridOf('avmnist-hard', 'epsilon: [none, 2]', 'seeds: [4]', 'presets: [antiphon, mla, pamrl]');
    expect(readings.map(({ preset, cell, rule, fusion }) => [preset, cell.epsilon, rule, fusion.pool, fusion.calibration])).toEqual([
      ['antiphon', 'none', 'hybrid', 'robust', 'selection'],
      ['antiphon', 2, 'hybrid', 'robust', 'selection'],
      ['mla', 'none', 'entropy', 'robust', 'none'],
      ['pamrl', 'none', 'hybrid', 'linear', 'none'],
      ['pamrl', 2, 'hybrid', 'linear', 'none'],
    ]);
    expect(cells).toHaveLength(4);
    expect(readings[2]?.cell).toBe(readings[3]?.cell);
    expect(cells.map(({ study }) => study.head.protection)).toEqual(['none', 'none', 'released', 'released']);
    expect(cells.map(({ name }) => name)).toEqual(['none', '2', 'none', '2'].map((epsilon, i) => `avmnist-hard epsilon=${epsilon} seed=4${['', '', ' preset=mla preset=pamrl', ' preset=pamrl'][i] ?? ''}`));
    expect(Object.keys(PRESETS.antiphon.settings)).toEqual([]);
  });

  it('shares the cell of settings that do the same without privacy', () => {
    const { cells, readings } = gridOf('synthetic', 'epsilon: [none, 3]', 'overrides: { privacy.clipNorm: [0.7, 1.9] }');
    expect(cells.map(({ epsilon }) => epsilon)).toEqual(['none', 3, 3]);
    expect(readings).toHaveLength(4);
  });

  it('refuses a wrong override with the study parser\'s own suggestion, before anything is run', () => {
    const wrong = (override: string): string => errorOf(() => gridOf('synthetic', 'epsilon: [2]', `overrides: { ${override} }`)).message;
    expect(wrong('head.protecton: [released]')).toMatch(/unknown key "protecton"; did you mean "protection"\?/);
    expect(wrong('fusion.alpha: [0.4, 1.2]')).toMatch(/with fusion\.alpha=1\.2.*fusion\.alpha/s);
    expect(wrong('schedule.rounds.first: [2]')).toMatch(/override schedule\.rounds\.first: "first" would lie inside the value 30/);
    expect(wrong('sites.11.patients: [20]')).toMatch(/one of 6 list entries, from 0, found "11"/);
  });
});

describe('settings', () => {
  it('combine every value with every other, in order', () => {
    expect(combinations({ a: [2, 3], b: ['x', 'y'] })).toEqual([{ a: 2, b: 'x' }, { a: 2, b: 'y' }, { a: 3, b: 'x' }, { a: 3, b: 'y' }]);
    expect(combinations({})).toEqual([{}]);
  });

  it('change what they name and nothing else, also in lists and where a section lacks', () => {
    const before = { a: { b: 2, c: [{ d: 3 }, { d: 4 }] } };
    expect(withSettings(before, { 'a.c.1.d': 7, 'x.y': [5] })).toEqual({ a: { b: 2, c: [{ d: 3 }, { d: 7 }] }, x: { y: [5] } });
    expect(before.a.c[1]?.d).toBe(4);
    const polluted = withSettings({}, { '__proto__.spoilt': 2 }) as Record<string, unknown>;
    expect(Object.hasOwn(polluted, '__proto__')).toBe(true);
    expect(({} as { spoilt?: number }).spoilt).toBeUndefined();
  });

  it('choose cells by whole words: of one key any, of several keys all', () => {
    const name = 'avmnist-hard epsilon=2 seed=11 sites=3';
    expect(chosen(name, [])).toBe(true);
    expect(chosen(name, ['avmnist-hard', 'epsilon=2'])).toBe(true);
    expect(chosen(name, ['avmnist'])).toBe(false);
    expect(chosen(name, ['seed=1'])).toBe(false);
    expect(chosen(name, ['epsilon=1', 'epsilon=2', 'seed=11'])).toBe(true);
    expect(chosen(name, ['epsilon=2 seed=12'])).toBe(false);
  });
});

describe('the name of a cell\'s folder', () => {
  it('changes with the study, the records, the seed and the version, and with nothing else', () => {
    const [cell] = gridOf('synthetic', 'epsilon: [2]', 'seeds: [3]').cells;
    const identity = identityOf(cell!, 'records');
    const hashes = [identity, { ...identity, data: 'others' }, { ...identity, seed: 4 }, { ...identity, software: 'antiphon/0.0.9' }, { ...identity, study: 'f'.repeat(64) }].map(cellHash);
    expect(new Set(hashes).size).toBe(5);
    expect(hashes[0]).toMatch(/^[0-9a-f]{20}$/);
    const [renamed] = gridOf('synthetic', 'epsilon: [2, 5]', 'seeds: [3]', 'description: other words', 'overrides: { fusion.tau: [0.2] }').cells;
    expect(cellHash(identityOf(renamed!, 'records'))).toBe(hashes[0]);
  });

  it('follows the bytes of the records, wherever their folder lies', async () => {
    const source = shippedStudy('cremad');
    const place = async (voice: string): Promise<string> => {
      const folder = temporaryFolder();
      await mkdir(join(folder, 'cremad'));
      for (const [name, content] of Object.entries({ 'samples.csv': 'clip', 'face_ratings.npy': 'face', 'voice_ratings.npy': voice })) writeFileSync(join(folder, 'cremad', name), content);
      return dataDigest({ ...source, data: { type: 'folder', folder } }, new Map());
    };
    const [one, moved, changed] = [await place('voice'), await place('voice'), await place('noise')];
    expect(moved).toBe(one);
    expect(changed).not.toBe(one);
  });
});

describe('the decision to run a cell', () => {
  const [cell, other] = gridOf('synthetic', 'epsilon: [2, 6]').cells;
  const identity = identityOf(cell!, 'records');
  const finished = finishedCell(cell!, { right: 8 });

  async function stored(): Promise<string> {
    const folder = join(temporaryFolder(), cellHash(identity));
    await mkdir(folder);
    await writeResult(folder, finished);
    return folder;
  }

  it('takes a whole result of the same cell, to the last bit of its scores', async () => {
    const folder = await stored();
    expect(await readResult(folder, identity)).toEqual(finished.result);
    expect(await readScores(folder)).toEqual(finished.scores);
    const job = { cell: cell!, identity, folder, references: undefined };
    expect(finishedOf(await resumeCell(job), job)).toEqual(finished);
  });

  it('trains again where the result is missing, cut short or of another cell, and only scores again where the scores are', async () => {
    const decide = async (spoil: (folder: string) => void, expected = identity): Promise<boolean> => {
      const folder = await stored();
      spoil(folder);
      const { result, scores } = await resumeCell({ cell: cell!, identity: expected, folder, references: undefined });
      expect(scores === undefined).toBe(result === undefined);
      return result !== undefined;
    };
    expect(await decide(() => undefined)).toBe(true);
    const cut = (path: string): void => writeFileSync(path, readFileSync(path, 'utf8').slice(0, -20));
    expect(await decide((folder) => cut(cellFiles(folder).result))).toBe(false);
    expect(await decide((folder) => writeFileSync(cellFiles(folder).result, '{}'))).toBe(false);
    expect(await decide(() => undefined, identityOf(other!, 'records'))).toBe(false);
    expect(await decide(() => undefined, { ...identity, software: 'antiphon/9.9.9' })).toBe(false);
    const folder = await stored();
    cut(cellFiles(folder).scores);
    const job = { cell: cell!, identity, folder, references: undefined };
    const found = await resumeCell(job);
    expect(found).toEqual({ result: finished.result, scores: undefined, membership: undefined });
    expect(finishedOf(found, job)).toBeUndefined();
  });

  it('only attacks where a trained cell lacks the attack, or has one with other references', async () => {
    const folder = await stored();
    const job = { cell: cell!, identity, folder, references: 4 };
    const done = async (of = job): Promise<boolean> => finishedOf(await resumeCell(of), of) !== undefined;
    expect(await resumeCell(job)).toMatchObject({ result: { run: 'run-1' }, membership: undefined });
    expect(await done()).toBe(false);
    const row = { on: 'fused', attack: 'loss', members: 40, nonMembers: 30, auc: 0.61, chance: 0.07, points: [{ rate: 0.001, truePositives: 2 }, { rate: 0.01, truePositives: 3 }] };
    writeFileSync(cellFiles(folder).membership, JSON.stringify({ audit: 'membership', references: 4, rows: [row] }));
    expect(await done()).toBe(true);
    expect(await done({ ...job, references: 6 })).toBe(false);
  });

  it('forgets an old result before it trains anew: killed between its two files, a retrained cell never has the old result beside the new scores', async () => {
    const folder = await stored();
    const files = cellFiles(folder);
    writeFileSync(files.membership, JSON.stringify({ audit: 'membership', references: 4, rows: [] }));
    // Scores of another version, and no run of the old attempt to ask again: it is trained anew.
    writeFileSync(files.scores, '{"antiphonScores":2}');
    const job = { cell: cell!, identity, folder, references: undefined };
    expect(await resumeCell({ ...job, references: 4 })).toMatchObject({ result: finished.result, scores: undefined, membership: { references: 4 } });
    expect(await claimAttempt(folder)).toBe('run-1');
    expect(await readdir(folder)).toEqual(['run-1']);
    // The new attempt's scores, and then the end of the process.
    writeFileSync(files.scores, formatScores(finishedCell(cell!, { right: 4 }).scores));
    expect(await resumeCell(job)).toEqual({ result: undefined, scores: undefined, membership: undefined });
    // The old attack stands beside no new result either.
    await writeResult(folder, { ...finished, result: { ...finished.result, run: 'run-1' } });
    expect(await resumeCell({ ...job, references: 4 })).toMatchObject({ result: { run: 'run-1' }, membership: undefined });
  });

  it('gives every attempt a folder of its own, and keeps the one that counts', async () => {
    const folder = join(temporaryFolder(), 'cell');
    expect(await Promise.all([claimAttempt(folder), claimAttempt(folder), claimAttempt(folder)]).then((names) => names.sort())).toEqual(['run-1', 'run-2', 'run-3']);
    await removeOtherAttempts(folder, 'run-2');
    expect(await readdir(folder)).toEqual(['run-2']);
  });
});

describe('kept scores', () => {
  it('come back bit for bit, infinities and tiny numbers too (property)', () => {
    fc.assert(fc.property(fc.array(fc.float({ noNaN: true }), { minLength: 6, maxLength: 60 }), (values) => {
      const samples = Math.floor(values.length / 3);
      const part = { classes: 3, labels: Int32Array.from({ length: samples }, (_, i) => i % 3), modalities: { only: { logits: Float32Array.from(values.slice(0, 3 * samples)), temperature: 0.1 + samples / 7, reliability: Float32Array.from(values.slice(-samples)), present: Uint8Array.from({ length: samples }, (_, i) => i % 2) } } };
      const scores = { selection: part, test: part, degraded: [{ modality: 'only', degradation: 'swap', ...part.modalities.only, logits: part.modalities.only.logits.toReversed() }] } as const;
      expect(scoresFromUnknown(JSON.parse(formatScores(scores)))).toEqual(scores);
    }));
  });

  it('are refused where lengths or labels do not fit', () => {
    const text = formatScores({ selection: scoredSamples(6, 7), test: scoredSamples(6, 7), degraded: degradedModalities(scoredSamples(6, 7)) });
    const spoilt = (from: string | RegExp, to: string): unknown => scoresFromUnknown(JSON.parse(text.replace(from, to)));
    expect(spoilt('', '')).toBeDefined();
    expect(spoilt('"labels":[0,1', '"labels":[0')).toBeUndefined();
    expect(spoilt('"labels":[0,1', '"labels":[0,3')).toBeUndefined();
    expect(spoilt('"present":"1111110"', '"present":"111111"')).toBeUndefined();
    expect(spoilt(/"logits":"..../, '"logits":"')).toBeUndefined();
    expect(spoilt(/"reliability":"..../, '"reliability":"')).toBeUndefined();
    expect(spoilt('"temperature":1', '"temperature":0')).toBeUndefined();
    expect(spoilt('"degradation":"blank","logits":"AAAA', '"degradation":"blank","logits":"')).toBeUndefined();
    expect(spoilt('"modality":"sure"', '"modality":"surely"')).toBeUndefined();
    expect(scoresFromUnknown(undefined)).toBeUndefined();
  });
});
