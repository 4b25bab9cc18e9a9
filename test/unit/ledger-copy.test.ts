import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isBelievable, openLedgerCopy, type LedgerCopy } from '../../client/ledger-copy.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { LedgerBuilder } from '../support/ledger-builder.ts';
import { begunLedger } from '../support/ledger-study.ts';
import { temporaryFolder } from '../support/processes.ts';

async function copyOf({ lines }: LedgerBuilder, count = lines.length): Promise<{ copy: LedgerCopy; path: string }> {
  const path = join(temporaryFolder(), 'ledger.jsonl');
  const copy = await openLedgerCopy(path, primitives);
  expect(await copy.extend(0, lines.slice(0, count))).toBeUndefined();
  return { copy, path };
}

describe('a site’s copy of the ledger', () => {
  it('holds what it verified, on disk too, and takes lines that it has again without repeating them', async () => {
    const builder = begunLedger();
    const { copy, path } = await copyOf(builder, 3);
    expect(isBelievable(copy)).toBe(false);
    expect(await copy.extend(2, builder.lines.slice(2))).toBeUndefined();
    expect(await copy.extend(builder.lines.length - 1, builder.lines.slice(-1))).toBeUndefined();
    expect(isBelievable(copy)).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe(builder.lines.map((line) => `${line}\n`).join(''));
    const again = await openLedgerCopy(path, primitives);
    expect(again.state()).toEqual(builder.state);
    expect(again.lastLine()).toBe(builder.lines.at(-1));
  });

  it('believes nothing before there is a line', async () => {
    expect(isBelievable(await openLedgerCopy(join(temporaryFolder(), 'ledger.jsonl'), primitives))).toBe(false);
  });

  it('notices a line that is another one now, one that is missing, a gap, and a head over other lines than its own', async () => {
    const builder = begunLedger();
    const other = begunLedger();
    const { copy } = await copyOf(builder);
    const code = async (from: number, lines: readonly string[]): Promise<string | undefined> => (await copy.extend(from, lines))?.code;
    expect(await code(0, other.lines)).toBe('forked');
    expect(await code(4, other.lines.slice(4))).toBe('forked');
    expect(await code(0, builder.lines.slice(0, -1))).toBe('rolled-back');
    expect(await code(0, [])).toBe('rolled-back');
    expect(await code(builder.lines.length + 1, builder.lines.slice(-1))).toBe('wrong-index');
    // As a person counts lines, from one.
    const [known, last] = [builder.lines.length, builder.lines.slice(-1)];
    expect((await copy.extend(known + 1, last))?.message).toBe(`expected lines from line ${known + 1} on, found them from line ${known + 2} on`);
    expect((await copy.extend(known, last))?.message).toMatch(new RegExp(`^expected line ${known + 1} of the ledger, found the one that says it is line ${known} \\(index ${known - 1}\\)`));
    // The same coordinator, another history: the head that it signs now is not over what this site has.
    const fork = begunLedger();
    Object.assign(fork.coordinator, builder.coordinator);
    fork.lines.splice(0, fork.lines.length, ...builder.lines);
    fork.state = builder.state;
    builder.add({ type: 'disclosure', what: 'one', why: 'y' });
    fork.add({ type: 'disclosure', what: 'two', why: 'y' });
    expect(await code(6, [builder.lines[6]!, fork.lines[7]!])).toBe('forked');
  });

  it('drops a torn last line of its own file, and refuses a file that was changed', async () => {
    const builder = begunLedger();
    const { path } = await copyOf(builder);
    appendFileSync(path, builder.lines[0]!.slice(0, 40));
    const again = await openLedgerCopy(path, primitives);
    expect(again.state().length).toBe(builder.lines.length);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"patients":90', '"patients":91'));
    await expect(openLedgerCopy(path, primitives)).rejects.toMatchObject({ code: 'ledger-tampered' });
  });
});
