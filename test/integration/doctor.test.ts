import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { expect, it, onTestFinished } from 'vitest';
import { startServer } from '../../coordinator/server.ts';
import { exitCodeOf, formatChecks } from '../../deploy/doctor/command.ts';
import { checkCoordinator, clockCheck } from '../../deploy/doctor/coordinator.ts';
import { checkGpu, checkMemory, checkNode, diskCheck } from '../../deploy/doctor/machine.ts';
import { fromHex } from '../../shared/bytes.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { BACKEND_CHOICES, isInstalled } from '../../shared/platform/backend-choice.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { failure } from '../../shared/protocol/failure.ts';
import { createChallenge, encodePlain } from '../../shared/protocol/session.ts';
import { run } from '../support/processes.ts';
import { STUDY } from '../support/ledger-builder.ts';

interface Report {
  readonly exitCode: number;
  readonly backend: { readonly name: string; readonly why: string; readonly speeds: readonly { readonly model: string; readonly examplesPerSecond: number }[] } | null;
  readonly checks: readonly { readonly type: string; readonly name: string; readonly found: string; readonly todo?: string }[];
}

/** The real server of a coordinator. */
async function coordinatorUrl(): Promise<{ readonly url: string; readonly reported: readonly string[] }> {
  const reported: string[] = [];
  const server = await startServer({
    host: '127.0.0.1',
    port: 0,
    primitives,
    identity: generateIdentity(primitives),
    study: fromHex(STUDY, 32),
    siteOfKey: () => undefined,
    enrol: () => Promise.resolve(failure('invite-unknown', 'none was issued')),
    cosigned: () => undefined,
    published: (path) => (path === '/health' ? 'ok\n' : undefined),
    report: ({ code }) => reported.push(code),
  });
  onTestFinished(() => server.close());
  return { url: `http://127.0.0.1:${server.port}`, reported };
}

/** Something else that answers /health: with its own clock, or its own first word on the socket. */
async function strangerUrl({ date, greeting }: { readonly date?: Date; readonly greeting?: Uint8Array }): Promise<string> {
  const http: HttpServer = createServer((request, response) => {
    response.sendDate = date === undefined;
    response.writeHead(request.url === '/health' ? 200 : 404, date === undefined ? {} : { date: date.toUTCString() });
    response.end('ok\n');
  });
  const sockets = greeting === undefined ? undefined : new Server(http, { transports: ['websocket'] });
  sockets?.on('connection', (socket) => socket.emit('antiphon', greeting));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    await sockets?.close();
    http.closeAllConnections();
    http.close();
  });
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

it('for scripts: one JSON object with every backend, the proven one, its speed, and the coordinator; exit code 0', async () => {
  const { url, reported } = await coordinatorUrl();
  const { code, stdout, stderr } = await run('doctor', '--json', '--backend', 'wasm', '--coordinator', url);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  const { exitCode, backend, checks } = JSON.parse(stdout) as Report;
  expect(exitCode).toBe(0);
  expect(backend).toMatchObject({ name: 'wasm', why: 'chosen with --backend' });
  expect(backend?.speeds.map(({ model }) => model)).toEqual(['MLP 64-64-32', 'CNN 28x28x1']);
  for (const { examplesPerSecond } of backend?.speeds ?? []) expect(examplesPerSecond).toBeGreaterThan(10);
  const byName = new Map(checks.map((check) => [check.name, check]));
  expect([...byName.keys()]).toEqual(['node', 'memory', 'disk', 'gpu', ...BACKEND_CHOICES.slice(1).map((name) => `backend ${name}`), 'training', 'coordinator', 'clock', 'protocol']);
  for (const name of BACKEND_CHOICES) {
    if (name !== 'auto' && !isInstalled(name)) expect(byName.get(`backend ${name}`)).toMatchObject({ type: 'note', todo: expect.stringMatching(/^npm install --save-prod @tensorflow\/\S+@4\.22\.0/) });
  }
  expect(byName.get('training')?.found).toMatch(/^wasm: gradients, norms and clipping of \d+ layers proven/);
  expect(byName.get('protocol')?.found).toBe('version 1; antiphon/0.1.0 there, antiphon/0.1.0 here');
  expect(reported).toEqual([]);
});

it('for people: a table and a verdict; a backend that is not there ends with code 9 and the command that installs it', async () => {
  const missing = (['tensorflow', 'tensorflow-gpu'] as const).find((name) => !isInstalled(name));
  if (missing === undefined) return; // every native backend is installed
  const { code, stdout, stderr } = await run('doctor', '--backend', missing);
  expect(stderr).toBe('');
  expect(code).toBe(9);
  expect(stdout).toMatch(/ok +│ node /);
  expect(stdout).toMatch(/PROBLEM │ training /);
  expect(stdout).toContain('does not work: training');
});

