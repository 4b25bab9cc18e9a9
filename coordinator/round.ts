import type { ReceiptEntry, Refusal } from '../shared/ledger/entry.ts';
import type { FailureCode } from '../shared/protocol/failure.ts';

/** One site's way through one round. Every arrow goes forward; what is settled stays settled. */
export type MemberState =
  | { readonly type: 'offered' }
  | { readonly type: 'training' }
  | { readonly type: 'uploading' }
  | { readonly type: 'delivered'; readonly receipt: ReceiptEntry; readonly update: Float32Array }
  /** Signed: nothing left the site, so its part of the reserve is refunded. */
  | { readonly type: 'refused'; readonly refusal: Refusal }
  /** It sent something that must not be combined; its part stays spent. */
  | { readonly type: 'rejected'; readonly code: FailureCode };

export interface RoundState {
  readonly round: number;
  /** Frozen when the round begins: who joins later waits for the next one. */
  readonly members: ReadonlyMap<string, MemberState>;
  /** Sites that must deliver for the round to commit. */
  readonly needed: number;
}

export type Verdict =
  | { readonly type: 'collecting' }
  | { readonly type: 'aggregate'; readonly delivered: readonly Extract<MemberState, { type: 'delivered' }>[] }
  | { readonly type: 'abort'; readonly reason: string };

export function beginRound(round: number, cohort: readonly string[], quorum: number): RoundState {
  return { round, members: new Map(cohort.map((site) => [site, { type: 'offered' }])), needed: Math.max(1, Math.ceil(quorum * cohort.length - 1e-9)) };
}

/** A settled member does not move again: late and repeated messages change nothing. */
export function moveMember(state: RoundState, site: string, next: MemberState): RoundState {
  const current = state.members.get(site);
  if (current === undefined || isSettled(current)) return state;
  return { ...state, members: new Map([...state.members, [site, next]]) };
}

export function isSettled(member: MemberState): boolean {
  return member.type === 'delivered' || member.type === 'refused' || member.type === 'rejected';
}

/** Quorum and deadline decide, not the slowest site. */
export function verdictOf(state: RoundState, deadlinePassed: boolean): Verdict {
  const members = [...state.members.values()];
  const delivered = members.filter((member) => member.type === 'delivered');
  const open = members.filter((member) => !isSettled(member)).length;
  if (open === 0 || deadlinePassed) {
    if (delivered.length >= state.needed) return { type: 'aggregate', delivered };
    const waited = deadlinePassed && open > 0 ? `; ${open} had not answered by the deadline` : '';
    return { type: 'abort', reason: `${delivered.length} of ${members.length} sites delivered, ${state.needed} were needed${waited}` };
  }
  if (delivered.length + open < state.needed) {
    return { type: 'abort', reason: `only ${delivered.length + open} of ${members.length} sites can still deliver, ${state.needed} are needed` };
  }
  return { type: 'collecting' };
}
