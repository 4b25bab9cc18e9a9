import { describe, expect, it } from 'vitest';
import { createShortageWatch, roundsThatFit } from '../../coordinator/budget.ts';
import { decideEnrolment, type IssuedInvite } from '../../coordinator/enrolment.ts';
import { planEntry } from '../../coordinator/plan.ts';
import { fromHex, toHex } from '../../shared/bytes.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import type { EnrolEntry } from '../../shared/ledger/entry.ts';
import { emptyLedger, type LedgerState } from '../../shared/ledger/fold.ts';
import { statedSpending } from '../../shared/ledger/spending.ts';
import { signEnrolment } from '../../shared/ledger/statements.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { isFailure } from '../../shared/protocol/failure.ts';
import type { SiteMessage } from '../../shared/protocol/messages.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import { roundBounds } from '../../shared/study/adaptive.ts';
import { modalityOfRound } from '../../shared/study/schedule.ts';
import { LedgerBuilder, STUDY } from '../support/ledger-builder.ts';
import { ledgerStudy } from '../support/ledger-study.ts';

type Request = Extract<SiteMessage, { type: 'enrol' }>;

const EXPIRY = Date.parse('2026-03-04T05:06:07.000Z');
const identity = generateIdentity(primitives);
const secret = primitives.randomBytes(32);
const id = toHex(primitives.sha256(secret));
const invites: readonly IssuedInvite[] = [{ id: '77'.repeat(32), site: 'b', expiresAt: EXPIRY + 5 }, { id, site: 'a', expiresAt: EXPIRY }];
const planned = new LedgerBuilder();
planned.add(planned.plan());

/** What a site signs and sends; `signed` changes both alike, `sent` the message alone. */
function requestOf({ signed = {}, sent = {}, signer = identity }: { readonly signed?: Partial<EnrolEntry>; readonly sent?: Partial<Request>; readonly signer?: typeof identity } = {}): Request {
  const statement = signEnrolment(primitives, signer, { type: 'enrol', study: STUDY, site: 'a', modality: 'image', key: toHex(identity.publicKey), invite: id, disjointFrom: ['b'], ...signed });
  const { site, modality, disjointFrom, signature } = statement;
  return { type: 'enrol', inviteSecret: new Uint8Array(secret), site, modality, disjointFrom, mayOverlap: false, signature: fromHex(signature, 64), ...sent };
}

function decide(request: Request, change: { readonly ledger?: LedgerState; readonly now?: number; readonly invites?: readonly IssuedInvite[] } = {}): EnrolEntry | string {
  const decided = decideEnrolment({ request, siteKey: identity.publicKey, ledger: planned.state, invites, now: EXPIRY, primitives, ...change });
  return isFailure(decided) ? decided.code : decided;
}

