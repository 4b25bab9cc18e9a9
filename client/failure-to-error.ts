import { AntiphonError, type ErrorCode } from '../shared/errors.ts';
import type { Failure, FailureCode } from '../shared/protocol/failure.ts';

const ERRORS: Partial<Record<FailureCode, ErrorCode>> = {
  'version-mismatch': 'version-mismatch',
  'invite-expired': 'invite-expired',
  'invite-unknown': 'enrolment-refused',
  'invite-used': 'enrolment-refused',
  'already-enrolled': 'enrolment-refused',
  'not-enrolled': 'enrolment-refused',
  'statement-missing': 'enrolment-refused',
  'wrong-key': 'enrolment-refused',
  'wrong-study': 'enrolment-refused',
  'wrong-site': 'enrolment-refused',
};

/** A refusal by the coordinator, or of it, as the error that ends this site. */
export function failureToError({ code, message }: Failure): AntiphonError {
  return new AntiphonError(ERRORS[code] ?? 'protocol-violation', message);
}
