import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { siteCommand } from '../../client/cli.ts';
import { coordinatorCommand } from '../../coordinator/cli.ts';
import { experimentCommand } from '../../deploy/experiment/command.ts';
import { finishCommand } from '../../deploy/command-help.ts';
import { readStudyFile } from '../../deploy/study-file.ts';

const parts = { signal: new AbortController().signal, write: () => undefined };
const finished = (command: Command): Command => {
  finishCommand(command);
  return command;
};
const COMMANDS = [
  finished(siteCommand(parts)),
  finished(coordinatorCommand({ ...parts, createDisplay: () => ({ show: () => undefined, close: () => undefined }), readStudy: (given) => readStudyFile(given, 'nowhere') })),
].flatMap(({ commands }) => commands);

it.each(COMMANDS.map((command) => [`${command.parent?.name() ?? ''} ${command.name()}`, command] as const))('the help of "%s" marks the options that it cannot do without, and no other', (_title, command) => {
  const required = command.options.filter(({ mandatory }) => mandatory).map(({ flags }) => flags);
  expect(required.length).toBeGreaterThan(0);
  const marked = command.helpInformation().replaceAll(/\n {10,}/g, ' ').split('\n').filter((line) => line.includes('(required)')).map((line) => line.trim().split(/ {2,}/)[0]);
  expect(marked).toEqual(required);
});

it('the help of "experiment" names every grid that is shipped', () => {
  const folder = (name: string): string => fileURLToPath(new URL(`../../deploy/${name}`, import.meta.url));
  const help = experimentCommand({ shipped: { studies: folder('studies'), experiments: folder('experiments') }, display: { stream: process.stdout, live: false, color: false }, signal: parts.signal }).helpInformation().replaceAll(/\s+/g, ' ');
  const names = readdirSync(folder('experiments')).filter((name) => name.endsWith('.yaml')).map((name) => name.slice(0, -5));
  expect(names).toContain('robustness');
  for (const name of names) expect(help).toMatch(new RegExp(`shipped one:[^)]*\\b${name}\\b`));
});

it('a value that is refused is said with its option', async () => {
  const [enroll] = COMMANDS;
  await expect(enroll?.parseAsync(['x', '--data', 'd', '--max-epsilon', '-2.5'], { from: 'user' })).rejects.toThrow('--max-epsilon: expected a positive number, found "-2.5"');
});
