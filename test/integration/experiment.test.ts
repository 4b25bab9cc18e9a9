import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { expect, it, onTestFinished } from 'vitest';
import { run, start, temporaryFolder, type Running } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

const rowsOf = (out: string): Record<string, string>[] => parse(readFileSync(join(out, 'results.csv'), 'utf8'), { columns: true });
const resultFiles = (out: string): string[] => readdirSync(join(out, 'cells')).map((cell) => join(out, 'cells', cell, 'result.json')).filter((path) => existsSync(path));

function writeExperiment(folder: string, ...lines: readonly string[]): string {
  const path = join(folder, 'grid.yaml');
  writeFileSync(path, ['experiment: 1', 'name: grid', ...lines].join('\n'));
  return path;
}

it('killed after its first cell, an experiment runs the missing one only; later fusion settings train nothing', async () => {
  const folder = temporaryFolder();
  const out = join(folder, 'out');
  const grid = (...more: readonly string[]): string => writeExperiment(folder, 'studies: [{ study: synthetic }]', 'epsilon: [none, 3]', 'seeds: [7]', ...more);
  const rounds = 'overrides: { schedule.rounds: [2]';
  const file = grid(`${rounds} }`);
  const begin = (): Running => {
    const running = start('experiment', file, '--out', out);
    onTestFinished(() => void running.child.kill('SIGKILL'));
    return running;
  };
  const first = begin();
  await first.line((line) => line.startsWith('1/2 synthetic epsilon=none seed=7 schedule.rounds=2: '));
  first.child.kill('SIGKILL');
  await first.finished;
  const [kept, ...others] = resultFiles(out);
  expect(others).toEqual([]);
  const written = statSync(kept!).mtimeMs;
  expect(existsSync(join(out, 'results.csv'))).toBe(false);

  const second = await begin().finished;
  expect(second.stderr).toBe('');
  expect(second.code).toBe(0);
  expect(second.stdout).toContain('2 cells, 1 done before');
  expect(second.stdout).not.toMatch(/^\d\/2 synthetic epsilon=none/m);
  expect(second.stdout).toMatch(/^2\/2 synthetic epsilon=3 seed=7/m);
  expect(statSync(kept!).mtimeMs).toBe(written);
  expect(resultFiles(out)).toHaveLength(2);

  // What is reported is what `simulate` said of the same models.
  const rows = rowsOf(out);
  expect(rows.map(({ epsilon }) => epsilon)).toEqual(['none', '3']);
  for (const row of rows) {
    const result = resultFiles(out).map((path) => JSON.parse(readFileSync(path, 'utf8')) as { identity: { study: string }; accuracy: Record<string, number> }).find(({ identity }) => identity.study === row['study_hash']);
    expect(Number(row['accuracy'])).toBe(result?.accuracy['hybrid']);
    expect(Number(row['accuracy_sound'])).toBe(result?.accuracy['sound']);
    expect(row['rounds']).toBe('2');
  }
  expect(Number(rows[1]!['epsilon_spent'])).toBeLessThanOrEqual(3);
  expect(readFileSync(join(out, 'report.html'), 'utf8')).toContain('antiphon schedule.rounds=2 fused (robust product)');

  grid(`${rounds}, fusion.pool: [log], fusion.alpha: [0.2, 0.9] }`, 'rules: [hybrid, product]');
  const third = await begin().finished;
  expect(third.stdout).toContain('2 cells, 2 done before');
  expect(third.stdout).not.toMatch(/^\d\/2 /m);
  expect(rowsOf(out).map(({ epsilon, rule, alpha }) => `${epsilon} ${rule} ${rule === 'product' ? '' : alpha}`)).toEqual(['none hybrid 0.2', 'none hybrid 0.9', 'none product ', '3 hybrid 0.2', '3 hybrid 0.9', '3 product ']);

  // Scores of another version are made again from the trained model; nothing else is.
  const scores = kept!.replace('result.json', 'scores.json');
  const before = readFileSync(scores, 'utf8');
  writeFileSync(scores, before.replace('"antiphonScores":3', '"antiphonScores":2'));
  expect((await run('experiment', file, '--out', out, '--dry-run', '--only', 'epsilon=none')).stdout).toMatch(/^to score {2}/);
  grid(`${rounds} }`, 'degraded: true');
  const fourth = await begin().finished;
  expect(fourth.stdout).toContain('2 cells, 1 done before');
  expect(fourth.stdout).toContain('one modality fails 30 % of the samples');
  expect(readFileSync(scores, 'utf8')).toBe(before);
  expect(readFileSync(join(out, 'degraded.csv'), 'utf8').trim().split('\n')).toHaveLength(1 + 2 * 13);

  const dry = await run('experiment', file, '--out', out, '--dry-run', '--only', 'epsilon=3');
  expect(dry.stdout).toMatch(/^done {6}[0-9a-f]{20} {2}synthetic epsilon=3 seed=7 schedule\.rounds=2\n1 cells, 1 done/);
});

