import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { run, temporaryFolder } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

const TWO_MODALITIES = [
  { samplingRate: 0.02, noiseMultiplier: 1.2, steps: 500 },
  { samplingRate: 0.1, noiseMultiplier: 2, steps: 100 },
];
const study = (name: string): string => fileURLToPath(new URL(`../../deploy/studies/${name}.yaml`, import.meta.url));

interface Answer {
  readonly noiseMultiplier: number;
  readonly noiseMultiplierRdp: number;
  readonly epsilon: { readonly pld: number };
  readonly rounds: number;
  readonly stepsThatFit: { readonly pld: number };
  readonly afterRound: readonly { readonly modality: string }[];
}

function eventsFile(content: unknown): string {
  const path = join(temporaryFolder(), 'events.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

it('epsilon of a list of releases, for scripts: one JSON object with the published numbers', async () => {
  const { code, stdout, stderr } = await run('plan', '--events', eventsFile(TWO_MODALITIES), '--delta', '1e-5', '--json');
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  const { epsilon, delta } = JSON.parse(stdout) as { epsilon: { pld: number; rdp: number }; delta: number };
  expect(epsilon.pld).toBeGreaterThan(3.0837);
  expect(epsilon.pld).toBeLessThan(3.0881);
  expect(epsilon.rdp).toBeCloseTo(3.3854, 4);
  expect(delta).toBe(1e-5);
});

it('noise for a budget, for scripts: one JSON object with the published numbers', async () => {
  const { code, stdout, stderr } = await run('plan', '--epsilon', '1', '--delta', '1e-5', '--sampling-rate', '0.01', '--steps', '1000', '--json');
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  const { noiseMultiplier, noiseMultiplierRdp, epsilon, stepsThatFit } = JSON.parse(stdout) as Answer;
  expect(Math.abs(noiseMultiplier - 1.4146)).toBeLessThan(1e-3);
  expect(noiseMultiplierRdp).toBeCloseTo(1.5131, 3);
  expect(epsilon.pld).toBeLessThanOrEqual(1);
  expect(epsilon.pld).toBeGreaterThan(0.999);
  expect(stepsThatFit.pld).toBe(1000);
});

it('for people: a table, an answer to each question, the assumptions', async () => {
  const noise = await run('plan', '--epsilon', '4', '--delta', '1e-4', '--sampling-rate', '0.064', '--rounds', '60', '--local-steps', '5', '--patients', '500');
  expect(noise.stderr).toBe('');
  expect(noise.stdout).toContain('1.3131 is enough by PLD; by RDP it would be 1.4088');
  expect(noise.stdout).toMatch(/after round .* epsilon PLD .* epsilon RDP .* of the budget/);
  expect(noise.stdout).toContain('│ 32 ');
  expect(noise.stdout).toContain('Poisson sampling');
  const epsilon = await run('plan', '--noise-multiplier', '1.5', '--delta', '1e-4', '--sampling-rate', '0.064', '--steps', '300');
  expect(epsilon.stdout).toContain('3.2441 by PLD');
  const rounds = await run('plan', '--noise-multiplier', '1.5', '--epsilon', '2', '--delta', '1e-4', '--sampling-rate', '0.064', '--rounds', '30', '--local-steps', '10', '--modalities', '2');
  expect(rounds.stdout).toMatch(/rounds that fit {3}\d+ by PLD, \d+ by RDP; 30 planned/);
  expect(rounds.stdout).toContain('the plan does not fit its budget');
  const events = await run('plan', '--events', eventsFile(TWO_MODALITIES), '--delta', '1e-5');
  expect(events.stdout).toContain('3.0849 by PLD, 3.3854 by RDP');
});

it('of a study file, with overrides, and its plots in both forms', async () => {
  const folder = temporaryFolder();
  const plain = JSON.parse((await run('plan', '--study', study('synthetic'), '--json')).stdout) as Answer;
  // A shipped study needs only its name.
  expect(JSON.parse((await run('plan', '--study', 'synthetic', '--json')).stdout)).toEqual(plain);
  // The budget that the file itself gives is used up, to 0.4 %, and never passed.
  const budget = Number(/^ *epsilon: (\S+)/m.exec(readFileSync(study('synthetic'), 'utf8'))?.[1]);
  expect(plain.rounds).toBe(30);
  expect(plain.epsilon.pld).toBeLessThanOrEqual(budget);
  expect(plain.epsilon.pld).toBeGreaterThan(budget * 0.996);
  expect(plain.afterRound.slice(0, 4).map(({ modality }) => modality)).toEqual(['image', 'sound', 'table', 'image']);
  const page = join(folder, 'plan.html');
  const changed = await run('plan', '--study', study('synthetic'), '--rounds', '12', '--noise-multiplier', '2', '--delta', '1e-5', '--out', page);
  expect(changed.stdout).toMatch(/epsilon +\d+\.\d+ by PLD, \d+\.\d+ by RDP, after 12 rounds, at delta 0\.00001/);
  const html = readFileSync(page, 'utf8');
  for (const part of ['<!doctype html>', 'Epsilon over the rounds', 'var uPlot', 'What is assumed', '</html>']) expect(html.includes(part), part).toBe(true);
  const drawing = join(folder, 'plan.svg');
  expect((await run('plan', '--study', study('uci-heart'), '--epsilon', '5', '--noise-multiplier', '3', '--out', drawing)).code).toBe(0);
  expect(readFileSync(drawing, 'utf8')).toMatch(/^<svg xmlns=[^]*<\/svg>\n$/);
});

const NUMBERS = ['--delta', '1e-5', '--sampling-rate', '0.1', '--steps', '100'] as const;

it.each([
  ['nothing at all', [], /give --study FILE, --events FILE, or numbers/],
  ['no question', NUMBERS, /missing --epsilon .*or --noise-multiplier/],
  ['no delta', ['--epsilon', '1', '--sampling-rate', '0.1', '--steps', '100'], /missing --delta/],
  ['a list of releases without delta', ['--events', 'x.json'], /--events needs --delta/],
  ['a delta of 1', ['--epsilon', '1', '--delta', '1', '--sampling-rate', '0.1', '--steps', '100'], /expected a delta above 0 and below 1, found "1"/],
  ['a negative epsilon', ['--epsilon', '-1', ...NUMBERS], /expected a positive number, found "-1"/],
  ['an epsilon that is no number', ['--epsilon', 'NaN', ...NUMBERS], /expected a positive number, found "NaN"/],
  ['an infinite noise multiplier', ['--noise-multiplier', 'Infinity', ...NUMBERS], /expected a positive number, found "Infinity"/],
  ['a sampling rate above 1', ['--epsilon', '1', '--delta', '1e-5', '--sampling-rate', '1.5', '--steps', '100'], /expected a sampling rate above 0 and at most 1, found "1.5"/],
  ['half a step', ['--epsilon', '1', '--delta', '1e-5', '--sampling-rate', '0.1', '--steps', '0.5'], /expected a whole number from 1 to 1000000, found "0.5"/],
  ['steps and rounds', ['--epsilon', '1', ...NUMBERS, '--rounds', '3'], /--steps excludes --rounds/],
  ['a study and plain numbers', ['--study', 'x.yaml', '--sampling-rate', '0.1'], /--study excludes --sampling-rate/],
  ['two sources', ['--events', 'x.json', '--study', 'x.yaml', '--delta', '1e-5'], /--events excludes --study/],
  ['a plot of another kind', ['--epsilon', '1', ...NUMBERS, '--out', 'plan.png'], /expected an --out that ends in \.html or \.svg, found "plan\.png"/],
] as const)('%s ends with 2 and says what was expected', async (_title, args, message) => {
  const { code, stdout, stderr } = await run('plan', ...args);
  expect(stderr).toMatch(message);
  expect(stdout).toBe('');
  expect(code).toBe(2);
});

it.each([
  ['no JSON', '[{"samplingRate": 0.1,', /is not JSON/],
  ['no list', { samplingRate: 0.1 }, /expected a JSON list/],
  ['a rate above 1', [{ samplingRate: 1.2, noiseMultiplier: 2, steps: 5 }], /entry 1, samplingRate: expected a number of at most 1/],
  ['no noise', [TWO_MODALITIES[0], { samplingRate: 0.2, noiseMultiplier: 0, steps: 5 }], /entry 2, noiseMultiplier: expected a number above 0/],
  ['half a step', [{ samplingRate: 0.2, noiseMultiplier: 3, steps: 2.5 }], /entry 1, steps: expected a whole number/],
  ['a missing number', [{ samplingRate: 0.2, steps: 2 }], /entry 1, noiseMultiplier: expected a number/],
  ['a number as text', [{ samplingRate: '0.2', noiseMultiplier: 3, steps: 2 }], /entry 1, samplingRate: expected a number/],
  ['an unknown key', [{ samplingRate: 0.2, noiseMultiplier: 3, steps: 2, sigma: 1 }], /entry 1: .*"sigma"/],
] as const)('a list of releases with %s ends with 4 and says where', async (_title, content, message) => {
  const { code, stdout, stderr } = await run('plan', '--events', eventsFile(content), '--delta', '1e-5', '--json');
  expect(stderr).toMatch(message);
  expect(stdout).toBe('');
  expect(code).toBe(4);
});

it('files that are not there, studies that cannot be planned, and budgets that no noise meets have codes of their own', async () => {
  const folder = temporaryFolder();
  const events = await run('plan', '--events', join(folder, 'none.json'), '--delta', '1e-5', '--json');
  expect(events.stderr).toMatch(/cannot read .*none\.json/);
  expect(events.code).toBe(4);
  expect((await run('plan', '--study', join(folder, 'none.yaml'))).code).toBe(3);
  const { study: tiny } = writeTinyStudy(folder);
  const open = join(folder, 'open.yaml');
  writeFileSync(open, readFileSync(tiny, 'utf8').replace(/privacy: .*/, 'privacy: { protection: none, samplingRate: 0.3 }'));
  const unprotected = await run('plan', '--study', open);
  expect(unprotected.stderr).toContain('without privacy');
  expect(unprotected.code).toBe(2);
  const hopeless = await run('plan', '--epsilon', '1e-7', '--delta', '1e-12', '--sampling-rate', '1', '--steps', '1000000');
  expect(hopeless.stderr).toMatch(/no noise reaches epsilon 1e-7: even a noise multiplier of 10000/);
  // No study file is at fault where none was given.
  expect(hopeless.code).toBe(2);
  expect((await run('plan', '--study', tiny, '--epsilon', '1e-9', '--delta', '1e-12')).code).toBe(3);
  const nowhere = await run('plan', '--study', tiny, '--out', join(folder, 'no', 'plan.svg'));
  expect(nowhere.stderr).toContain('could not write');
  expect(nowhere.code).toBe(13);
  expect(existsSync(join(folder, 'no'))).toBe(false);
});
