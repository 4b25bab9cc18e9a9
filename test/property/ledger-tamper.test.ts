import fc from 'fast-check';
import { expect, it } from 'vitest';
import { verifyLedger } from '../../shared/ledger/verify.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { LedgerBuilder } from '../support/ledger-builder.ts';

const { lines } = LedgerBuilder.example();
const found = (changed: readonly string[]): boolean => verifyLedger({ lines: changed, primitives }).problem !== undefined;

it('the untouched ledger verifies and is closed', () => {
  const audit = verifyLedger({ lines, primitives });
  expect(audit.problem).toBeUndefined();
  expect(audit.state.ended).toBeDefined();
  expect(audit.rounds.map(({ outcome }) => outcome)).toEqual(['committed', 'aborted']);
});

it('every single-bit flip, at every position, is found', () => {
  const bytes = Buffer.from(lines.join('\n'));
  let flips = 0;
  // Every byte, one bit each (all eight over the positions modulo 8), so that the test stays short; the property below takes any bit.
  for (let i = 0; i < bytes.length; i += 1) {
    bytes[i]! ^= 1 << i % 8;
    expect(found(bytes.toString('latin1').split('\n')), `byte ${i}, bit ${i % 8}`).toBe(true);
    bytes[i]! ^= 1 << i % 8;
    flips += 1;
  }
  expect(flips).toBeGreaterThan(5000);
});

it('any bit, any deletion, duplication or swap of lines is found (property)', () => {
  const line = fc.integer({ min: 0, max: lines.length - 1 });
  fc.assert(
    fc.property(line, fc.nat(), fc.integer({ min: 0, max: 7 }), (i, at, bit) => {
      const bytes = Buffer.from(lines[i]!);
      bytes[at % bytes.length]! ^= 1 << bit;
      return found([...lines.slice(0, i), bytes.toString('latin1'), ...lines.slice(i + 1)]);
    }),
    { numRuns: 150 },
  );
  for (let i = 0; i < lines.length - 1; i += 1) {
    expect(found([...lines.slice(0, i), ...lines.slice(i + 1)]), `without line ${i}`).toBe(true);
    expect(found([...lines.slice(0, i), lines[i + 1]!, lines[i]!, ...lines.slice(i + 2)]), `lines ${i} and ${i + 1} swapped`).toBe(true);
    expect(found([...lines.slice(0, i), lines[i]!, ...lines.slice(i)]), `line ${i} twice`).toBe(true);
  }
});

it('a ledger cut behind a signed head is valid as far as it goes, and not closed; cut anywhere else it is found', () => {
  const heads = lines.flatMap((line, i) => (line.includes('"type":"head"') ? [i] : []));
  expect(heads.length).toBeGreaterThan(5);
  for (let count = 1; count < lines.length; count += 1) {
    const audit = verifyLedger({ lines: lines.slice(0, count), primitives });
    expect(audit.problem?.code, `${count} lines`).toBe(heads.includes(count - 1) ? undefined : 'unsigned');
    // The END stands before the last head: without it nobody has signed that the study is over.
    expect(audit.state.ended).toBeUndefined();
    expect(audit.state.length).toBe((heads.findLast((head) => head < count) ?? -1) + 1);
  }
});
