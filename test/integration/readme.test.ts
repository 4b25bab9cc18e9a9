import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { parseStudy } from '../../shared/study/parse.ts';
import { EXIT_CODES } from '../../shared/errors.ts';
import { startIn, temporaryFolder, type Finished } from '../support/processes.ts';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** Every line of the README's shell blocks, without its remark. */
const COMMANDS = [...README.matchAll(/```sh\n(.*?)```/gs)].flatMap(([, block]) => (block ?? '').trim().split('\n')).map((line) => line.replace(/\s+#.*$/, ''));

/** The words after `npx antiphon`. */
function wordsOf(command: string): string[] {
  const [, words] = /^(?:npm install && )?npx antiphon (.*)$/.exec(command) ?? [];
  expect(words, command).toBeDefined();
  return (words ?? '').split(' ');
}

it('the README has the commands that these tests run, and no other', () => {
  expect(COMMANDS).toHaveLength(8);
  expect(COMMANDS[0]).toBe('npm install && npx antiphon simulate');
  expect(COMMANDS[1]).toBe('npm install && npm test'); // it is running
  expect(COMMANDS.slice(2).map((command) => wordsOf(command)[0])).toEqual(['init', 'coordinator', 'coordinator', 'site', 'site', 'audit']);
});

it('the first command ends well and leaves its files where the README says', async () => {
  const folder = temporaryFolder();
  const { code, stdout, stderr } = await startIn(folder, ...wordsOf(COMMANDS[0] ?? '')).finished;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const run = /^files in (\S+): report\.html/m.exec(stdout)?.[1] ?? '';
  expect(run.startsWith(join(realpathSync(folder), 'antiphon-runs'))).toBe(true);
  for (const file of ['report.html', 'ledger.jsonl', 'metrics.jsonl', 'study.yaml', 'checkpoints', 'coordinator.json', 'private', 'sites', 'data']) expect(existsSync(join(run, file)), file).toBe(true);
});

it('a study by hand, command by command', async () => {
  const folder = temporaryFolder();
  const [init = [], lead = [], invite = [], enroll = [], site = [], audit = []] = COMMANDS.slice(2).map(wordsOf);
  const succeed = async (words: readonly string[]): Promise<Finished> => {
    const finished = await startIn(folder, ...words).finished;
    expect(finished.stderr).toBe('');
    expect(finished.code).toBe(0);
    return finished;
  };
  await succeed(init);
  const coordinator = startIn(folder, ...lead);
  onTestFinished(() => void coordinator.child.kill('SIGKILL'));
  await coordinator.line((line) => line.includes('listening'));
  const { sites } = parseStudy(readFileSync(join(folder, 'study.yaml'), 'utf8'), 'study.yaml');
  const running = [];
  for (const { name } of sites) {
    const ofSite = (words: readonly string[]): string[] => words.map((word) => word.replace('north-image', name));
    const line = (await succeed(ofSite(invite))).stdout.trim();
    await succeed(enroll.map((word) => (word === '<invite>' ? line : word)));
    running.push(startIn(folder, ...ofSite(site)));
  }
  for (const { finished } of [coordinator, ...running]) expect((await finished).code).toBe(0);
  expect((await succeed(audit)).stdout).toContain('VERIFIED');
});

it('the table of exit codes is the one the program has', () => {
  const errors = readFileSync(new URL('../../deploy/docs/errors.md', import.meta.url), 'utf8');
  const listed = [...errors.matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code));
  expect(listed).toEqual([...new Set([0, ...Object.values(EXIT_CODES)])].sort((x, y) => x - y));
});

it('every page that the README links is there', () => {
  const links = [...README.matchAll(/\]\(([^)#]+)\)/g)].map(([, path]) => path ?? '').filter((path) => !path.startsWith('http'));
  expect(links.length).toBeGreaterThan(3);
  for (const path of links) expect(existsSync(new URL(`../../${path}`, import.meta.url)), path).toBe(true);
});
