import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromUtf8 } from '../../shared/bytes.ts';
import { columnIndex, readTable } from '../../shared/data/table.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { memoryFiles } from '../support/memory-files.ts';
import { temporaryFolder } from '../support/processes.ts';

const table = (text: string | Uint8Array) => readTable(memoryFiles({ 'index.csv': text }), 'index.csv');

describe('CSV tables', () => {
  it('have a header and rows that know their line, quotes and line breaks included', async () => {
    const { columns, rows } = await table('\uFEFFpatient, note ,label\r\np1,"a, ""b""\nc",1\r\np2,,0\r\n');
    expect(columns).toEqual(['patient', 'note', 'label']);
    expect(rows.map(({ cells }) => cells)).toEqual([
      ['p1', 'a, "b"\nc', '1'],
      ['p2', '', '0'],
    ]);
    expect(rows[1]?.line).toBe(4);
  });

  it('keep an empty line of a single column as an empty cell, so that rows stay aligned', async () => {
    const { rows } = await table('value\n1\n\n3\n');
    expect(rows.map(({ cells }) => cells[0])).toEqual(['1', '', '3']);
  });

  it('name the line of a ragged row and what it should have', async () => {
    await expect(table('a,b\n1,2\n3\n')).rejects.toThrow('expected 2 cells in index.csv:3, as in the header, found 1');
  });

  it('refuse a column named twice', async () => {
    await expect(table('a,b,a\n1,2,3\n')).rejects.toThrow(/index\.csv:1 names the column "a" twice/);
  });

  it('refuse broken quotes and other encodings without quoting the content', async () => {
    await expect(table('a,b\n1,"secret\n')).rejects.toThrow(/not CSV in UTF-8 \(at line \d\)/);
    await expect(table('a,b\n1,"secret\n')).rejects.not.toThrow(/secret/);
    await expect(table(Uint8Array.from([0x61, 0xe9]))).rejects.toThrow(/not CSV in UTF-8/);
    await expect(table('')).rejects.toThrow(/found an empty file/);
  });

  it('suggest the column that was probably meant', async () => {
    const found = await table('patient,label\np,1\n');
    expect(() => columnIndex(found, 'patinet', 'records.patient')).toThrow(/"patinet" \(records\.patient\) in index\.csv.*did you mean "patient"/);
    expect(() => columnIndex(found, 'xyz', 'where')).toThrow(/it has: patient, label/);
  });
});

describe('a data folder', () => {
  let root = '';
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'antiphon-data-'));
    await mkdir(join(root, 'data', 'sub'), { recursive: true });
    await writeFile(join(root, 'data', 'sub', 'a.csv'), 'a\n1\n');
    await writeFile(join(root, 'secret.csv'), 'a\n1\n');
    await symlink(join(root, 'secret.csv'), join(root, 'data', 'link.csv'));
    await symlink(join(root, 'data'), join(root, 'linked-folder'));
  });
  afterAll(() => rm(root, { recursive: true }));

  it('gives its files, also when it is itself a link', async () => {
    expect(fromUtf8(await openDataFolder(join(root, 'linked-folder')).read('sub/a.csv'))).toBe('a\n1\n');
  });

  it('gives nothing outside itself, neither by ".." nor through a link', async () => {
    const files = openDataFolder(join(root, 'data'));
    await expect(files.read('../secret.csv')).rejects.toThrow(/outside the data folder/);
    await expect(files.read('link.csv')).rejects.toThrow(/outside the data folder/);
    await expect(files.read(join(root, 'secret.csv'))).rejects.toThrow(/outside the data folder/);
  });

  it('says where the file is that was looked for one folder too deep', async () => {
    const above = temporaryFolder();
    mkdirSync(join(above, 'heart', 'other'), { recursive: true });
    writeFileSync(join(above, 'heart', 'samples.csv'), 'a\n');
    expect(await openDataFolder(above).read('heart/samples.csv')).toHaveLength(2);
    await expect(openDataFolder(join(above, 'heart')).read('heart/samples.csv')).rejects.toThrow(`found none (ENOENT); --data may be one folder too deep: ${above} has it; else put it there`);
    await expect(openDataFolder(join(above, 'heart', 'other')).read('heart/samples.csv')).rejects.toThrow('found none (ENOENT); put it there');
  });

  it('says which file it expected where', async () => {
    const files = openDataFolder(join(root, 'data'));
    await expect(files.read('sub/b.csv')).rejects.toThrow(/expected the data file .*data.sub.b\.csv, found none \(ENOENT\); put it there/);
    await expect(files.read('sub')).rejects.toMatchObject({ code: 'data-invalid' });
    await expect(openDataFolder(join(root, 'nowhere')).read('a.csv')).rejects.toThrow(/expected the data folder .*nowhere, found none/);
  });
});
