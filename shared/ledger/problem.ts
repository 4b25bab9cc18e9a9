/** Why a ledger does not verify. Codes are stable; shared/spec/ledger.md lists them. */
export const LEDGER_PROBLEMS = [
  'not-canonical',
  'not-an-entry',
  'wrong-index',
  'bad-head',
  'wrong-root',
  'unsigned',
  'forked',
  'rolled-back',
  'stale',
  'after-end',
  'no-plan',
  'second-plan',
  'bad-plan',
  'wrong-study',
  'unknown-site',
  'enrolled-twice',
  'invite-used-twice',
  'key-used-twice',
  'bad-site-signature',
  'round-open',
  'no-open-round',
  'wrong-round',
  'wrong-modality',
  'wrong-cohort',
  'wrong-mechanism',
  'wrong-reserve',
  'second-receipt',
  'missing-receipt',
  'wrong-refusal',
  'wrong-epsilon',
  'budget-exceeded',
] as const;
export type LedgerProblemCode = (typeof LEDGER_PROBLEMS)[number];

export interface LedgerProblem {
  readonly type: 'ledger-problem';
  readonly code: LedgerProblemCode;
  readonly message: string;
}

export function ledgerProblem(code: LedgerProblemCode, message: string): LedgerProblem {
  return { type: 'ledger-problem', code, message };
}

export function isLedgerProblem(value: unknown): value is LedgerProblem {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'ledger-problem';
}