it('a failed cell is told and the others go on, two at a time; trained models are attacked, and attacked once', async () => {
  const folder = temporaryFolder();
  const out = join(folder, 'out');
  writeTinyStudy(folder, { rounds: 2 });
  // A cap of 20 patients is below what the site holds.
  const file = writeExperiment(folder, 'studies: [{ study: tiny.yaml, data: data }, { study: uci-heart }]', 'epsilon: [4]', 'overrides: { sites.2.patients: [250, 20] }', 'membership: true', 'references: 2');
  const words = ['experiment', file, '--out', out, '--data', folder, '--jobs', '2'];
  const result = await run(...words);
  expect(result.stderr).toBe('antiphon: 1 of 2 cells failed (see above); the same command tries them again\n');
  expect(result.code).toBe(11);
  expect(result.stdout).toMatch(/skipped uci-heart: no .*uci-heart\/exercise\.csv/);
  expect(result.stdout).toMatch(/tiny data=data epsilon=4 seed=1 sites\.2\.patients=20: FAILED: .*at most 20 patients/);
  const [row, ...others] = rowsOf(out);
  expect(others).toEqual([]);
  // The strongest of three attacks on a private model: near chance, on either side of it.
  expect(Number(row!['membership_auc'])).toBeGreaterThan(0.3);
  expect(Number(row!['membership_auc'])).toBeLessThan(0.8);
  expect(result.stdout).toContain('TPR@0.1%');
  for (const text of [result.stdout, readFileSync(join(out, 'report.html'), 'utf8')]) expect(text).toContain('is a release that no ledger counts');

  const again = await run(...words, '--only', 'sites.2.patients=250');
  expect(again.code).toBe(0);
  expect(again.stdout).toContain('1 cells, 1 done before');
});

it('wrong experiments end with their codes and say what to do', async () => {
  const folder = temporaryFolder();
  const attempt = (...lines: readonly string[]): ReturnType<typeof run> => run('experiment', writeExperiment(folder, ...lines), '--out', join(folder, 'out'));
  const unknown = await attempt('studies: [{ study: synthetic }]', 'epsilon: [2]', 'seed: [1]');
  expect(unknown.stderr).toContain('unknown key "seed"; did you mean "seeds"?');
  expect(unknown.code).toBe(3);
  const missing = await attempt('studies: [{ study: uci-hart }]', 'epsilon: [2]');
  expect(missing.stderr).toContain('no study "uci-hart"');
  expect(missing.stderr).toContain('did you mean "uci-heart"?');
  expect(missing.code).toBe(3);
  const bare = await attempt('studies: [{ study: uci-heart }]', 'epsilon: [2]');
  expect(bare.stdout).toContain('skipped uci-heart');
  expect(bare.stderr).toContain('give the folder above them with --data DIR');
  expect(bare.code).toBe(4);
  const none = await run('experiment', 'main', '--only', 'epsilon=17', '--out', join(folder, 'out'));
  expect(none.stderr).toContain('--only epsilon=17 chooses none');
  expect(none.code).toBe(2);
  expect((await run('experiment', 'mian')).stderr).toContain('did you mean "main"?');
  expect(existsSync(join(folder, 'out'))).toBe(false);
});
