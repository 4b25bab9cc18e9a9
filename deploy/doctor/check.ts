import type { ErrorCode } from '../../shared/errors.ts';

/** One line of the doctor's report. A `problem` stops something needed from working; a `note` does not. */
export type Check =
  | { readonly type: 'good'; readonly name: string; readonly found: string }
  | { readonly type: 'note'; readonly name: string; readonly found: string; readonly todo: string }
  | { readonly type: 'problem'; readonly name: string; readonly found: string; readonly todo: string; readonly code: ErrorCode };
