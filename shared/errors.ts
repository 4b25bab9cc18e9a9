/**
 * The one error type that reaches a user. Its code is stable (scripts branch on it), its message says what was
 * expected, what was found and what to do; the exit code of the process follows from the code alone.
 */
export const EXIT_CODES = {
  internal: 1,
  usage: 2,
  'study-invalid': 3,
  'data-invalid': 4,
  'enrolment-refused': 5,
  'invite-invalid': 5,
  'invite-expired': 5,
  'network-unreachable': 6,
  'port-in-use': 6,
  'budget-exhausted': 7,
  'ledger-tampered': 8,
  'backend-unavailable': 9,
  'backend-wrong': 9,
  'version-mismatch': 10,
  'study-failed': 11,
  'protocol-violation': 12,
  'storage-failed': 13,
  'training-failed': 14,
  'audit-budget-exceeded': 20,
  'audit-tampered': 21,
  'audit-forked': 22,
  'audit-unreadable': 23,
  'audit-claim-refuted': 24,
  interrupted: 130,
} as const;

export type ErrorCode = keyof typeof EXIT_CODES;

export class AntiphonError extends Error {
  override readonly name = 'AntiphonError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  get exitCode(): number {
    return EXIT_CODES[this.code];
  }
}

/** A broken invariant of our own code: never the user's fault, never caught and continued. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AntiphonError('internal', `broken invariant: ${message}`);
}

export function assertNever(value: never): never {
  throw new AntiphonError('internal', `unexpected case ${JSON.stringify(value)}`);
}
