import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it, vi } from 'vitest';
import { writeMvsa } from '../support/media.ts';
import { run, temporaryFolder } from '../support/processes.ts';

const study = fileURLToPath(new URL('../../deploy/studies/mvsa-single.yaml', import.meta.url));

afterEach(() => {
  vi.unstubAllEnvs();
});

/** Every file below a folder, with what it holds. */
function filesBelow(folder: string): { readonly path: string; readonly text: string }[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => ({ path, text: readFileSync(path, 'latin1') }));
}

it('sites of pictures and texts train from their files, with no feature in memory, and only their own folder names what was left out', async () => {
  vi.stubEnv('ANTIPHON_RECORDS_IN_MEMORY_MIB', '0');
  const folder = temporaryFolder();
  await writeMvsa(folder, 120);
  const out = join(folder, 'run');
  const result = await run('simulate', '--study', study, '--data', folder, '--rounds', '2', '--out', out);
  expect(result.stderr).toBe('');
  expect(result.code).toBe(0);
  expect(result.stdout).toMatch(/completed: all 2 rounds/);
  const list = join(out, 'sites', 'picture-1', 'unreadable.jsonl');
  expect(JSON.parse(readFileSync(list, 'utf8'))).toEqual({ line: 8, path: '6.jpg', why: 'it is cut off or damaged' });
  expect(statSync(list).mode & 0o077).toBe(0);
  expect(filesBelow(out).filter(({ text }) => text.includes('6.jpg')).map(({ path }) => path)).toEqual([list]);
  expect(filesBelow(out).filter(({ path }) => path.endsWith('.cache'))).toEqual([]);
});

it('a site with more damaged files than the study allows does not start, and says which lines', async () => {
  const folder = temporaryFolder();
  await writeMvsa(folder, 60);
  for (const tweet of [10, 11, 12, 13, 20]) writeFileSync(join(folder, 'mvsa-single', 'data', `${tweet}.jpg`), '');
  const result = await run('simulate', '--study', study, '--data', folder, '--rounds', '2', '--out', join(folder, 'run'));
  expect(result.code).toBe(4);
  expect(result.stderr).toMatch(/6 of 48 files cannot be read, the study allows 5 \(corruptAtMost\): mvsa-single\/tweets\.csv:8 \(it is cut off or damaged\), mvsa-single\/tweets\.csv:12 \(it is empty\), .* and 1 more; all are listed in .*picture-1.unreadable\.jsonl; repair them/);
  expect(result.stderr).not.toContain('.jpg');
});
