import { Packr, Unpackr } from 'msgpackr';
import type { z } from 'zod';
import { failure, isFailure, type Failure } from './failure.ts';
import { coordinatorMessageSchema, LIMITS, PROTOCOL_VERSION, siteMessageSchema, type CoordinatorMessage, type SiteMessage } from './messages.ts';

/** The one door between messages and bytes: MessagePack (plain maps, no extensions), then the schema, on the way in. */
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });

const MAX_DEPTH = 16;

export function encodeMessage(message: SiteMessage | CoordinatorMessage): Uint8Array {
  return new Uint8Array(packr.pack(message));
}

export function decodeSiteMessage(bytes: Uint8Array): SiteMessage | Failure {
  return decode(siteMessageSchema, bytes);
}

export function decodeCoordinatorMessage(bytes: Uint8Array): CoordinatorMessage | Failure {
  return decode(coordinatorMessageSchema, bytes);
}

function decode<T>(schema: z.ZodType<T>, bytes: Uint8Array): T | Failure {
  if (bytes.length > LIMITS.frameBytes) return failure('too-large', `expected at most ${LIMITS.frameBytes} bytes in a message, found ${bytes.length}`);
  let value: unknown;
  try {
    value = plain(unpackr.unpack(bytes), 0);
  } catch {
    return failure('malformed', 'expected one MessagePack map, found other bytes');
  }
  if (isFailure(value)) return value;
  if (typeof value === 'object' && value !== null && 'version' in value && value.version !== PROTOCOL_VERSION) {
    return failure('version-mismatch', `this side speaks protocol version ${PROTOCOL_VERSION}, the other side ${String(value.version).slice(0, 20)}; install the same release of antiphon on both`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return failure('malformed', `not a message of this protocol: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.slice(0, 300));
}

/** Only JSON-like values and byte strings, each byte string an aligned copy; anything else (extensions, dates, maps, deep nests) throws. */
function plain(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new TypeError('nested too deeply');
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  if (typeof value === 'object') {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) throw new TypeError('not plain');
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner, depth + 1)]));
  }
  throw new TypeError('not plain');
}