it('nobody at the address, or no address: code 6', async () => {
  const { url } = await coordinatorUrl();
  expect((await checkCoordinator(url)).map(({ type }) => type)).toEqual(['good', 'good', 'good']);
  for (const [address, reason] of [['http://127.0.0.1:9', /cannot be reached: .*ECONNREFUSED|bad port/], ['127.0.0.1:7400', /not an address/], [`${url}/elsewhere`, /\/health answers 404/]] as const) {
    const checks = await checkCoordinator(address);
    expect(checks).toMatchObject([{ type: 'problem', name: 'coordinator', code: 'network-unreachable', found: expect.stringMatching(reason) }]);
    expect(exitCodeOf(checks)).toBe(6);
  }
});

it('a clock that is off by minutes: code 6, and which way', async () => {
  const url = await strangerUrl({ date: new Date(Date.now() + 600_000) });
  expect((await checkCoordinator(url))[1]).toMatchObject({ type: 'problem', name: 'clock', found: expect.stringMatching(/^(599|600|601) s behind the coordinator's$/) });
  const now = Date.UTC(2026, 2, 3, 4, 5, 6);
  const at = (ms: number): string => new Date(now + ms).toUTCString();
  expect(clockCheck(at(-90_000), now)).toMatchObject({ type: 'problem', found: expect.stringMatching(/^(89|90) s ahead of/) });
  expect(clockCheck(at(30_000), now)).toMatchObject({ type: 'good', found: expect.stringMatching(/^(30|31) s from/) });
  expect(clockCheck(at(0), now)).toMatchObject({ type: 'good', found: 'agrees with the coordinator to a second' });
  expect(clockCheck(null, now)).toMatchObject({ type: 'note' });
});

it('another protocol version: code 10; what is no coordinator: code 12; a proxy without WebSocket: code 6', async () => {
  const challenge = createChallenge({ primitives, software: 'antiphon/9', study: fromHex(STUDY, 32), coordinatorKey: generateIdentity(primitives).publicKey });
  const protocolOf = async (greeting: Uint8Array | undefined) => (await checkCoordinator(await strangerUrl(greeting === undefined ? {} : { greeting })))[2];
  const newer = await protocolOf(encodePlain({ ...challenge, version: 7 }));
  expect(newer).toMatchObject({ type: 'problem', name: 'protocol', found: expect.stringContaining('version 1, the other side 7') });
  expect(exitCodeOf([newer!])).toBe(10);
  expect(exitCodeOf([(await protocolOf(Uint8Array.of(1, 2, 3)))!])).toBe(12);
  const blocked = await protocolOf(undefined);
  expect(blocked).toMatchObject({ found: expect.stringMatching(/^no WebSocket to the coordinator/), todo: expect.stringContaining('/socket.io/') });
  expect(exitCodeOf([blocked!])).toBe(6);
});

it('an old Node, a full disk and little memory are told apart; no GPU is no problem', () => {
  expect(checkNode('20.18.3')).toMatchObject({ type: 'problem', code: 'usage', todo: expect.stringContaining('20.19') });
  expect(checkNode('18.20.0').type).toBe('problem');
  expect(checkNode('20.19.0').type).toBe('good');
  expect(checkNode('26.0.0').type).toBe('good');
  expect(diskCheck('/runs', 100 * 2 ** 20)).toMatchObject({ type: 'problem', code: 'storage-failed', found: '100 MiB free in /runs' });
  expect(diskCheck('/runs', 2 ** 30)).toMatchObject({ type: 'note' });
  expect(diskCheck('/runs', 5 * 2 ** 30)).toEqual({ type: 'good', name: 'disk', found: '5.0 GiB free in /runs' });
  expect(checkMemory(2 ** 30, 300 * 2 ** 20)).toMatchObject({ type: 'note', found: '300 MiB free of 1.0 GiB' });
  expect(checkMemory().found).toMatch(/free of/);
  expect(checkGpu([], undefined)).toMatchObject({ type: 'note', found: 'none known' });
  expect(checkGpu(['A100, 550.54, 81920 MiB'], 'A100').found).toContain('A100, 550.54');
  expect(exitCodeOf([checkMemory(2 ** 30, 1), diskCheck('/runs', 1), checkNode('1.0')])).toBe(13);
});

it('text of a stranger steers no terminal', () => {
  expect(formatChecks([{ type: 'good', name: 'protocol', found: 'a\u001b[2Jb\u202ec' }], false)).not.toMatch(/[\u001b\u202e]/);
});
