import { createServer } from 'node:net';
import { writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { connect, longestRetryMs } from '../../client/connection.ts';
import { endOf, openLedgerCopy } from '../../client/ledger-copy.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { freshDisk, NOW, startBench } from '../support/site-bench.ts';
import { createLead } from '../support/site-lead.ts';

it('the wait between attempts doubles up to its most, jitter included', () => {
  expect([0, 1, 2, 4].map(longestRetryMs)).toEqual([300, 600, 1200, 4800]);
  expect(longestRetryMs(6)).toBe(10_000);
  expect(longestRetryMs(2000)).toBe(10_000);
});

it('an attempt that fails says why, in the words of the socket, and by when the next one comes', async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as { port: number };
  await new Promise((resolve) => taken.close(resolve));
  const closed: { readonly reason: string; readonly retryWithinMs: number }[] = [];
  await new Promise<void>((resolve) => {
    const identity = generateIdentity(primitives);
    const connection = connect({
      url: `http://127.0.0.1:${port}`, primitives, identity, study: new Uint8Array(32), coordinatorKey: identity.publicKey,
      listener: (event) => {
        if (event.type === 'closed') closed.push(event);
        if (closed.length < 3) return;
        connection.close();
        resolve();
      },
    });
  });
  expect(closed.map(({ retryWithinMs }) => retryWithinMs)).toEqual([300, 600, 1200]);
  for (const { reason } of closed) expect(reason).toContain(`ECONNREFUSED 127.0.0.1:${port}`);
});

it('a site tells the first failure at once and the next ones twice a minute, until it has a session again', async () => {
  const lead = createLead();
  let now = NOW;
  const site = await startBench({ ...lead, disk: freshDisk(), now: () => now });
  const fail = async (seconds: number): Promise<void> => {
    now += seconds * 1000;
    site.deliver({ type: 'closed', reason: 'cable', retryWithinMs: 4800 });
    await site.settled();
  };
  const told = (): string[] => site.told.flatMap(({ type, detail }) => (type === 'disconnected' ? [detail] : []));
  for (const seconds of [0, 5, 10, 10, 6]) await fail(seconds);
  expect(told()).toEqual(['cable; trying again within 4.8 s', '5 times without a session: cable; trying again within 4.8 s']);
  site.deliver({ type: 'open' });
  await fail(1);
  expect(told()).toHaveLength(3);
  expect(told()[2]).toBe('cable; trying again within 4.8 s');
});

it('a ledger copy that holds a signed END says how the study ended, and one that lacks its head does not', async () => {
  const { builder } = createLead();
  const { ledger: path } = freshDisk();
  const open = async (lines: readonly string[]) => {
    writeFileSync(path, lines.map((line) => `${line}\n`).join(''));
    return endOf(await openLedgerCopy(path, primitives));
  };
  expect(await open(builder.lines)).toBeUndefined();
  builder.add({ type: 'end', reason: 'completed', detail: 'all rounds', epsilonSpent: builder.state.spent });
  expect(await open(builder.lines)).toMatchObject({ reason: 'completed', detail: 'all rounds' });
  expect(await open(builder.lines.slice(0, -1))).toBeUndefined();
  expect(await open([])).toBeUndefined();
});

it('a site that has seen the end of the study leaves when its coordinator does, whether it was told so or not', async () => {
  const lead = createLead();
  lead.builder.add({ type: 'end', reason: 'completed', detail: 'all rounds', epsilonSpent: lead.builder.state.spent });
  const site = await startBench({ ...lead, disk: freshDisk() });
  site.receive({ type: 'ledger', from: 0, lines: lead.builder.lines });
  site.deliver({ type: 'closed', reason: 'cable', retryWithinMs: 300 });
  expect(await site.end).toBe('ended');
  expect(site.told.map(({ type }) => type)).not.toContain('disconnected');
  expect(site.told.at(-1)).toEqual({ type: 'study-ended', detail: 'completed' });
});
