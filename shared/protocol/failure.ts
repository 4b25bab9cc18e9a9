/**
 * Remote misbehaviour, as a value: codes are stable (shared/spec/protocol.md lists them), callers branch on them.
 */
export const FAILURE_CODES = [
  'malformed', // not a frame or message of this protocol, an extra or missing field, wrong sizes
  'version-mismatch',
  'wrong-study',
  'wrong-key', // the peer's key is not the one expected or admitted
  'bad-signature',
  'bad-seal', // AEAD tag: flipped bits, another round's, site's or direction's chunk
  'replayed', // a frame of this session seen before or out of sequence
  'wrong-round',
  'wrong-site',
  'wrong-length',
  'out-of-order', // a valid message that this state does not expect
  'too-large', // a declared or actual size above the limits
  'hash-mismatch', // the transfer's bytes are not the ones the receipt names
  'not-finite', // an update holding NaN or infinity
  'norm-too-large', // an update larger than clipping and noise can explain
  'invite-unknown',
  'invite-expired',
  'invite-used',
  'already-enrolled',
  'statement-missing', // an enrolment that says nothing on whether its patients are elsewhere, where the study counts on it
  'not-enrolled',
  'ledger-invalid', // a line that does not verify, or a budget that does not add up
  'limits-exceeded', // a site's own guard says no
  'site-failed', // the site cannot train (its own log says why; nothing about data is sent)
  'ended',
] as const;
export type FailureCode = (typeof FAILURE_CODES)[number];

export interface Failure {
  readonly type: 'failure';
  readonly code: FailureCode;
  readonly message: string;
}

export function failure(code: FailureCode, message: string): Failure {
  return { type: 'failure', code, message };
}

export function isFailure(value: unknown): value is Failure {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'failure' && 'code' in value && !('fatal' in value);
}
