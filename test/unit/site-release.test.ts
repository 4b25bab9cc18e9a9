import { describe, expect, it, vi } from 'vitest';
import { AntiphonError } from '../../shared/errors.ts';
import { startBench, type SiteDisk } from '../support/site-bench.ts';
import { dispatch, double, fetchUpdate, last, scene, WEIGHTS, type Scene } from '../support/site-scene.ts';

// A site that waits for something that never comes should not wait for long.
vi.setConfig({ testTimeout: 20_000 });

const types = (disk: SiteDisk): string[] => disk.log.map(({ type }) => type);

/** Something that a test lets happen when it wants. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** The same site after its process ended: what is on its disk, and nothing else. */
async function restart({ lead, disk }: Scene): Promise<Scene> {
  const site = await startBench({ ...lead, disk, train: () => Promise.reject(new Error('trained anew')) });
  site.deliver({ type: 'open' });
  site.receive(lead.ledger(lead.builder.lines.length - 1), lead.offer());
  return { lead, disk, site };
}

describe('an update that was released', () => {
  it('goes out again with the same bytes after a reconnection and after a restart, and is never trained or logged again', async () => {
    const first = await scene();
    await dispatch(first);
    await first.site.until('send update');
    const update = await fetchUpdate(first);
    first.site.deliver({ type: 'closed', reason: 'cable', retryWithinMs: 300 }, { type: 'open' });
    first.site.receive(first.lead.offer());
    await first.site.until('send update', 2);
    expect(await fetchUpdate(first)).toEqual(update);
    expect(first.site.chunks[1]).toEqual(first.site.chunks[0]);
    const second = await restart(first);
    await second.site.until('send update');
    expect(await fetchUpdate(second)).toEqual(update);
    expect(second.site.chunks[0]).toEqual(first.site.chunks[0]);
    await second.site.settled();
    expect(second.site.calls).not.toContain('train');
    expect(types(first.disk)).toEqual(['spend', 'release']);
  });

  it('and whose bytes are lost is neither trained again nor refunded', async () => {
    const first = await scene();
    await dispatch(first);
    await first.site.until('send update');
    first.disk.staged = undefined;
    const { site } = await restart(first);
    await site.until('send failure');
    await site.settled();
    expect(site.sent.map(({ type }) => type)).toEqual(['ready', 'cosign', 'failure']);
    expect(last(site, 'failure')).toMatchObject({ code: 'site-failed', fatal: false });
    expect(site.calls).not.toContain('train');
    expect(types(first.disk)).toEqual(['spend', 'release']);
  });

  it('but not yet staged when the process ended is lost like that, too', async () => {
    const never = gate();
    const first = await scene({ hold: (call) => (call === 'stage' ? never.opened : undefined) });
    await dispatch(first);
    await first.site.until('stage');
    const { site } = await restart(first);
    await site.until('send failure');
    await site.settled();
    expect(site.sent.map(({ type }) => type)).toEqual(['ready', 'cosign', 'failure']);
    expect(types(first.disk)).toEqual(['spend', 'release']);
  });

  it('is forgotten when its round has ended', async () => {
    const { lead, disk, site } = await scene();
    await dispatch({ lead, disk, site });
    await site.until('send update');
    site.receive({ type: 'round-ended', round: 2, outcome: 'committed' });
    await site.settled();
    expect(disk.staged).toBeDefined();
    site.receive({ type: 'round-ended', round: 1, outcome: 'committed' }, { type: 'resume', round: 1, nextChunk: 0 });
    await site.settled();
    expect(disk.staged).toBeUndefined();
    expect(site.chunks).toEqual([]);
  });
});

