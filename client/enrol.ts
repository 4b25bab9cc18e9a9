import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { fromHex, toHex, utf8 } from '../shared/bytes.ts';
import { generateIdentity } from '../shared/crypto/keys.ts';
import { checkLayout } from '../shared/data/dataset.ts';
import { AntiphonError } from '../shared/errors.ts';
import { toLedgerMechanism } from '../shared/ledger/mechanism.ts';
import { signEnrolment } from '../shared/ledger/statements.ts';
import type { BackendChoice } from '../shared/platform/backend-choice.ts';
import { openDataFolder } from '../shared/platform/data-files.ts';
import { enterFolder } from '../shared/platform/fresh-folder.ts';
import { nodePrimitives as primitives } from '../shared/platform/primitives.ts';
import { decodeInvite } from '../shared/protocol/invite.ts';
import type { SiteMessage } from '../shared/protocol/messages.ts';
import { studyFromUnknown } from '../shared/study/parse.ts';
import { resolveStudy } from '../shared/study/resolve.ts';
import type { Study } from '../shared/study/schema.ts';
import { connect } from './connection.ts';
import { failureToError } from './failure-to-error.ts';
import { prepareKey, saveSettings, siteFiles } from './keystore.ts';
import { roundsAllowed, type Limits } from './limits.ts';
import { openVault, type Vault } from './vault.ts';

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
export async function enrolSite(input: EnrolInput): Promise<{ readonly site: string; readonly modality: string; readonly allowed: string | undefined }> {
  const invite = decodeInvite(primitives, input.invite);
  // A key that is here may have been admitted already; then the coordinator sends the study again, however old the invite is.
  if (Date.now() > invite.expiresAt && !existsSync(siteFiles(input.home).key)) throw new AntiphonError('invite-expired', `this invite expired at ${new Date(invite.expiresAt).toISOString()}; ask the study lead for a new one`);
  const { site, modality } = invite;
  const dataset = input.dataset ?? (await nameOfFolder(input.data));
  const vault = openVault(input.vault, dataset);
  const fresh = await enterFolder(input.home, 0o700);
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
  const study = await askAdmission(invite, { identity, request }).catch(async (error: unknown) => {
    // Certainly not admitted: nothing of it is left. After silence the key stays, which may stand in the ledger.
    if (error instanceof NotAdmitted) await fresh.undo();
    throw error instanceof NotAdmitted ? error.cause : error;
  });
  if (toHex(primitives.sha256(utf8(study))) !== invite.study) throw new AntiphonError('enrolment-refused', 'the coordinator sent another study than the invite names; ask the study lead');
  await checkData(study, { site, modality, data: input.data });
  if (input.limits !== undefined) await vault.changeLimits(input.limits);
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
  return { site, modality, allowed: await whatLimitsAllow(studyFromUnknown(JSON.parse(study)), { modality, vault }) };
}

/** What the data set's limit on epsilon comes to in this study, in words; undefined: it has none, or the study protects nothing. */
async function whatLimitsAllow(study: Study, { modality, vault }: { readonly modality: string; readonly vault: Pick<Vault, 'limits' | 'entries'> }): Promise<string | undefined> {
  const limits = await vault.limits();
  if (limits.maxEpsilon === undefined || study.privacy.protection === 'none') return undefined;
  const { modalities, budget } = resolveStudy(study);
  const planned = modalities.get(modality);
  if (planned === undefined) return undefined;
  const rounds = roundsAllowed(limits, { mechanism: toLedgerMechanism(planned.mechanism), delta: budget.delta, log: await vault.entries(), planned: planned.rounds });
  return `its limit of epsilon ${limits.maxEpsilon} over all studies allows ${rounds ?? 0} of the ${planned.rounds} rounds planned for ${modality}${rounds === planned.rounds ? '' : ': it will refuse the others (raise --max-epsilon, or have the study plan fewer rounds or more noise)'}; other sites with this data set share it`;
}

/** What the study names has to be there, before the site is called ready to start: the study comes with the admission, so the key is admitted by now. */
async function checkData(text: string, { site: name, modality, data }: { readonly site: string; readonly modality: string; readonly data: string }): Promise<void> {
  const study = studyFromUnknown(JSON.parse(text));
  const site = study.sites.find((one) => one.name === name);
  const selection = { ...(site?.where === undefined ? {} : { where: site.where }), ...(site?.share === undefined ? {} : { share: site.share }) };
  await checkLayout({ study, modality, selection, files: openDataFolder(data), primitives }).catch((error: unknown) => {
    if (!(error instanceof AntiphonError) || error.code !== 'data-invalid') throw error;
    throw new AntiphonError('data-invalid', `${error.message}. The coordinator has admitted this site's key, but the site cannot start: mend the data, then run the same command again, with the same invite and --home`, { cause: error });
  });
}

/** The same folder, the same name, under whatever site or study: `data-` and the start of SHA-256 of its real path. */
async function nameOfFolder(data: string): Promise<string> {
  const path = await realpath(data).catch((error: unknown) => {
    throw new AntiphonError('data-invalid', `expected the data folder ${data}, found none; give the folder with --data`, { cause: error });
  });
  return `data-${toHex(primitives.sha256(utf8(path))).slice(0, 16)}`;
}

/** A refusal, or nobody to ask: the coordinator has recorded nothing of this key. */
class NotAdmitted extends Error {
  override readonly cause: AntiphonError;

  constructor(cause: AntiphonError) {
    super(cause.message);
    this.cause = cause;
  }
}

/** One session: enrol, take the study, leave. */
function askAdmission(invite: ReturnType<typeof decodeInvite>, { identity, request }: { readonly identity: Awaited<ReturnType<typeof prepareKey>>; readonly request: SiteMessage }): Promise<string> {
  return new Promise((resolve, reject) => {
    let lastReason = 'no answer';
    let asked = false;
    /** A session was lost after it was asked: the answer may have been a yes. */
    let uncertain = false;
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      connection.close();
      settle();
    };
    const timer = setTimeout(() => {
      finish(() => {
        const silent = new AntiphonError('network-unreachable', `no coordinator answered at ${invite.url} within ${ENROL_TIMEOUT_MS / 1000} s (${lastReason}); check that it runs and that outbound connections to it are allowed`);
        reject(asked ? silent : new NotAdmitted(silent));
      });
    }, ENROL_TIMEOUT_MS);
    const connection = connect({
      url: invite.url,
      primitives,
      identity,
      study: fromHex(invite.study, 32),
      coordinatorKey: fromHex(invite.coordinatorKey, 32),
      listener: (event) => {
        if (event.type === 'open') {
          asked = true;
          connection.send(request);
        }
        if (event.type === 'closed') {
          lastReason = event.reason;
          uncertain = asked;
        } else if (event.type === 'refused') {
          const error = failureToError(event.problem);
          finish(() => { reject(uncertain || event.problem.code === 'ended' ? error : new NotAdmitted(error)); });
        } else if (event.type === 'message' && event.message.type === 'enrolled') {
          const { study } = event.message;
          finish(() => { resolve(study); });
        }
      },
    });
  });
}
