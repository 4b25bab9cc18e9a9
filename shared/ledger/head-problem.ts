/** Why a head, its note or a key's name is refused. Codes are stable; shared/spec/heads.md lists them. */
export const HEAD_PROBLEMS = ['malformed-note', 'malformed-key', 'malformed-checkpoint', 'wrong-origin', 'unsigned', 'bad-signature'] as const;
export type HeadProblemCode = (typeof HEAD_PROBLEMS)[number];

export interface HeadProblem {
  readonly type: 'head-problem';
  readonly code: HeadProblemCode;
  readonly message: string;
}

export function headProblem(code: HeadProblemCode, message: string): HeadProblem {
  return { type: 'head-problem', code, message };
}

export function isHeadProblem(value: unknown): value is HeadProblem {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'head-problem';
}
