import { chmod, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fromHex, toHex } from '../shared/bytes.ts';
import { identityFromSeed, type Identity } from '../shared/crypto/keys.ts';
import { AntiphonError } from '../shared/errors.ts';
import { writeFileAtomic } from '../shared/platform/atomic-file.ts';
import { BACKEND_CHOICES } from '../shared/platform/backend-choice.ts';
import { makeFolder } from '../shared/platform/folder.ts';

/** A site's own folder: its key, its settings, its copies of study and ledger, its staged update. */
export interface SiteHome {
  readonly folder: string;
  readonly identity: Identity;
  readonly settings: SiteSettings;
  /** As the coordinator sent it: canonical JSON. */
  readonly study: string;
}

const hex32 = z.string().regex(/^[0-9a-f]{64}$/);

const settingsSchema = z.strictObject({
  antiphon: z.literal(1),
  site: z.string(),
  modality: z.string(),
  url: z.string(),
  study: hex32,
  coordinatorKey: hex32,
  /** Absolute path of the site's data folder. */
  data: z.string(),
  backend: z.enum(BACKEND_CHOICES),
  /** Where the institution keeps limits and spend logs, and this data set's name there. */
  vault: z.string(),
  dataset: z.string(),
});
export type SiteSettings = z.output<typeof settingsSchema>;

export const siteFiles = (folder: string) => ({
  key: join(folder, 'site.key'),
  settings: join(folder, 'site.json'),
  study: join(folder, 'study.json'),
  ledger: join(folder, 'ledger.jsonl'),
  staged: join(folder, 'staged.bin'),
  /** Of the one process that runs the site. */
  lock: join(folder, 'site.lock'),
  unreadable: join(folder, 'unreadable.jsonl'),
});

/** The key is generated here and never leaves; a key that exists already (an interrupted enrolment) is used again. */
export async function prepareKey(folder: string, generate: () => Identity): Promise<Identity> {
  await makeFolder(folder, 0o700);
  await chmod(folder, 0o700);
  const path = siteFiles(folder).key;
  const existing = await readFile(path, 'utf8').catch(() => undefined);
  if (existing !== undefined) return readKey(path);
  const identity = generate();
  await writeFileAtomic(path, `${toHex(identity.secretKey)}\n`, 0o600);
  return identity;
}

export async function saveSettings(folder: string, settings: SiteSettings, study: string): Promise<void> {
  await writeFileAtomic(siteFiles(folder).study, study);
  await writeFileAtomic(siteFiles(folder).settings, `${JSON.stringify(settings, null, 2)}\n`, 0o600);
}

/** The data of an enrolled site lie in another folder now. What they have spent stays with their name in the vault. */
export async function moveData(folder: string, data: string): Promise<void> {
  const { settings, study } = await openHome(folder);
  await saveSettings(folder, { ...settings, data }, study);
}

export async function openHome(folder: string): Promise<SiteHome> {
  const files = siteFiles(folder);
  const text = await readFile(files.settings, 'utf8').catch((error: unknown) => {
    throw new AntiphonError('enrolment-refused', `${folder} is not the folder of an enrolled site (no ${files.settings}); run \`npx antiphon site enroll <invite> --data DIR --home ${folder}\` first`, { cause: error });
  });
  const settings = settingsSchema.safeParse(JSON.parse(text));
  if (!settings.success) throw new AntiphonError('storage-failed', `${files.settings} is damaged: ${settings.error.issues[0]?.message ?? ''}; restore it or enrol again`);
  return { folder, identity: await readKey(files.key), settings: settings.data, study: await readFile(files.study, 'utf8') };
}

async function readKey(path: string): Promise<Identity> {
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) throw new AntiphonError('storage-failed', `${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run \`chmod 600 ${path}\`, and enrol anew if somebody may have read it`);
  const text = (await readFile(path, 'utf8')).trim();
  if (!/^[0-9a-f]{64}$/.test(text)) throw new AntiphonError('storage-failed', `${path} does not hold a key; restore it, or enrol again with a new invite`);
  return identityFromSeed(fromHex(text, 32));
}
