import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { MAX_LINE_BYTES } from '../../shared/lengths.ts';
import { openLedgerFile } from '../../shared/platform/ledger-file.ts';
import { fileLines, splitLines, wholeLines, type Lines } from '../../shared/platform/lines.ts';
import { temporaryFolder } from '../support/processes.ts';

const FAULTS = { notLines: 'ledger-tampered', unreadable: 'storage-failed' } as const;

async function collect(lines: Lines): Promise<{ readonly lines: readonly string[]; readonly complete: boolean }> {
  const found: string[] = [];
  for (;;) {
    const next = await lines.next();
    if (next.done === true) return { lines: found, ...next.value };
    found.push(next.value);
  }
}

async function* inPieces(bytes: Uint8Array, cuts: readonly number[]): AsyncGenerator<Uint8Array> {
  let from = 0;
  for (const cut of [...cuts.map((share) => Math.floor(share * bytes.length)).sort((a, b) => a - b), bytes.length]) {
    yield bytes.subarray(from, cut);
    from = cut;
    await Promise.resolve();
  }
}

const text = fc.string({ unit: 'binary' }).map((line) => line.replaceAll('\n', '').replaceAll(/\p{Surrogate}/gu, '?'));

it('lines come as they were written, wherever the pieces are cut, with or without a last newline', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(text), fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }), fc.string({ minLength: 1 }).map((tail) => tail.replaceAll('\n', '-')), fc.boolean(), async (lines, cuts, tail, isTorn) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join('') + (isTorn ? tail : ''));
      expect(await collect(splitLines(inPieces(bytes, cuts), 'made up', FAULTS))).toEqual({ lines: isTorn ? [...lines, tail] : lines, complete: !isTorn });
      const whole: string[] = [];
      for await (const line of wholeLines(splitLines(inPieces(bytes, cuts), 'made up', FAULTS))) whole.push(line);
      expect(whole).toEqual(lines);
    }),
  );
});

it('a line torn inside a character is torn like any other; a byte that is none inside the file is a fault of the ledger', async () => {
  const bytes = Buffer.from('one\nzwölf €');
  const torn = await collect(splitLines(inPieces(bytes.subarray(0, -1), [0.4]), 'torn', FAULTS));
  expect(torn).toEqual({ lines: ['one', 'zwölf \ufffd'], complete: false });
  const flipped = Buffer.from('one\nzwölf\nthree\n');
  flipped[6] = 0xff;
  await expect(collect(splitLines(inPieces(flipped, []), 'flipped', FAULTS))).rejects.toMatchObject({ code: 'ledger-tampered', message: 'flipped is not UTF-8 text: some byte of it was changed' });
  await expect(collect(splitLines(inPieces(Buffer.alloc(MAX_LINE_BYTES + 1, 'x'), [0.5]), 'endless', FAULTS))).rejects.toMatchObject({ code: 'ledger-tampered' });
  await expect(collect(fileLines('/nowhere/ledger.jsonl', FAULTS))).rejects.toMatchObject({ code: 'storage-failed' });
});

it('a ledger file loses its torn line on opening, keeps its whole ones to the byte, and goes on behind them', async () => {
  const path = join(temporaryFolder(), 'ledger.jsonl');
  writeFileSync(path, Buffer.concat([Buffer.from('first €\nsecond\n'), Buffer.from('third €').subarray(0, -1)]));
  const opened = await openLedgerFile(path);
  expect(opened.lines).toEqual(['first €', 'second']);
  await opened.append(['fourth ä']);
  await opened.close();
  const again = await openLedgerFile(path);
  expect(again.lines).toEqual(['first €', 'second', 'fourth ä']);
  await again.cut(1);
  await again.append(['fifth']);
  await again.close();
  expect((await collect(fileLines(path, FAULTS)))).toEqual({ lines: ['first €', 'fifth'], complete: true });
});
