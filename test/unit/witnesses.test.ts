import { expect, it } from 'vitest';
import { createWitnesses, type Witnesses } from '../../coordinator/witnesses.ts';
import { concatBytes, utf8 } from '../../shared/bytes.ts';
import type { Identity } from '../../shared/crypto/keys.ts';
import { cosign, verifiedCosignature, witnessKey } from '../../shared/ledger/cosignature.ts';
import { readLine } from '../../shared/ledger/line.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { formatSignature, parseNote } from '../../shared/ledger/signed-note.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { expected } from '../support/heads.ts';
import { STUDY, type LedgerBuilder } from '../support/ledger-builder.ts';
import { begunLedger } from '../support/ledger-study.ts';

const TIME = 1_772_600_767;

function witnessesOf(builder: LedgerBuilder): Witnesses {
  return createWitnesses({ primitives, ledger: { state: () => builder.state, lines: () => builder.lines } });
}

/** A site's word on the head in line `size` of a ledger, signed under its name. */
function wordOn(builder: LedgerBuilder, size: number, { site = 'a', signer }: { readonly site?: string; readonly signer?: Identity } = {}): { size: number; cosignature: string } {
  const line = readLine(builder.lines[size] ?? '');
  if (isLedgerProblem(line) || line.body.type !== 'head') throw new Error(`line ${size} is no head`);
  const identity = signer ?? builder.sites.get(site)!;
  const key = witnessKey({ primitives, study: STUDY, site, publicKey: identity.publicKey });
  return { size, cosignature: formatSignature(cosign({ primitives, identity, key, text: expected(parseNote(line.body.note)).text, time: TIME })) };
}

/** Two heads: in lines 1 and 5. */
const builder = begunLedger();
const [FIRST, LAST] = [1, 5];

it('a site’s cosignature of a head is kept with the coordinator’s own, and verifies', () => {
  const witnesses = witnessesOf(builder);
  expect(witnesses.receive('a', wordOn(builder, LAST))).toBeUndefined();
  expect(witnesses.receive('b', wordOn(builder, FIRST, { site: 'b' }))).toBeUndefined();
  const kept = witnesses.lines().map((line) => JSON.parse(line) as { note: string; site: string; size: number });
  expect(kept.map(({ site, size }) => [site, size])).toEqual([['a', LAST], ['b', FIRST]]);
  const note = expected(parseNote(kept[0]!.note));
  expect(note.signatures).toHaveLength(2);
  expect(verifiedCosignature(primitives, note, witnessKey({ primitives, study: STUDY, site: 'a', publicKey: builder.sites.get('a')!.publicKey }))).toBe(TIME);
});

it('a later head replaces an earlier one, never the other way round', () => {
  const witnesses = witnessesOf(builder);
  const sizes = (): number[] => witnesses.lines().map((line) => (JSON.parse(line) as { size: number }).size);
  expect(witnesses.receive('a', wordOn(builder, FIRST))).toBeUndefined();
  expect(sizes()).toEqual([FIRST]);
  expect(witnesses.receive('a', wordOn(builder, LAST))).toBeUndefined();
  expect(witnesses.receive('a', wordOn(builder, FIRST))).toBeUndefined();
  expect(sizes()).toEqual([LAST]);
});

it('what is no cosignature by that site of a head of this ledger is refused by name and not kept', () => {
  const witnesses = witnessesOf(builder);
  const code = (site: string, word: { size: number; cosignature: string }): string | undefined => witnesses.receive(site, word)?.code;
  const other = begunLedger();
  expect(code('a', { ...wordOn(builder, LAST), size: LAST - 1 })).toBe('ledger-invalid');
  expect(code('a', { ...wordOn(builder, LAST), size: 99 })).toBe('ledger-invalid');
  expect(code('z', wordOn(builder, LAST))).toBe('ledger-invalid');
  expect(code('a', { size: LAST, cosignature: 'hello' })).toBe('malformed');
  expect(code('a', { ...wordOn(builder, LAST), size: FIRST })).toBe('bad-signature');
  expect(code('b', wordOn(builder, LAST))).toBe('bad-signature');
  expect(code('a', wordOn(builder, LAST, { signer: builder.sites.get('b')! }))).toBe('bad-signature');
  expect(code('a', wordOn(other, LAST, { signer: builder.sites.get('a')! }))).toBe('bad-signature');
  expect(witnesses.lines()).toEqual([]);
});

it('a time that no date has is none: a site cannot end every audit by it', () => {
  const line = readLine(builder.lines[LAST] ?? '');
  if (isLedgerProblem(line) || line.body.type !== 'head') throw new Error('no head');
  const { text } = expected(parseNote(line.body.note));
  const identity = builder.sites.get('a')!;
  const key = witnessKey({ primitives, study: STUDY, site: 'a', publicKey: identity.publicKey });
  /** As the standard has it, of any time. */
  const at = (time: number): { size: number; cosignature: string } => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(time), false);
    return { size: LAST, cosignature: formatSignature({ name: key.name, keyId: key.id, signature: concatBytes(bytes, primitives.sign(utf8(`cosignature/v1\ntime ${time}\n${text}`), identity.secretKey)) }) };
  };
  const witnesses = witnessesOf(builder);
  for (const time of [0, 8.64e12 + 1, 9e15]) expect(witnesses.receive('a', at(time))?.code).toBe('bad-signature');
  expect(() => cosign({ primitives, identity, key, text, time: 8.64e12 + 1 })).toThrow(/whole seconds/);
  expect(witnesses.receive('a', at(8.64e12))).toBeUndefined();
  expect(new Date(8.64e15).toISOString()).toBe('+275760-09-13T00:00:00.000Z');
});