describe('a staged update of a round whose end the site was not told of', () => {
  it('is forgotten when another round is offered, and nothing of it is sent for that one', async () => {
    const { lead, disk, site } = await scene();
    await dispatch({ lead, disk, site });
    await site.until('send update');
    lead.builder.add(lead.builder.outcome('abort', [], []), lead.builder.reserve('table', ['c']));
    lead.builder.add(lead.builder.outcome('abort', [], []));
    const from = lead.builder.lines.length - 6;
    lead.reserve(WEIGHTS);
    site.receive(lead.ledger(from), lead.offer());
    await site.until('send accept', 2);
    expect(disk.staged).toBeUndefined();
    for (const round of [1, 3]) site.receive({ type: 'resume', round, nextChunk: 0 });
    await site.settled();
    expect(site.chunks).toEqual([]);
    expect(site.sent.filter(({ type }) => type === 'update')).toHaveLength(1);
    site.deliver(...lead.weights(site.sent, WEIGHTS).map((chunk) => ({ type: 'chunk', chunk }) as const));
    await site.until('send update', 2);
    expect((await fetchUpdate({ lead, site })).receipt.round).toBe(3);
    expect(disk.log.map(({ type, round }) => `${type} ${round}`)).toEqual(['spend 1', 'release 1', 'spend 3', 'release 3']);
  });

  it('by another process is not sent either, and the next start has nothing of it', async () => {
    const first = await scene();
    await dispatch(first);
    await first.site.until('send update');
    const { lead, disk } = first;
    lead.builder.add(lead.builder.outcome('abort', [], []), lead.builder.reserve('table', ['c']));
    lead.builder.add(lead.builder.outcome('abort', [], []));
    const from = lead.builder.lines.length - 6;
    lead.reserve(WEIGHTS);
    const site = await startBench({ ...lead, disk, train: double });
    site.deliver({ type: 'open' });
    site.receive(lead.ledger(from), lead.offer());
    await site.until('send accept');
    await site.settled();
    expect(disk.staged).toBeUndefined();
    expect(site.sent.map(({ type }) => type)).not.toContain('update');
  });
});

describe('a round that ended', () => {
  it('because the site did, while it trained, leaves no release either', async () => {
    const trained = gate();
    const { lead, disk, site } = await scene({ train: async (weights) => trained.opened.then(() => double(weights)) });
    await dispatch({ lead, disk, site });
    await site.until('train');
    site.receive({ type: 'ledger', from: 0, lines: ['hello'] });
    expect(await site.end).toBe('ledger-tampered');
    trained.open();
    await site.settled();
    expect(types(disk)).toEqual(['spend']);
    expect(disk.staged).toBeUndefined();
  });

  it('because the site did, while its update was being staged, keeps it for the next start', async () => {
    const staged = gate();
    const { lead, disk, site } = await scene({ hold: (call) => (call === 'stage' ? staged.opened : undefined) });
    await dispatch({ lead, disk, site });
    await site.until('stage');
    site.receive({ type: 'ledger', from: 0, lines: ['hello'] });
    expect(await site.end).toBe('ledger-tampered');
    staged.open();
    await site.settled();
    expect(site.calls.slice(site.calls.indexOf('stage'))).not.toContain('clear');
    expect(site.calls).not.toContain('send update');
    const again = await restart({ lead, disk, site });
    await again.site.until('send update');
    await fetchUpdate(again);
    expect(types(disk)).toEqual(['spend', 'release']);
  });

  it('while the site trained leaves no release, no staged update and no message', async () => {
    const trained = gate();
    const { lead, disk, site } = await scene({ train: async (weights) => trained.opened.then(() => double(weights)) });
    await dispatch({ lead, disk, site });
    await site.until('train');
    site.receive({ type: 'round-ended', round: 1, outcome: 'aborted' });
    await site.settled();
    trained.open();
    await site.until('train done');
    await site.settled();
    expect(types(disk)).toEqual(['spend']);
    expect(disk.staged).toBeUndefined();
    expect(site.calls).not.toContain('stage');
    expect(site.calls).not.toContain('send update');
  });

  it.each(['release', 'stage'])('while its update was being recorded (%s) is not announced any more, and the next round is trained', async (slow) => {
    const recorded = gate();
    let holding = true;
    const { lead, disk, site } = await scene({ hold: (call) => (call === slow && holding ? recorded.opened : undefined) });
    await dispatch({ lead, disk, site });
    await site.until(slow);
    holding = false;
    lead.builder.add(lead.builder.outcome('abort', [], []), lead.builder.reserve('table', ['c']));
    lead.builder.add(lead.builder.outcome('abort', [], []));
    const from = lead.builder.lines.length - 6;
    lead.reserve(WEIGHTS);
    site.receive({ type: 'round-ended', round: 1, outcome: 'aborted' }, lead.ledger(from), lead.offer());
    await site.until('send accept', 2);
    recorded.open();
    await site.until(`${slow} done`);
    await site.settled();
    expect(site.calls).not.toContain('send update');
    expect(disk.staged).toBeUndefined();
    site.deliver(...lead.weights(site.sent, WEIGHTS).map((chunk) => ({ type: 'chunk', chunk }) as const));
    await site.until('send update');
    expect((await fetchUpdate({ lead, site })).receipt.round).toBe(3);
    expect(disk.log.map(({ type, round }) => `${type} ${round}`).sort()).toEqual(['release 1', 'release 3', 'spend 1', 'spend 3']);
  });

  it('while the site received weights is not trained for', async () => {
    const { lead, disk, site } = await scene();
    site.receive(lead.ledger(), lead.offer());
    await site.until('send accept');
    site.receive({ type: 'round-ended', round: 1, outcome: 'aborted' });
    site.deliver(...lead.weights(site.sent, WEIGHTS).map((chunk) => ({ type: 'chunk', chunk }) as const));
    await site.settled();
    expect(site.calls).not.toContain('train');
    expect(types(disk)).toEqual(['spend']);
  });
});

