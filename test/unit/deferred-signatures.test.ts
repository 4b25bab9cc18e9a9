import { expect, it } from 'vitest';
import { deferSignatures } from '../../deploy/audit/deferred.ts';
import { createBatch, firstBadLine } from '../../deploy/audit/signature-batch.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';

const identity = generateIdentity(primitives);
const message = (line: number): Uint8Array => new TextEncoder().encode(`line ${line}${'.'.repeat(line % 700)}`);
const signed = (line: number): Uint8Array => primitives.sign(message(line), identity.secretKey);

it('a batch gives back what was put into it: the first bad line is found wherever it stands, and a batch can be used again', () => {
  const batch = createBatch();
  for (const bad of [0, 7, 299]) {
    for (let line = 0; line < 300; line += 1) batch.add(line + 1_000_000, message(line), signed(line === bad || line === 299 ? line + 1 : line), identity.publicKey);
    expect(batch.size()).toBe(300);
    expect(firstBadLine(primitives, batch.take())).toBe(bad + 1_000_000);
    expect(batch.size()).toBe(0);
  }
  batch.add(5, message(5), signed(5), identity.publicKey);
  expect(firstBadLine(primitives, batch.take())).toBeUndefined();
  expect(firstBadLine(primitives, batch.take())).toBeUndefined();
});

it('signatures of few lines are verified without another thread; the first bad line counts, and all are counted', async () => {
  const deferred = deferSignatures(primitives);
  for (const line of [3, 4, 5, 6]) {
    deferred.reading(line);
    expect(deferred.primitives.verify(message(line), signed(line < 5 ? line : 0), identity.publicKey)).toBe(true);
  }
  expect(await deferred.settled()).toEqual({ badLine: 5, count: 4 });
});

it('what cannot be a signature or a key is refused at once', async () => {
  const deferred = deferSignatures(primitives);
  expect(deferred.primitives.verify(message(1), signed(1).subarray(1), identity.publicKey)).toBe(false);
  expect(deferred.primitives.verify(message(1), signed(1), identity.publicKey.subarray(1))).toBe(false);
  expect(await deferred.settled()).toEqual({ badLine: undefined, count: 0 });
});
