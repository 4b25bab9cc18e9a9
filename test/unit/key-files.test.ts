import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openHome, prepareKey, saveSettings, siteFiles, type SiteSettings } from '../../client/keystore.ts';
import { coordinatorIdentity, prepareRunFolder, readInvites, recordInvite, roundKeyFile, runFiles } from '../../coordinator/store/run-folder.ts';
import { generateIdentity, generateRoundKeys } from '../../shared/crypto/keys.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { temporaryFolder } from '../support/processes.ts';

const modeOf = (path: string): number => statSync(path).mode & 0o777;
const generate = () => generateIdentity(primitives);
const settings: SiteSettings = { antiphon: 1, site: 'a', modality: 'image', url: 'http://lead.example:7400', study: 'ab'.repeat(32), coordinatorKey: 'cd'.repeat(32), data: '/data', backend: 'auto', vault: '/vault', dataset: 'ward' };

describe('a site’s key', () => {
  it('is made once, is its owner’s alone, and is the same for the next process', async () => {
    const folder = join(temporaryFolder(), 'home');
    const made = await prepareKey(folder, generate);
    expect(modeOf(folder)).toBe(0o700);
    expect(modeOf(siteFiles(folder).key)).toBe(0o600);
    expect(await prepareKey(folder, generate)).toEqual(made);
    // A folder that was there before becomes its owner’s alone; one above that is made is, too.
    const open = temporaryFolder();
    chmodSync(open, 0o755);
    await prepareKey(open, generate);
    expect(modeOf(open)).toBe(0o700);
    const above = join(temporaryFolder(), 'sites');
    await prepareKey(join(above, 'a'), generate);
    expect(modeOf(above)).toBe(0o700);
    await saveSettings(folder, settings, '{}');
    expect(modeOf(siteFiles(folder).settings)).toBe(0o600);
    expect(await openHome(folder)).toMatchObject({ identity: made, settings, study: '{}' });
  });

  it.each([0o644, 0o640, 0o604, 0o660, 0o602])('that others can read or write (mode %o) is not used', async (mode) => {
    const folder = temporaryFolder();
    await prepareKey(folder, generate);
    await saveSettings(folder, settings, '{}');
    chmodSync(siteFiles(folder).key, mode);
    await expect(prepareKey(folder, generate)).rejects.toMatchObject({ code: 'storage-failed' });
    await expect(openHome(folder)).rejects.toThrow(/can be read by others .*chmod 600/);
  });

  it('that is damaged, and a folder that is none, are named', async () => {
    const folder = temporaryFolder();
    await expect(openHome(folder)).rejects.toMatchObject({ code: 'enrolment-refused' });
    await prepareKey(folder, generate);
    await saveSettings(folder, settings, '{}');
    writeFileSync(siteFiles(folder).key, 'ab');
    await expect(openHome(folder)).rejects.toThrow(/does not hold a key/);
    writeFileSync(siteFiles(folder).settings, JSON.stringify({ ...settings, dataset: 7 }));
    await expect(openHome(folder)).rejects.toMatchObject({ code: 'storage-failed' });
  });
});

describe('the coordinator’s private folder', () => {
  it('keeps its key and the open round’s key for the next process, for its owner alone', async () => {
    const folder = join(temporaryFolder(), 'run');
    await prepareRunFolder(folder);
    expect(modeOf(join(folder, 'private'))).toBe(0o700);
    const identity = await coordinatorIdentity(folder, generate);
    expect(await coordinatorIdentity(folder, generate)).toEqual(identity);
    const keys = generateRoundKeys(primitives);
    await roundKeyFile(folder).save(7, keys);
    expect(await roundKeyFile(folder).load(7)).toEqual(keys);
    expect(await roundKeyFile(folder).load(8)).toBeUndefined();
    await recordInvite(folder, { id: 'ef'.repeat(32), site: 'a', expiresAt: 1_800_000_000_000 });
    await recordInvite(folder, { id: '01'.repeat(32), site: 'b', expiresAt: 1_800_000_000_001 });
    expect((await readInvites(folder)).map(({ site }) => site)).toEqual(['a', 'b']);
    for (const path of [runFiles(folder).key, runFiles(folder).roundKey, runFiles(folder).invites]) expect(modeOf(path)).toBe(0o600);
    expect(readFileSync(runFiles(folder).invites, 'utf8')).not.toContain('secret');
  });

  it('has no round key before the first round', async () => {
    const folder = temporaryFolder();
    await prepareRunFolder(folder);
    expect(await roundKeyFile(folder).load(1)).toBeUndefined();
  });
});
