import didYouMean from 'didyoumean2';
import { toHex } from '../shared/bytes.ts';
import type { Primitives } from '../shared/crypto/primitives.ts';
import type { EnrolEntry } from '../shared/ledger/entry.ts';
import type { LedgerState } from '../shared/ledger/fold.ts';
import { EVERY_OTHER_SITE } from '../shared/ledger/spending.ts';
import { verifyEnrolment } from '../shared/ledger/statements.ts';
import { failure, type Failure } from '../shared/protocol/failure.ts';
import type { SiteMessage } from '../shared/protocol/messages.ts';

/** What the coordinator remembers of an invite: never the secret, only its SHA-256. Used up when that hash stands in an ENROL entry. */
export interface IssuedInvite {
  readonly id: string;
  readonly site: string;
  readonly expiresAt: number;
}

type EnrolRequest = Extract<SiteMessage, { type: 'enrol' }>;

/** The ENROL entry for a request, or the named reason against it. Pure: the ledger and the issued invites decide. */
export function decideEnrolment(input: {
  readonly request: EnrolRequest;
  readonly siteKey: Uint8Array;
  readonly ledger: LedgerState;
  readonly invites: readonly IssuedInvite[];
  readonly now: number;
  readonly primitives: Primitives;
}): EnrolEntry | Failure {
  const { request, siteKey, ledger, invites, now, primitives } = input;
  const { plan } = ledger;
  const id = toHex(primitives.sha256(request.inviteSecret));
  const invite = invites.find((issued) => issued.id === id);
  if (plan === undefined || invite === undefined) return failure('invite-unknown', 'this coordinator issued no such invite; ask the study lead for a new one');
  if ([...ledger.sites.values()].some((entry) => entry.invite === id)) return failure('invite-used', 'this invite has been used; an invite admits one key once: ask the study lead for a new one');
  if (now > invite.expiresAt) return failure('invite-expired', `this invite expired at ${new Date(invite.expiresAt).toISOString()}; ask the study lead for a new one`);
  const planned = plan.sites.find((site) => site.name === request.site);
  if (invite.site !== request.site || planned === undefined || planned.modality !== request.modality) {
    return failure('wrong-site', `the invite is for site "${invite.site}", found a request for "${request.site}" (${request.modality})`);
  }
  const enrolled = ledger.sites.get(request.site);
  if (enrolled !== undefined) {
    return failure('already-enrolled', enrolled.key === toHex(siteKey) ? `site "${request.site}" has signed another statement about its patients; what stands in the ledger stays: enrol with the same --patients-disjoint` : `site "${request.site}" is enrolled already with another key`);
  }
  if (plan.modalities[request.modality]?.sitesDisjoint === true && request.disjointFrom.length === 0 && !request.mayOverlap) {
    return failure('statement-missing', `this study counts on patients who are at one site of ${request.modality} only: enrol with --patients-disjoint if that is true of these data, else with --patients-may-overlap (its sites then add up, and the budget ends sooner); the invite is still good`);
  }
  const others = plan.sites.filter((site) => site.modality === request.modality && site.name !== request.site).map(({ name }) => name);
  const stranger = request.disjointFrom.find((name) => name !== EVERY_OTHER_SITE && !others.includes(name));
  if (stranger !== undefined) {
    const [nearest] = [didYouMean(stranger, others)].flat();
    const hint = typeof nearest === 'string' ? `did you mean "${nearest}"?` : others.length === 0 ? 'it has none.' : `they are: ${others.slice(0, 5).join(', ')}${others.length > 5 ? ` and ${others.length - 5} more` : ''}.`;
    return failure('wrong-site', `--patients-disjoint names "${stranger.slice(0, 100)}", which is no other site of ${request.modality} in this study; ${hint} Without names it speaks of all of them; the invite is still good`);
  }
  const entry: EnrolEntry = {
    type: 'enrol',
    study: plan.study,
    site: request.site,
    modality: request.modality,
    key: toHex(siteKey),
    invite: id,
    disjointFrom: request.disjointFrom,
    signature: toHex(request.signature),
  };
  if (!verifyEnrolment(primitives, entry, entry.key)) return failure('bad-signature', 'the enrolment is not signed by the key of this session');
  return entry;
}
