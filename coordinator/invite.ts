import { nodePrimitives as primitives } from '../shared/platform/primitives.ts';
import { toHex } from '../shared/bytes.ts';
import { AntiphonError } from '../shared/errors.ts';
import { readLine } from '../shared/ledger/line.ts';
import { isLedgerProblem } from '../shared/ledger/problem.ts';
import { fileLines, wholeLines } from '../shared/platform/lines.ts';
import { encodeInvite } from '../shared/protocol/invite.ts';
import type { Study } from '../shared/study/schema.ts';
import { readAddress, recordInvite, runFiles } from './store/run-folder.ts';

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

/** An invite that would admit nobody: AntiphonError('enrolment-refused') for a site that is enrolled, or a study that has ended, as the run's ledger says. */
export async function checkInvitable(folder: string, site: string): Promise<void> {
  for await (const text of wholeLines(fileLines(runFiles(folder).ledger, { notLines: 'ledger-tampered', unreadable: 'storage-failed' }))) {
    const line = readLine(text);
    if (isLedgerProblem(line)) continue;
    const { body } = line;
    if (body.type === 'end') throw new AntiphonError('enrolment-refused', `the study has ended (${body.reason}: ${body.detail}); nobody enrols any more`);
    if (body.type !== 'enrol' || body.site !== site) continue;
    throw new AntiphonError('enrolment-refused', `site "${site}" is enrolled already, with the key ${body.key.slice(0, 16)}...: it goes on with npx antiphon site start (or, where it could not finish, with the invite that it has); another key is not admitted`);
  }
}
