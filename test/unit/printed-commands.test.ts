import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sources = ['client', 'coordinator', 'deploy', 'shared'].flatMap((folder) => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts')).map((path) => join(root, folder, path)));

/** In a clone and in a local install `antiphon` is no command; `npx antiphon` is, and runs a global one, too. */
it('every command that is printed is one that runs: npx antiphon, the same everywhere', () => {
  const printed = sources.flatMap((path) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => !/^\s*(\/\*\*|\*|\/\/)/.test(line))
      .flatMap((line) => [...line.matchAll(/(npx )?antiphon (?:simulate|audit|plan|doctor|site|coordinator|witness|init|experiment)\b/g)].map(([command, npx]) => ({ path, command, npx }))),
  );
  expect(printed.length).toBeGreaterThan(12);
  expect(printed.filter(({ npx }) => npx === undefined)).toEqual([]);
});
