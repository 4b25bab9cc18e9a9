import { describe, expect, it, vi } from 'vitest';
import { createWitnesses } from '../../coordinator/witnesses.ts';
import { toHex } from '../../shared/bytes.ts';
import { verifyReceipt, verifyRefusal } from '../../shared/ledger/statements.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { CoordinatorMessage } from '../../shared/protocol/messages.ts';
import { begunLedger } from '../support/ledger-study.ts';
import { MECHANISM, STUDY } from '../support/ledger-builder.ts';
import { freshDisk, NOW, startBench, type SiteBench, type SiteDisk } from '../support/site-bench.ts';
import { createLead, type Lead } from '../support/site-lead.ts';
import { dispatch, double, fetchUpdate, last, scene, WEIGHTS } from '../support/site-scene.ts';

// A site that waits for something that never comes should not wait for long.
vi.setConfig({ testTimeout: 20_000 });

const types = (disk: SiteDisk): string[] => disk.log.map(({ type }) => type);

describe('a round at a site', () => {
  it('is spent durably before training, released durably and staged before it is sent, in this order and no other', async () => {
    const { lead, disk, site } = await scene();
    await dispatch({ lead, disk, site });
    await site.until('send update');
    const order = ['send ready', 'send cosign', 'spend', 'spend done', 'send accept', 'train', 'train done', 'release', 'release done', 'stage', 'stage done', 'send update'];
    expect(site.calls.filter((call) => order.includes(call))).toEqual(order);
    expect(site.chunks).toEqual([]);
    const { receipt } = await fetchUpdate({ lead, site });
    expect(verifyReceipt(primitives, receipt, toHex(lead.identity.publicKey))).toBe(true);
    const reserve = lead.builder.state.open?.hash;
    expect(receipt).toMatchObject({ site: 'a', round: 1, reserve, mechanism: MECHANISM });
    expect(disk.log).toMatchObject([{ type: 'spend', reserve, mechanism: MECHANISM, delta: '0.00001', modality: 'image' }, { type: 'release', reserve, update: receipt.update }]);
  });

  it.each([
    ['other weights than the reserved ones', (chunk: Uint8Array, lead: Lead, site: SiteBench) => lead.weights(site.sent, double(WEIGHTS))[0]?.sealed ?? chunk],
    ['weights with one bit flipped', (chunk: Uint8Array) => chunk.map((byte, i) => (i === 20 ? byte ^ 4 : byte))],
  ])('with %s stops the site, and nothing was trained', async (_title, change) => {
    const { lead, disk, site } = await scene();
    site.receive(lead.ledger(), lead.offer());
    await site.until('send accept');
    const [chunk] = lead.weights(site.sent, WEIGHTS);
    if (chunk === undefined) throw new Error('no chunk');
    site.deliver({ type: 'chunk', chunk: { ...chunk, sealed: change(chunk.sealed, lead, site) } });
    expect(await site.end).toBe('protocol-violation');
    expect(site.calls).not.toContain('train');
    expect(types(disk)).toEqual(['spend']);
  });

  it('offered again is neither spent twice nor trained twice', async () => {
    const { lead, disk, site } = await scene();
    site.receive(lead.ledger(), lead.offer(), lead.offer());
    await site.until('send accept', 2);
    site.deliver({ type: 'open' });
    site.receive(lead.offer());
    await site.until('send accept', 3);
    site.deliver(...lead.weights(site.sent, WEIGHTS).map((chunk) => ({ type: 'chunk', chunk }) as const));
    site.receive(lead.offer());
    await site.until('send update');
    site.receive(lead.offer());
    await site.until('send update', 2);
    await site.settled();
    expect(site.calls.filter((call) => call === 'train')).toHaveLength(1);
    expect(site.calls.filter((call) => call === 'send accept')).toHaveLength(3);
    expect(types(disk)).toEqual(['spend', 'release']);
  });

  it('is refused, signed, with nothing spent, where the guard says no', async () => {
    const cases: readonly (readonly [Parameters<typeof scene>[0], RegExp])[] = [[{ disk: { ...freshDisk(), limits: { minNoiseMultiplier: 2 } } }, /^limits-exceeded/], [{ cohort: ['b'] }, /^wrong-site/]];
    for (const [input, reason] of cases) {
      const { lead, disk, site } = await scene(input);
      site.receive(lead.ledger(), lead.offer());
      await site.until('send refuse');
      const { refusal } = last(site, 'refuse');
      expect(refusal.reason).toMatch(reason);
      expect(refusal).toMatchObject({ site: 'a', round: 1, reserve: lead.builder.state.open?.hash });
      expect(verifyRefusal(primitives, refusal, toHex(lead.identity.publicKey))).toBe(true);
      await site.settled();
      expect(types(disk)).toEqual(['refusal']);
      expect(site.calls).not.toContain('train');
      // Of its own limits only that they forbid it: their numbers tell of other studies.
      if (refusal.reason.startsWith('limits-exceeded')) expect(refusal.reason).toBe("limits-exceeded: the data set's own limits forbid it");
    }
  });

  it('is neither refused nor remembered where nobody has reserved it: whoever invents reserves fills no log', async () => {
    const { lead, disk, site } = await scene();
    site.receive(lead.ledger(), ...Array.from({ length: 5 }, (_, i) => lead.offer({ reserve: new Uint8Array(32).fill(i + 1) })));
    await site.until('send failure', 5);
    await site.settled();
    expect(last(site, 'failure')).toMatchObject({ code: 'site-failed', fatal: false });
    expect(site.calls).not.toContain('send refuse');
    expect(types(disk)).toEqual([]);
    site.receive(lead.offer());
    await site.until('send accept');
  });

  it('has one way on one reserve: refused once it is never trained, whatever is allowed later, and in a later process too', async () => {
    const disk: SiteDisk = { ...freshDisk(), limits: { minNoiseMultiplier: 2 } };
    const { lead, site } = await scene({ disk });
    site.receive(lead.ledger(), lead.offer());
    await site.until('send refuse');
    disk.limits = {};
    site.receive(lead.offer());
    await site.until('send refuse', 2);
    const again = await startBench({ ...lead, disk, train: double });
    again.deliver({ type: 'open' });
    again.receive(lead.ledger(), lead.offer());
    await again.until('send refuse');
    await again.settled();
    expect(types(disk)).toEqual(['refusal']);
    expect([...site.calls, ...again.calls]).not.toContain('send accept');
  });

  it('has one way on one reserve: once spent it is never refused, whatever the limits or the ledger say later, and what trains is given up', async () => {
    const disk = freshDisk();
    const { lead, site } = await scene({ disk });
    site.receive(lead.ledger(), lead.offer());
    await site.until('send accept');
    disk.limits = { minNoiseMultiplier: 2 };
    site.receive(lead.offer());
    await site.until('send failure');
    expect(last(site, 'failure')).toMatchObject({ code: 'site-failed', message: 'the site could not train', fatal: false });
    site.deliver(...lead.weights(site.sent, WEIGHTS).map((chunk) => ({ type: 'chunk', chunk }) as const));
    await site.settled();
    expect(types(disk)).toEqual(['spend']);
    expect(site.calls).not.toContain('send refuse');
    expect(site.calls).not.toContain('train');
  });

  it('shares a spend log with other sites and studies: their entries neither bar nor spend its round, and a spend of yesterday is not one of today', async () => {
    const disk: SiteDisk = { ...freshDisk(), limits: { maxRoundsPerDay: 1 } };
    const lead = createLead();
    lead.reserve(WEIGHTS);
    const reserve = lead.builder.state.open?.hash ?? '';
    const where = { study: STUDY, round: 1, reserve, time: new Date(NOW - 25 * 3_600_000).toISOString() };
    disk.log.push(
      { type: 'spend', ...where, site: 'b', modality: 'image', mechanism: MECHANISM, delta: '0.00001' },
      { type: 'release', ...where, site: 'b', update: 'ef'.repeat(32) },
      { type: 'refusal', ...where, site: 'c' },
      { type: 'spend', ...where, study: '12'.repeat(32), site: 'a', reserve: 'ab'.repeat(32), modality: 'image', mechanism: MECHANISM, delta: '0.00001' },
    );
    const site = await startBench({ ...lead, disk, train: double });
    site.deliver({ type: 'open' });
    await dispatch({ lead, disk, site });
    await site.until('send update');
    expect(disk.log.slice(4)).toMatchObject([{ type: 'spend', site: 'a', reserve }, { type: 'release', site: 'a', reserve }]);
  });

  it.each([2e6, -2e6, NaN, Infinity])('with a weight of %d stops the site before any record is touched, though the ledger reserved it', async (weight) => {
    const weights = WEIGHTS.map((value, i) => (i === 5 ? weight : value));
    const lead = createLead();
    lead.reserve(weights);
    const disk = freshDisk();
    const site = await startBench({ ...lead, disk, train: double });
    site.deliver({ type: 'open' });
    await dispatch({ lead, disk, site }, weights);
    expect(await site.end).toBe('protocol-violation');
    expect(site.calls).not.toContain('train');
  });

  it('stops where its data set remembers a reserve of this study that the ledger does not hold', async () => {
    const disk = freshDisk();
    const first = await scene({ disk });
    first.site.receive(first.lead.ledger(), first.lead.offer());
    await first.site.until('send accept');
    const [spend] = disk.log;
    disk.log[0] = { ...spend!, reserve: 'ab'.repeat(32) };
    const site = await startBench({ ...first.lead, disk, train: double });
    site.deliver({ type: 'open' });
    site.receive(first.lead.ledger(), first.lead.offer());
    expect(await site.end).toBe('ledger-tampered');
    expect(types(disk)).toEqual(['spend']);
  });
});

