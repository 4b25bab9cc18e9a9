import { io } from 'socket.io-client';
import { SOFTWARE } from '../../shared/protocol/software.ts';
import { isFailure } from '../../shared/protocol/failure.ts';
import { PROTOCOL_VERSION } from '../../shared/protocol/messages.ts';
import { decodePlain } from '../../shared/protocol/session.ts';
import type { Check } from './check.ts';

const TIMEOUT_MS = 10_000;
/** Invites end and heads are dated by the clock; a proxy's certificate, too. */
const MOST_SKEW_MS = 60_000;

/** Is it there, does it speak this protocol, is its clock ours? Nothing of this machine is sent: no key, no study. */
export async function checkCoordinator(url: string): Promise<readonly Check[]> {
  const base = parseUrl(url);
  if (base === undefined) return [unreachable(url, 'not an address of http:// or https://')];
  const asked = Date.now();
  let response: Response;
  try {
    response = await fetch(new URL('health', base), { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: 'error' });
    await response.text();
  } catch (error) {
    return [unreachable(url, reasonOf(error))];
  }
  if (response.status !== 200) return [unreachable(url, `/health answers ${response.status}`)];
  const answered = Date.now();
  return [
    { type: 'good', name: 'coordinator', found: `${url} answers in ${answered - asked} ms` },
    clockCheck(response.headers.get('date'), (asked + answered) / 2),
    await checkProtocol(base),
  ];
}

/** The header has whole seconds, cut off: half a second is added. */
export function clockCheck(header: string | null, nowMs: number): Check {
  const theirs = header === null ? NaN : Date.parse(header) + 500;
  if (!Number.isFinite(theirs)) return { type: 'note', name: 'clock', found: 'the coordinator does not say its time', todo: 'compare the clocks by hand: invites end by the clock' };
  const seconds = Math.round(Math.abs(theirs - nowMs) / 1000);
  if (Math.abs(theirs - nowMs) <= MOST_SKEW_MS) return { type: 'good', name: 'clock', found: seconds <= 1 ? 'agrees with the coordinator to a second' : `${seconds} s from the coordinator's` };
  const found = `${seconds} s ${theirs > nowMs ? 'behind' : 'ahead of'} the coordinator's`;
  return { type: 'problem', name: 'clock', found, todo: 'set the clock on both sides, best by NTP: invites end by it', code: 'network-unreachable' };
}

/** The coordinator's first word is its version, before anyone has said who they are. */
async function checkProtocol(base: URL): Promise<Check> {
  const socket = io(base.origin, { transports: ['websocket'], reconnection: false, forceNew: true, timeout: TIMEOUT_MS });
  try {
    const frame = await new Promise<unknown>((resolve, reject) => {
      socket.on('antiphon', resolve);
      socket.on('connect_error', reject);
      socket.on('disconnect', (reason) => reject(new Error(reason)));
      AbortSignal.timeout(TIMEOUT_MS).addEventListener('abort', () => reject(new Error(`no greeting within ${TIMEOUT_MS / 1000} s`)));
    });
    const message = frame instanceof Uint8Array ? decodePlain('coordinator', frame) : undefined;
    if (message !== undefined && isFailure(message) && message.code === 'version-mismatch') {
      return { type: 'problem', name: 'protocol', found: message.message, todo: 'install the same release of antiphon on both sides', code: 'version-mismatch' };
    }
    if (message === undefined || message.type !== 'challenge') {
      return { type: 'problem', name: 'protocol', found: 'what answers does not greet as a coordinator does', todo: 'check the address, and the proxy before it', code: 'protocol-violation' };
    }
    return { type: 'good', name: 'protocol', found: `version ${PROTOCOL_VERSION}; ${message.software} there, ${SOFTWARE} here` };
  } catch (error) {
    const todo = 'let WebSocket upgrades pass on /socket.io/ through every proxy on the way';
    return { type: 'problem', name: 'protocol', found: `no WebSocket to the coordinator: ${reasonOf(error)}`, todo, code: 'network-unreachable' };
  } finally {
    socket.disconnect();
  }
}

function unreachable(url: string, reason: string): Check {
  const todo = 'check the address, that the coordinator runs, and that firewall and proxy let this machine reach it';
  return { type: 'problem', name: 'coordinator', found: `${url} cannot be reached: ${reason}`, todo, code: 'network-unreachable' };
}

function parseUrl(url: string): URL | undefined {
  if (!URL.canParse(url)) return undefined;
  const parsed = new URL(url.endsWith('/') ? url : `${url}/`);
  return parsed.protocol === 'http:' || parsed.protocol === 'https:' ? parsed : undefined;
}

/** Of fetch and of sockets: the reason hides in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause;
  return cause instanceof Error && cause.message !== '' ? cause.message : error.message;
}
