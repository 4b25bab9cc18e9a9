import { nodePrimitives as primitives } from '../shared/platform/primitives.ts';
import { toHex } from '../shared/bytes.ts';
import { AntiphonError } from '../shared/errors.ts';
import { encodeInvite } from '../shared/protocol/invite.ts';
import type { Study } from '../shared/study/schema.ts';
import { readAddress, recordInvite } from './store/run-folder.ts';

/** Issues a one-time invite of a started coordinator for one site of its study; only the hash of its secret is kept. */
export async function issueInvite(input: { readonly folder: string; readonly study: Study; readonly site: string; readonly hours: number; readonly url: string | undefined }): Promise<string> {
  const { folder, study, site, hours, url } = input;
  const address = await readAddress(folder);
  const planned = study.sites.find(({ name }) => name === site);
  if (planned === undefined) throw new AntiphonError('usage', `the study has no site "${site}"; it has: ${study.sites.map(({ name }) => name).join(', ')}`);
  const secret = primitives.randomBytes(32);
  const expiresAt = Math.floor(Date.now() + hours * 3_600_000);
  await recordInvite(folder, { id: toHex(primitives.sha256(secret)), site, expiresAt });
  return encodeInvite(primitives, { url: url ?? address.url, study: address.study, coordinatorKey: address.coordinatorKey, site, modality: planned.modality, secret, expiresAt });
}
