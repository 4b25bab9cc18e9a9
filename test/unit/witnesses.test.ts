import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openWitnessFile } from '../../coordinator/store/witness-file.ts';
import { createWitnesses, restoreWitnesses, type Witnesses } from '../../coordinator/witnesses.ts';
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
import { temporaryFolder } from '../support/processes.ts';

const TIME = 1_772_600_767;

type Ledger = Pick<LedgerBuilder, 'state' | 'lines'>;

function witnessesOf(builder: Ledger): Witnesses {
  return createWitnesses({ primitives, ledger: { state: () => builder.state, lines: () => builder.lines } });
}

/** A site's word on the head in line `size` of a ledger, signed under its name. */
function wordOn(builder: LedgerBuilder, size: number, { site = 'a', signer, time = TIME }: { readonly site?: string; readonly signer?: Identity; readonly time?: number } = {}): { size: number; cosignature: string } {
  const line = readLine(builder.lines[size] ?? '');
  if (isLedgerProblem(line) || line.body.type !== 'head') throw new Error(`line ${size} is no head`);
  const identity = signer ?? builder.sites.get(site)!;
  const key = witnessKey({ primitives, study: STUDY, site, publicKey: identity.publicKey });
  return { size, cosignature: formatSignature(cosign({ primitives, identity, key, text: expected(parseNote(line.body.note)).text, time })) };
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

it('who has not cosigned the newest head is behind, until it has', () => {
  const witnesses = witnessesOf(builder);
  expect(builder.lines.length - 1).toBe(LAST);
  expect(witnesses.behind(['a', 'b', 'z'])).toEqual(['a', 'b', 'z']);
  witnesses.receive('a', wordOn(builder, LAST));
  witnesses.receive('b', wordOn(builder, FIRST, { site: 'b' }));
  expect(witnesses.behind(['a', 'b', 'z'])).toEqual(['b', 'z']);
  witnesses.receive('b', wordOn(builder, LAST, { site: 'b' }));
  expect(witnesses.behind(['a', 'b'])).toEqual([]);
  // A line more, and nobody has seen its head.
  const longer = witnessesOf({ state: builder.state, lines: [...builder.lines, '{}'] });
  longer.receive('a', wordOn(builder, LAST));
  expect(longer.behind(['a'])).toEqual(['a']);
});

it('each that is kept is told of, none that is refused, and nobody who has stopped listening', () => {
  const witnesses = witnessesOf(builder);
  let told = 0;
  const stop = witnesses.subscribe(() => (told += 1));
  witnesses.receive('a', wordOn(builder, LAST));
  expect(told).toBe(1);
  witnesses.receive('b', wordOn(builder, LAST));
  expect(told).toBe(1);
  stop();
  witnesses.receive('b', wordOn(builder, LAST, { site: 'b' }));
  expect(told).toBe(1);
});

it('the last word on a head counts: cosigned again, it is the newer time that is kept', () => {
  const witnesses = witnessesOf(builder);
  witnesses.receive('a', wordOn(builder, LAST));
  const [first] = witnesses.lines();
  witnesses.receive('a', wordOn(builder, LAST, { time: TIME + 60 }));
  expect(witnesses.lines()).toHaveLength(1);
  expect(witnesses.lines()[0]).not.toBe(first);
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

describe('cosignatures that an earlier start has kept', () => {
  const kept = (() => {
    const witnesses = witnessesOf(builder);
    witnesses.receive('a', wordOn(builder, LAST));
    witnesses.receive('b', wordOn(builder, FIRST, { site: 'b' }));
    return witnesses.lines();
  })();
  const restored = (ledger: Ledger, lines: readonly string[]): readonly string[] => {
    const witnesses = witnessesOf(ledger);
    restoreWitnesses(witnesses, { path: 'run/witnesses.jsonl', lines });
    return witnesses.lines();
  };

  it('are there again, byte for byte, and a later one replaces its own site’s alone', () => {
    expect(restored(builder, kept)).toEqual(kept);
    const witnesses = witnessesOf(builder);
    restoreWitnesses(witnesses, { path: 'run/witnesses.jsonl', lines: kept });
    expect(witnesses.receive('b', wordOn(builder, LAST, { site: 'b' }))).toBeUndefined();
    expect(witnesses.lines()).toHaveLength(2);
    expect(witnesses.lines()[0]).toBe(kept[0]);
  });

  it.each([
    ['another ledger of the same study', begunLedger(), kept, /line 1: "a" cosigned a ledger of 5 lines, which is not this one \(the cosignature of "a" does not verify\)/],
    ['a ledger that was cut', { lines: builder.lines.slice(0, LAST), state: builder.state }, kept, /line 1: "a" cosigned a ledger of 5 lines.*put the newest intact copy of both back/],
    ['this ledger, but under another size', builder, [kept[1]!, kept[0]!.replace(`"size":${LAST}`, `"size":${FIRST}`)], /line 2: "a" cosigned/],
    ['what no site writes', builder, [...kept, '{"hello":1}'], /line 3: expected a site's cosignature of a head, found something else/],
  ])('that are of %s end the start with ledger-tampered', (_title, ledger, lines, message) => {
    expect(() => restored(ledger, lines)).toThrow(message);
    expect(() => restored(ledger, lines)).toThrow(expect.objectContaining({ code: 'ledger-tampered' }) as Error);
  });

  it('come to the file together, a moment after the first of them, and not again where nothing is new', async () => {
    const path = join(temporaryFolder(), 'witnesses.jsonl');
    writeFileSync(path, `${kept[1]!}\n`);
    let due: (() => void) | undefined;
    const timers: number[] = [];
    let lines: readonly string[] = [];
    const setTimer = (callback: () => void, ms: number) => {
      timers.push(ms);
      due = callback;
      return () => { due = undefined; };
    };
    const file = await openWitnessFile({ path, lines: () => lines, setTimer, failed: (error) => { throw error; } });
    expect(file.kept).toEqual([kept[1]]);
    lines = [kept[1]!];
    file.changed();
    lines = kept;
    file.changed();
    expect(timers).toHaveLength(1);
    due?.();
    await file.close();
    expect(readFileSync(path, 'utf8')).toBe(kept.map((line) => `${line}\n`).join(''));
    const { ino } = statSync(path);
    file.changed();
    expect(timers).toHaveLength(2);
    await file.close();
    expect(statSync(path).ino).toBe(ino);
  });
});