describe('an enrolment', () => {
  it('that all is right with becomes the entry that the site signed, and the ledger takes it', () => {
    const entry = decide(requestOf());
    expect(entry).toMatchObject({ type: 'enrol', study: STUDY, site: 'a', modality: 'image', key: toHex(identity.publicKey), invite: id, disjointFrom: ['b'] });
    if (typeof entry === 'string') throw new Error(entry);
    const ledger = new LedgerBuilder();
    ledger.add(ledger.plan(), entry);
    expect(ledger.state.sites.get('a')).toEqual(entry);
  });

  it('with a secret that was never issued, or before there is a plan, is unknown', () => {
    expect(decide(requestOf({ sent: { inviteSecret: new Uint8Array(primitives.randomBytes(32)) } }))).toBe('invite-unknown');
    expect(decide(requestOf(), { invites: invites.slice(0, 1) })).toBe('invite-unknown');
    expect(decide(requestOf(), { ledger: emptyLedger() })).toBe('invite-unknown');
  });

  it('comes too late one millisecond after its invite expired', () => {
    expect(decide(requestOf(), { now: EXPIRY + 1 })).toBe('invite-expired');
    expect(decide(requestOf(), { now: EXPIRY - 1 })).not.toBe('invite-expired');
  });

  it('is for the site and the modality of its invite alone', () => {
    expect(decide(requestOf({ signed: { site: 'b' } }))).toBe('wrong-site');
    // Whatever else would be right with another site's request.
    expect(decide(requestOf({ signed: { site: 'b', disjointFrom: ['*'] } }))).toBe('wrong-site');
    expect(decide(requestOf({ signed: { site: 'b', disjointFrom: ['*'] } }), { invites: [{ id, site: 'b', expiresAt: EXPIRY }] })).toMatchObject({ site: 'b' });
    expect(decide(requestOf({ signed: { modality: 'table', disjointFrom: ['*'] } }))).toBe('wrong-site');
    expect(decide(requestOf({ signed: { modality: 'table' } }))).toBe('wrong-site');
    expect(decide(requestOf({ signed: { site: 'c', modality: 'table' } }))).toBe('wrong-site');
    expect(decide(requestOf({ signed: { site: 'd' } }), { invites: [{ id, site: 'd', expiresAt: EXPIRY }] })).toBe('wrong-site');
  });

  it('uses its invite up, whatever key comes with it', () => {
    const ledger = new LedgerBuilder();
    ledger.add(ledger.plan(), requestEntry());
    expect(decide(requestOf(), { ledger: ledger.state })).toBe('invite-used');
    expect(decide(requestOf({ signed: { site: 'b' } }), { ledger: ledger.state })).toBe('invite-used');
  });

  it('does not replace another key of the same site', () => {
    const ledger = new LedgerBuilder();
    ledger.add(ledger.plan(), ledger.enrolment('a', 'image'));
    expect(decide(requestOf(), { ledger: ledger.state })).toBe('already-enrolled');
    // Nor its own, under a second invite.
    const own = new LedgerBuilder();
    own.add(own.plan(), { ...requestEntry() });
    const another = new Uint8Array(primitives.randomBytes(32));
    const issued = { id: toHex(primitives.sha256(another)), site: 'a', expiresAt: EXPIRY };
    const again = decideEnrolment({ request: requestOf({ signed: { invite: issued.id }, sent: { inviteSecret: another } }), siteKey: identity.publicKey, ledger: own.state, invites: [...invites, issued], now: EXPIRY, primitives });
    expect(again).toMatchObject({ code: 'already-enrolled', message: expect.stringContaining('signed another statement') as string });
  });

  it('says whether its patients are elsewhere, where the plan counts on it: disjoint, or on purpose not', () => {
    expect(decide(requestOf({ signed: { disjointFrom: [] } }))).toBe('statement-missing');
    expect(decide(requestOf({ signed: { disjointFrom: [] }, sent: { mayOverlap: true } }))).toMatchObject({ disjointFrom: [] });
    const table = [{ id, site: 'c', expiresAt: EXPIRY }];
    expect(decide(requestOf({ signed: { site: 'c', modality: 'table', disjointFrom: [] } }), { invites: table })).toMatchObject({ site: 'c', disjointFrom: [] });
  });

  it('names as disjoint only other sites of its modality, and keeps its invite where it does not', () => {
    for (const [names, said] of [[['bb'], /names "bb", which is no other site of image in this study; did you mean "b"\?.*the invite is still good/], [['b', 'c'], /names "c", which is no other site of image/], [['a'], /names "a"/]] as const) {
      const refused = decideEnrolment({ request: requestOf({ signed: { disjointFrom: [...names] } }), siteKey: identity.publicKey, ledger: planned.state, invites, now: EXPIRY, primitives });
      expect(refused).toMatchObject({ type: 'failure', code: 'wrong-site', message: expect.stringMatching(said) as string });
    }
    expect(decide(requestOf({ signed: { disjointFrom: ['*'] } }))).toMatchObject({ disjointFrom: ['*'] });
  });

  it.each([
    ['by another key than the session’s', requestOf({ signer: generateIdentity(primitives) })],
    ['for another study', requestOf({ signed: { study: '00'.repeat(32) } })],
    ['with another key in it', requestOf({ signed: { key: toHex(generateIdentity(primitives).publicKey) } })],
    ['with another invite in it', requestOf({ signed: { invite: '77'.repeat(32) } })],
    ['for fewer disjoint sites than are sent', requestOf({ sent: { disjointFrom: ['*'] } })],
    ['not at all', requestOf({ sent: { signature: new Uint8Array(64).fill(3) } })],
  ])('signed %s is refused', (_title, request) => {
    expect(decide(request)).toBe('bad-signature');
  });
});

function requestEntry(): EnrolEntry {
  const entry = decide(requestOf());
  if (typeof entry === 'string') throw new Error(entry);
  return entry;
}

describe('the rounds that fit', () => {
  const study = ledgerStudy('epsilon: 3, noiseMultiplier: 1.7', 'epsilon: 3');
  const plan = planEntry({ study, resolved: resolveStudy(study), studyHash: STUDY, coordinatorKey: identity.publicKey });
  const bounds = roundBounds(study);
  const enrolled = (disjointFrom: readonly string[]): Pick<LedgerState, 'plan' | 'sites'> => ({
    plan,
    sites: new Map(plan.sites.map(({ name, modality }) => [name, { type: 'enrol', study: STUDY, site: name, modality, key: name, invite: name, disjointFrom: modality === 'image' ? [...disjointFrom] : [], signature: '' }])),
  });

  it('are all of them where every site says what the study counts on, fewer where one does not, and that is told once', () => {
    expect(plan.modalities['image']?.sitesDisjoint).toBe(true);
    expect(roundsThatFit(enrolled(['*']), bounds)).toBe(plan.rounds);
    const short = enrolled([]);
    const rounds = roundsThatFit(short, bounds);
    expect(rounds).toBeGreaterThan(0);
    expect(rounds).toBeLessThan(plan.rounds);
    // What the coordinator would decide, round by round.
    const epsilonOf = (count: number): number => {
      const order = Array.from({ length: count }, (_, i) => modalityOfRound(plan.order, i + 1));
      const charged = new Map(plan.sites.map(({ name, modality }) => [name, order.filter((one) => one === modality).length * plan.modalities[modality]!.mechanism.steps]));
      return Number(statedSpending(short, charged).pld);
    };
    expect(epsilonOf(rounds)).toBeLessThanOrEqual(Number(plan.budget.epsilon));
    expect(epsilonOf(rounds + 1)).toBeGreaterThan(Number(plan.budget.epsilon));
    const watch = createShortageWatch(bounds);
    expect(watch(enrolled(['*']))).toBeUndefined();
    expect(watch(short)).toMatch(new RegExp(`^only ${rounds} of the ${plan.rounds} rounds fit the budget of .*will end before round ${rounds + 1}$`));
    expect(watch(short)).toBeUndefined();
  });
});