describe('a site and the ledger', () => {
  it('cosigns every head that it has verified, so that the coordinator can show it', async () => {
    const { lead, site } = await scene();
    const { builder } = lead;
    const witnesses = createWitnesses({ primitives, ledger: { state: () => builder.state, lines: () => builder.lines } });
    site.receive(lead.ledger());
    await site.until('send cosign');
    builder.add(builder.outcome('abort', [], []));
    const from = site.sent.length;
    site.receive(lead.ledger(builder.lines.length - 2));
    await site.until('send cosign', 2);
    expect(from).toBeGreaterThan(0);
    const cosigned = site.sent.filter((message) => message.type === 'cosign');
    expect(cosigned.map(({ size }) => size)).toEqual([builder.lines.length - 3, builder.lines.length - 1]);
    for (const one of cosigned) expect(witnesses.receive('a', one)).toBeUndefined();
  });

  it('does not act on, nor cosign, a line that no head has signed yet', async () => {
    const { lead, disk, site } = await scene();
    site.receive({ type: 'ledger', from: 0, lines: lead.builder.lines.slice(0, -1) }, lead.offer());
    await site.until('send refuse');
    expect(last(site, 'refuse').refusal.reason).toMatch(/^ledger-invalid/);
    expect(site.calls).not.toContain('send cosign');
    expect(types(disk)).toEqual(['refusal']);
  });

  it.each([
    ['that does not verify', (lines: string[]) => lines.map((line, i) => (i === lines.length - 2 ? line.replace('"round":1', '"round":2') : line))],
    ['that is not one', () => ['hello']],
  ])('stops at a line %s, says so, and nothing was spent', async (_title, change) => {
    const { lead, disk, site } = await scene();
    site.receive({ type: 'ledger', from: 0, lines: change([...lead.builder.lines]) });
    expect(await site.end).toBe('ledger-tampered');
    expect(last(site, 'failure')).toMatchObject({ code: 'ledger-invalid', fatal: true });
    expect(types(disk)).toEqual([]);
    expect(site.calls).not.toContain('send cosign');
  });

  it('stops when the ledger is not the one it saw before, in this or an earlier process', async () => {
    const first = await scene();
    first.site.receive(first.lead.ledger());
    await first.site.until('send cosign');
    const other = begunLedger();
    first.site.receive({ type: 'ledger', from: 0, lines: other.lines });
    expect(await first.site.end).toBe('ledger-tampered');
    const again = await startBench({ ...first.lead, disk: first.disk });
    again.deliver({ type: 'open' });
    await again.until('send ready');
    expect(last(again, 'ready').ledgerLength).toBe(first.lead.builder.lines.length);
    again.receive({ type: 'ledger', from: 0, lines: first.lead.builder.lines.slice(0, -2) });
    expect(await again.end).toBe('ledger-tampered');
  });

  it('stops at a plan that is not its study’s before anything is offered, and again each time that it is started', async () => {
    const lead = createLead(begunLedger((plan) => ({ ...plan, budget: { ...plan.budget, epsilon: '3.5' } })));
    lead.reserve(WEIGHTS);
    const disk = freshDisk();
    const site = await startBench({ ...lead, disk });
    site.deliver({ type: 'open' });
    site.receive(lead.ledger());
    expect(await site.end).toBe('ledger-tampered');
    expect(last(site, 'failure')).toMatchObject({ code: 'ledger-invalid', fatal: true });
    expect(site.calls).not.toContain('send cosign');
    const again = await startBench({ ...lead, disk });
    again.deliver({ type: 'open' });
    again.receive(lead.ledger(lead.builder.lines.length - 1), lead.offer());
    await again.settled();
    expect(await again.end).toBe('ledger-tampered');
    expect(again.sent).toEqual([]);
    expect(types(disk)).toEqual([]);
  });

  it('does nothing more once it has stopped, whatever stands in the queue behind the line that stopped it', async () => {
    const weaker = createLead(begunLedger((plan) => ({ ...plan, budget: { ...plan.budget, epsilon: '3.5' } })));
    weaker.reserve(WEIGHTS);
    const forger = createLead();
    forger.reserve(WEIGHTS);
    const cases: readonly (readonly [Lead, CoordinatorMessage])[] = [[weaker, weaker.ledger()], [forger, { type: 'ledger', from: 0, lines: [...forger.builder.lines, 'hello'] }]];
    for (const [lead, ledger] of cases) {
      const disk = freshDisk();
      const site = await startBench({ ...lead, disk });
      site.deliver({ type: 'open' });
      site.receive(ledger, lead.offer(), lead.ledger(lead.builder.lines.length - 1), lead.offer());
      expect(await site.end).toBe('ledger-tampered');
      await site.settled();
      expect(types(disk)).toEqual([]);
      expect(site.sent.map(({ type }) => type)).toEqual(['ready', 'failure']);
    }
  });
});
