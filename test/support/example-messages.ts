import type { CoordinatorMessage, SiteMessage } from '../../shared/protocol/messages.ts';
import { countingBytes } from './session-pair.ts';

const hex = (pair: string, length = 32): string => pair.repeat(length);
const key = (first: number) => countingBytes(first);
const signature = () => countingBytes(3, 64);
const mechanism = { protection: 'local-noise' as const, samplingRate: '0.064', noiseMultiplier: '1.313', clipNorm: '0.7', steps: 30 };

/** One of each message that a site sends. */
export const SITE_MESSAGES: readonly SiteMessage[] = [
  { type: 'hello', version: 1, software: 'test/1', siteKey: key(9), nonce: key(5), signature: signature() },
  { type: 'enrol', inviteSecret: key(7), site: 'clinic-ä', modality: 'image', disjointFrom: ['clinic-ö'], mayOverlap: false, signature: signature() },
  { type: 'ready', site: 'clinic-ä', ledgerLength: 70_000 },
  { type: 'accept', round: 300, roundKey: key(11) },
  { type: 'cosign', size: 300, cosignature: '— antiphon/ab/clinic-ä AAAA' },
  { type: 'refuse', refusal: { study: hex('ab'), site: 'clinic-ä', round: 300, reserve: hex('cd'), reason: 'limits-exceeded', signature: hex('ef', 64) } },
  {
    type: 'update',
    roundKey: key(13),
    totalBytes: 4_000_000,
    receipt: { type: 'receipt', study: hex('ab'), site: 'clinic-ä', round: 300, reserve: hex('cd'), mechanism, update: hex('12'), software: 'test/1', signature: hex('ef', 64) },
  },
  { type: 'ack', round: 300, nextChunk: 65 },
  { type: 'failure', code: 'site-failed', message: 'the site could not train', fatal: false },
];

/** One of each message that the coordinator sends. */
export const COORDINATOR_MESSAGES: readonly CoordinatorMessage[] = [
  { type: 'challenge', version: 1, software: 'test/1', study: key(17), coordinatorKey: key(19), nonce: key(23) },
  { type: 'welcome', signature: signature() },
  { type: 'enrolled', study: '{"name":"prüfung"}' },
  { type: 'ledger', from: 3, lines: ['{"a":1}', '{"b":"€"}'] },
  { type: 'offer', round: 300, reserve: key(29), roundKey: key(31), totalBytes: 4_000_000, deadlineMs: 600_000 },
  { type: 'ack', round: 300, nextChunk: 65 },
  { type: 'resume', round: 300, nextChunk: 64 },
  { type: 'stored', round: 300 },
  { type: 'round-ended', round: 300, outcome: 'aborted' },
  { type: 'study-ended', reason: 'budget-exhausted' },
  { type: 'failure', code: 'wrong-round', message: 'expected round 301', fatal: false },
];
