import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { siteCommand } from '../../client/cli.ts';
import { coordinatorCommand } from '../../coordinator/cli.ts';
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

it('a value that is refused is said with its option', async () => {
  const [enroll] = COMMANDS;
  await expect(enroll?.parseAsync(['x', '--data', 'd', '--max-epsilon', '-2.5'], { from: 'user' })).rejects.toThrow('--max-epsilon: expected a positive number, found "-2.5"');
});