describe('weights', () => {
  it('of another round, or of a session that was lost, are not trained on; those of the offered one are', async () => {
    const { lead, disk, site } = await scene();
    const deliver = (change: { readonly round?: number } = {}): void => {
      site.deliver(...lead.weights(site.sent, WEIGHTS).map((chunk) => ({ type: 'chunk', chunk: { ...chunk, ...change } }) as const));
    };
    site.receive(lead.ledger(), lead.offer());
    await site.until('send accept');
    deliver({ round: 2 });
    await site.settled();
    site.deliver({ type: 'closed', reason: 'cable', retryWithinMs: 300 }, { type: 'open' });
    deliver();
    await site.settled();
    expect(site.calls).not.toContain('train');
    expect(site.sent.map(({ type }) => type)).not.toContain('ack');
    site.receive(lead.offer());
    await site.until('send accept', 2);
    deliver();
    await site.until('send update');
    await fetchUpdate({ lead, site });
    expect(types(disk)).toEqual(['spend', 'release']);
  });
});

describe('what goes wrong at a site', () => {
  const secret = 'patient Mustermann has a tumour of 42 mm';

  it('is told to the coordinator without a word of it', async () => {
    const { lead, disk, site } = await scene({ train: () => Promise.reject(new AntiphonError('training-failed', secret)) });
    await dispatch({ lead, disk, site });
    expect(await site.end).toBe('training-failed');
    expect(last(site, 'failure')).toEqual({ type: 'failure', code: 'site-failed', message: 'the site could not train', fatal: false });
    expect(JSON.stringify(site.sent)).not.toMatch(/Mustermann|tumour|42 mm/);
    expect(types(disk)).toEqual(['spend']);
    expect(disk.staged).toBeUndefined();
  });

  it.each([
    ['the spend', 'spend', [], ['train', 'send accept']],
    ['the release', 'release', ['spend'], ['stage', 'send update']],
    ['the update', 'stage', ['spend', 'release'], ['send update']],
  ])('in recording %s ends the site before the next step', async (_title, failing, logged, never) => {
    const { lead, disk, site } = await scene({ hold: (call) => (call === failing ? Promise.reject(new AntiphonError('storage-failed', secret)) : undefined) });
    site.receive(lead.ledger(), lead.offer());
    if (failing !== 'spend') {
      await site.until('send accept');
      site.deliver(...lead.weights(site.sent, WEIGHTS).map((chunk) => ({ type: 'chunk', chunk }) as const));
    }
    expect(await site.end).toBe('storage-failed');
    await site.settled();
    expect(types(disk)).toEqual(logged);
    for (const call of never) expect(site.calls).not.toContain(call);
    expect(JSON.stringify(site.sent)).not.toContain(secret);
  });

  it('ends the connection: the end of the study, a refusal and a message out of place', async () => {
    for (const [event, code] of [
      [{ type: 'message', message: { type: 'study-ended', reason: 'completed' } }, 'ended'],
      [{ type: 'message', message: { type: 'enrolled', study: '{}' } }, 'protocol-violation'],
      [{ type: 'refused', problem: { type: 'failure', code: 'not-enrolled', message: 'who?' } }, 'enrolment-refused'],
      [{ type: 'refused', problem: { type: 'failure', code: 'version-mismatch', message: '2' } }, 'version-mismatch'],
    ] as const) {
      const { site } = await scene();
      site.deliver(event);
      expect(await site.end).toBe(code);
      const { length } = site.sent;
      site.deliver({ type: 'message', message: { type: 'failure', code: 'ended', message: '', fatal: false } });
      await site.settled();
      expect(site.sent).toHaveLength(length);
    }
  });
});
