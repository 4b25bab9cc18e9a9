import { realpath } from 'node:fs/promises';
import { fromHex, toHex, utf8 } from '../shared/bytes.ts';
import { generateIdentity } from '../shared/crypto/keys.ts';
import { AntiphonError } from '../shared/errors.ts';
import { signEnrolment } from '../shared/ledger/statements.ts';
import type { BackendChoice } from '../shared/platform/backend-choice.ts';
import { nodePrimitives as primitives } from '../shared/platform/primitives.ts';
import { decodeInvite } from '../shared/protocol/invite.ts';
import type { SiteMessage } from '../shared/protocol/messages.ts';
import { connect } from './connection.ts';
import { failureToError } from './failure-to-error.ts';
import { prepareKey, saveSettings } from './keystore.ts';
import type { Limits } from './limits.ts';
import { openVault } from './vault.ts';

const ENROL_TIMEOUT_MS = 30_000;

export interface EnrolInput {
  readonly invite: string;
  readonly home: string;
  readonly data: string;
  readonly backend: BackendChoice;
  /** The site's signed statement: no patient of its data is at these other sites of its modality; `*`: at none of them. */
  readonly disjointFrom: readonly string[];
  /** Said on purpose, where the study counts on disjoint sites: this one may share patients with others. */
  readonly mayOverlap: boolean;
  readonly vault: string;
  /** Name of the data set in the vault; undefined: the data folder itself is its name. */
  readonly dataset: string | undefined;
  /** What its custodian allows from now on; what is not given stays as the vault says. */
  readonly limits: Limits | undefined;
}

/** Makes the site's key, has it admitted with the invite, and keeps study and settings in the site's folder. */
export async function enrolSite(input: EnrolInput): Promise<{ readonly site: string; readonly modality: string }> {
  const invite = decodeInvite(primitives, input.invite);
  if (Date.now() > invite.expiresAt) throw new AntiphonError('invite-expired', `this invite expired at ${new Date(invite.expiresAt).toISOString()}; ask the study lead for a new one`);
  const { site, modality } = invite;
  const dataset = input.dataset ?? (await nameOfFolder(input.data));
  const vault = openVault(input.vault, dataset);
  if (input.limits !== undefined) await vault.changeLimits(input.limits);
  const identity = await prepareKey(input.home, () => generateIdentity(primitives));
  const statement = signEnrolment(primitives, identity, {
    type: 'enrol',
    study: invite.study,
    site,
    modality,
    key: toHex(identity.publicKey),
    invite: toHex(primitives.sha256(invite.secret)),
    disjointFrom: [...input.disjointFrom],
  });
  const request: SiteMessage = {
    type: 'enrol',
    inviteSecret: new Uint8Array(invite.secret),
    site,
    modality,
    disjointFrom: [...input.disjointFrom],
    mayOverlap: input.mayOverlap,
    signature: fromHex(statement.signature, 64),
  };
  const study = await askAdmission(invite, { identity, request });
  if (toHex(primitives.sha256(utf8(study))) !== invite.study) throw new AntiphonError('enrolment-refused', 'the coordinator sent another study than the invite names; ask the study lead');
  await saveSettings(input.home, {
    antiphon: 1,
    site,
    modality,
    url: invite.url,
    study: invite.study,
    coordinatorKey: invite.coordinatorKey,
    data: input.data,
    backend: input.backend,
    vault: input.vault,
    dataset,
  }, study);
  return { site, modality };
}

/** The same folder, the same name, under whatever site or study: `data-` and the start of SHA-256 of its real path. */
async function nameOfFolder(data: string): Promise<string> {
  const path = await realpath(data).catch((error: unknown) => {
    throw new AntiphonError('data-invalid', `expected the data folder ${data}, found none; give the folder with --data`, { cause: error });
  });
  return `data-${toHex(primitives.sha256(utf8(path))).slice(0, 16)}`;
}

/** One session: enrol, take the study, leave. */
function askAdmission(invite: ReturnType<typeof decodeInvite>, { identity, request }: { readonly identity: Awaited<ReturnType<typeof prepareKey>>; readonly request: SiteMessage }): Promise<string> {
  return new Promise((resolve, reject) => {
    let lastReason = 'no answer';
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      connection.close();
      settle();
    };
    const timer = setTimeout(() => {
      finish(() => {
        reject(new AntiphonError('network-unreachable', `no coordinator answered at ${invite.url} within ${ENROL_TIMEOUT_MS / 1000} s (${lastReason}); check that it runs and that outbound connections to it are allowed`));
      });
    }, ENROL_TIMEOUT_MS);
    const connection = connect({
      url: invite.url,
      primitives,
      identity,
      study: fromHex(invite.study, 32),
      coordinatorKey: fromHex(invite.coordinatorKey, 32),
      listener: (event) => {
        if (event.type === 'open') connection.send(request);
        else if (event.type === 'closed') lastReason = event.reason;
        else if (event.type === 'refused') finish(() => { reject(failureToError(event.problem)); });
        else if (event.type === 'message' && event.message.type === 'enrolled') {
          const { study } = event.message;
          finish(() => { resolve(study); });
        }
      },
    });
  });
}
