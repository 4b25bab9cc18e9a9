import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
import { expect, it, onTestFinished } from 'vitest';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { encodeInvite } from '../../shared/protocol/invite.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { isFailure } from '../../shared/protocol/failure.ts';
import { answerChallenge, createChallenge, decodePlain, encodePlain } from '../../shared/protocol/session.ts';
import { fromHex, toHex } from '../../shared/bytes.ts';
import { run, start, temporaryFolder, type Running } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';
import { runUntrainedSite } from '../support/untrained-site.ts';

interface Lead {
  readonly out: string;
  readonly lead: Running;
  readonly home: (site: string) => string;
  readonly url: string;
}

/** A coordinator over the wire, its three sites enrolled, none started. */
async function startLead(changes: Parameters<typeof writeTinyStudy>[1]): Promise<Lead> {
  const folder = temporaryFolder();
  const { study, data } = writeTinyStudy(folder, changes);
  const out = join(folder, 'run');
  const lead = start('coordinator', 'start', '--study', study, '--out', out, '--data', data, '--port', '0', '--events');
  onTestFinished(async () => {
    lead.child.kill('SIGKILL');
    await lead.finished;
  });
  const { url } = JSON.parse(await lead.line((line) => line.includes('"listening"'))) as { url: string };
  const home = (site: string): string => join(folder, site);
  for (const site of ['left-1', 'left-2', 'right-1']) {
    const invite = (await run('coordinator', 'invite', '--out', out, '--site', site)).stdout.trim();
    expect((await run('site', 'enroll', invite, '--data', data, '--home', home(site), '--patients-disjoint')).code).toBe(0);
  }
  return { out, lead, home, url };
}

it.each([
  ['of the wrong length', 'wrong-length', (weights: Float32Array) => new Float32Array(weights.length + 1)],
  ['with a NaN in it', 'not-finite', (weights: Float32Array) => new Float32Array(weights.length).fill(NaN, 3, 4)],
  ['larger than clipping, noise and learning rate allow', 'norm-too-large', (weights: Float32Array) => new Float32Array(weights.length).fill(1e6)],
] as const)('an update %s is named, left out and stays charged; the round commits without it', async (_title, code, lie) => {
  const { out, lead, home } = await startLead({ rounds: 2, quorum: 0.5 });
  const honest = ['left-2', 'right-1'].map((site) => start('site', 'start', '--home', home(site)));
  const answers: string[] = [];
  await runUntrainedSite(home('left-1'), ({ weights }) => lie(weights), (event) => {
    if (event.type === 'failure') answers.push(event.detail);
  });
  expect((await lead.finished).code).toBe(0);
  for (const site of honest) expect((await site.finished).code).toBe(0);
  expect(answers.join()).toContain(code);
  const events = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(events.filter((event) => event['type'] === 'failure').map((event) => [event['site'], event['code']])).toEqual([['left-1', code]]);
  const ledger = readFileSync(join(out, 'ledger.jsonl'), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { body: Record<string, unknown> }).body);
  const reserve = ledger.find(({ type }) => type === 'reserve') as { epsilonAfter: unknown };
  const commit = ledger.find(({ type }) => type === 'commit') as { sites: unknown; refusals: unknown; epsilonSpent: unknown };
  expect(commit).toMatchObject({ sites: ['left-2'], refusals: [], epsilonSpent: reserve.epsilonAfter });
  expect((await run('audit', join(out, 'ledger.jsonl'))).code).toBe(0);
});

it('a site of another protocol version is told so, and the study goes on', async () => {
  const { lead, home, url } = await startLead({ rounds: 2 });
  const socket = io(url, { transports: ['websocket'], forceNew: true, reconnection: false });
  onTestFinished(() => void socket.disconnect());
  const refusal = await new Promise((resolve) => {
    socket.on('antiphon', (frame: Uint8Array) => {
      const message = decodePlain('coordinator', new Uint8Array(frame));
      if (isFailure(message) || message.type !== 'challenge') {
        resolve(message);
        return;
      }
      const { study, coordinatorKey } = message;
      const answer = answerChallenge({ primitives, identity: generateIdentity(primitives), software: 'antiphon/9.0.0', expectedStudy: study, expectedCoordinatorKey: coordinatorKey, challenge: message });
      if (isFailure(answer)) throw new Error(answer.message);
      socket.emit('antiphon', encodePlain({ ...answer.hello, version: 2 }));
    });
  });
  expect(refusal).toMatchObject({ type: 'failure', code: 'version-mismatch', fatal: true });
  const sites = ['left-1', 'left-2', 'right-1'].map((site) => start('site', 'start', '--home', home(site)));
  expect((await lead.finished).code).toBe(0);
  for (const site of sites) expect((await site.finished).code).toBe(0);
});

it('a site leaves a coordinator of another protocol version with code 10', async () => {
  const http = createServer();
  const server = new Server(http, { transports: ['websocket'] });
  const identity = generateIdentity(primitives);
  const study = toHex(primitives.randomBytes(32));
  server.on('connection', (socket) => {
    socket.emit('antiphon', encodePlain({ ...createChallenge({ primitives, software: 'antiphon/9.0.0', study: fromHex(study, 32), coordinatorKey: identity.publicKey }), version: 2 }));
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => new Promise<void>((resolve) => void server.close(() => { resolve(); })));
  const folder = temporaryFolder();
  const invite = encodeInvite(primitives, {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    coordinatorKey: toHex(identity.publicKey),
    study,
    site: 'left-1',
    modality: 'left',
    secret: primitives.randomBytes(32),
    expiresAt: Date.now() + 60_000,
  });
  const { code, stderr } = await run('site', 'enroll', invite, '--data', folder, '--home', join(folder, 'home'));
  expect(stderr).toContain('protocol version');
  expect(code).toBe(10);
});

it('130 strangers who talk nonsense at once fill no disk: a hundred are written down one by one, the rest as a number', async () => {
  const { out, lead, url } = await startLead({});
  await Promise.all(Array.from({ length: 130 }, () => {
    const socket = io(url, { transports: ['websocket'], forceNew: true, reconnection: false });
    return new Promise<void>((resolve, reject) => {
      socket.on('connect', () => socket.emit('antiphon', new Uint8Array([1, 2, 3])));
      socket.on('connect_error', reject);
      socket.on('disconnect', () => resolve());
    });
  }));
  lead.child.kill('SIGTERM');
  expect((await lead.finished).code).toBe(130);
  const failures = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { type: string; code: string; message: string }).filter(({ type }) => type === 'failure');
  expect(failures).toHaveLength(101);
  expect(failures.at(-1)?.message).toBe(`30 more failures within a minute are left out here; the last: ${failures[0]?.code}: ${failures[0]?.message}`);
});
