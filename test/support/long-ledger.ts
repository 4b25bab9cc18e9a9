import { closeSync, openSync, writeSync } from 'node:fs';
import { toHex, utf8 } from '../../shared/bytes.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { originOf, signCheckpoint } from '../../shared/ledger/checkpoint.ts';
import type { EntryBody, LedgerMechanism } from '../../shared/ledger/entry.ts';
import { formatLine } from '../../shared/ledger/line.ts';
import { EMPTY_FRONTIER, extendFrontier, leafHash, rootOf } from '../../shared/ledger/merkle.ts';
import { signEnrolment, signReceipt } from '../../shared/ledger/statements.ts';
import { isPldCheck } from '../../shared/ledger/verify.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { epsilonOf, rdpEpsilon, roundedUp } from '../../shared/privacy/accountant.ts';

const STUDY = 'ab'.repeat(32);
const MECHANISM: LedgerMechanism = { protection: 'local-noise', samplingRate: '0.01', noiseMultiplier: '2.1', clipNorm: '1.5', steps: 2 };
const RECEIPTS = 4;
const ORDER = 3.5;
const DELTA = 1e-5;

/**
 * A real ledger of about so many entries, half of them signed receipts: rounds of RESERVE, head, four receipts, COMMIT, head, one modality, four sites that signed that they are disjoint. Written
 * without folding it, so that making a long one takes seconds. PLD is stated anew only where a reader of long ledgers recomputes it, and held in between.
 * In `forgedRound` the coordinator has made up the second site's receipt, and signed everything after it as usual.
 */
export function writeLongLedger(path: string, entries: number, forgedRound?: number): { readonly entries: number; readonly receipts: number } {
  const coordinator = generateIdentity(primitives);
  const sites = Array.from({ length: RECEIPTS }, (_, i) => ({ name: `site-${i + 1}`, identity: generateIdentity(primitives) }));
  const rounds = Math.max(1, Math.floor((entries - 2 - RECEIPTS) / (RECEIPTS + 4)));
  const file = openSync(path, 'w');
  let [tree, pending, hash] = [EMPTY_FRONTIER, '', ''];
  const push = (body: EntryBody): void => {
    const text = formatLine({ index: tree.size, time: '2026-01-02T03:04:05.678Z', body });
    const leaf = leafHash(primitives, utf8(text));
    tree = extendFrontier(primitives, tree, leaf);
    hash = toHex(leaf);
    pending += `${text}\n`;
    if (pending.length > 1 << 20) flush();
  };
  const flush = (): void => {
    writeSync(file, pending);
    pending = '';
  };
  const head = (): void => {
    push({ type: 'head', note: signCheckpoint({ primitives, identity: coordinator, checkpoint: { origin: originOf(STUDY), size: tree.size, root: rootOf(primitives, tree) } }) });
  };

  push({
    type: 'plan',
    study: STUDY,
    studyName: 'long',
    coordinatorKey: toHex(coordinator.publicKey),
    privacyUnit: 'patient',
    neighbouringRelation: 'add-or-remove-one',
    trustModel: 'local',
    budget: { delta: String(DELTA), epsilon: '1000' },
    accountant: { binding: 'pld', pld: 'antiphon-pld-1', rdpOrder: String(ORDER) },
    modalities: { image: { mechanism: MECHANISM, rounds, sitesDisjoint: true } },
    sites: sites.map(({ name }) => ({ name, modality: 'image', patients: 100 })),
    order: ['image'],
    rounds,
  });
  for (const { name, identity } of sites) {
    push(signEnrolment(primitives, identity, { type: 'enrol', study: STUDY, site: name, modality: 'image', key: toHex(identity.publicKey), invite: toHex(primitives.sha256(identity.publicKey)), disjointFrom: ['*'] }));
  }
  head();
  let spent = { delta: String(DELTA), pld: '0', rdp: '0' };
  for (let round = 1; round <= rounds; round += 1) {
    const events = [{ type: 'poisson-gaussian' as const, samplingRate: Number(MECHANISM.samplingRate), noiseMultiplier: 2.1, steps: MECHANISM.steps * round }];
    const exact = isPldCheck(round, rounds) || round === rounds ? epsilonOf({ events, delta: DELTA, rdpOrder: ORDER }).pld : Number(spent.pld);
    const after = { delta: String(DELTA), pld: String(roundedUp(exact)), rdp: String(roundedUp(rdpEpsilon({ events, delta: DELTA, orders: [ORDER] }).epsilon)) };
    push({ type: 'reserve', round, modality: 'image', sites: sites.map(({ name }) => name), mechanism: MECHANISM, modelIn: 'cd'.repeat(32), epsilonBefore: spent, epsilonAfter: after });
    const reserve = hash;
    head();
    spent = after;
    for (const [i, { name, identity }] of sites.entries()) push(signReceipt(primitives, round === forgedRound && i === 1 ? coordinator : identity, { type: 'receipt', study: STUDY, site: name, round, reserve, mechanism: MECHANISM, update: 'ef'.repeat(32), software: 'test/1' }));
    push({ type: 'commit', round, reserve, sites: sites.map(({ name }) => name), refusals: [], modelOut: '01'.repeat(32), epsilonSpent: spent });
    head();
  }
  flush();
  closeSync(file);
  return { entries: tree.size, receipts: rounds * RECEIPTS };
}
