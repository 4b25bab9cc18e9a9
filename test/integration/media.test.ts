import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { writeMvsa, writeNotes } from '../support/media.ts';
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

describe.each([
  ['embedding', '{ type: embedding, vocabulary: 1024, width: 16, activation: tanh }'],
  ['attention', '{ type: attention, vocabulary: 1024, width: 16, heads: 2, activation: tanh }'],
])('notes that an encoder reads token by token: %s', (_name, encoder) => {
  it('train privately at sites of a column and of files alike, and tell the complaints apart better than chance', async () => {
    const folder = temporaryFolder();
    writeNotes(folder, 600);
    const records = 'index: notes.csv, patient: patient, label: complaint';
    const modality = `shape: [24], sitesDisjoint: true, encoder: ${encoder}`;
    writeFileSync(join(folder, 'notes.yaml'), `antiphon: 1
name: notes
classes: [infection, lung, skin]
modalities:
  said: { ${modality}, records: { ${records}, text: { column: note } } }
  filed: { ${modality}, records: { ${records}, files: { format: text, folder: notes, column: file, corruptAtMost: 1 } } }
head: { features: 8, initial: { type: orthogonal, length: 2 } }
sites:
  - { name: said-1, modality: said, patients: 300, where: { split: train }, share: { from: 0, to: 0.5 } }
  - { name: said-2, modality: said, patients: 300, where: { split: train }, share: { from: 0.5, to: 1 } }
  - { name: filed-1, modality: filed, patients: 500, where: { split: train } }
schedule: { rounds: 40, localSteps: 2 }
optimiser: { local: { learningRate: 1, momentum: 0 }, averageLast: 0.3 }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: 0.2, delta: 1.0e-5, epsilon: 16 }
evaluation: { public: true, sample: sample, selection: { where: { split: selection } }, test: { where: { split: test } }, everyRounds: 20 }
`);
    const result = await run('simulate', '--study', join(folder, 'notes.yaml'), '--data', folder, '--out', join(folder, 'run'), '--json');
    expect(result.code === 0 ? '' : result.stderr).toBe('');
    const { epsilon, accuracy } = JSON.parse(result.stdout) as { epsilon: number; accuracy: Record<string, number> };
    expect(epsilon).toBeLessThanOrEqual(16);
    // Chance is a third; some 120 test notes have a standard deviation of 0.05, so a half is beyond luck.
    expect(accuracy['said']).toBeGreaterThan(0.5);
    expect(accuracy['filed']).toBeGreaterThan(0.5);
    expect(JSON.parse(readFileSync(join(folder, 'run', 'sites', 'filed-1', 'unreadable.jsonl'), 'utf8'))).toMatchObject({ path: '7-2.txt', why: 'there is no such file' });
  });
});
