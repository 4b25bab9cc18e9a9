import { Packr, Unpackr } from 'msgpackr';
import type { z } from 'zod';
import { isLowOrderKey } from '../crypto/low-order.ts';
import { failure, type Failure } from './failure.ts';
import { requirePlainMessagePack } from './message-pack.ts';
import { coordinatorMessageSchema, LIMITS, PROTOCOL_VERSION, siteMessageSchema, type CoordinatorMessage, type SiteMessage } from './messages.ts';

/** The one door between messages and bytes: plain MessagePack, its structure checked before it is decoded, then the schema. */
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });

export function encodeMessage(message: SiteMessage | CoordinatorMessage): Uint8Array {
  return new Uint8Array(packr.pack(message));
}

export function decodeSiteMessage(bytes: Uint8Array): SiteMessage | Failure {
  return decode(siteMessageSchema, bytes);
}

export function decodeCoordinatorMessage(bytes: Uint8Array): CoordinatorMessage | Failure {
  return decode(coordinatorMessageSchema, bytes);
}

/** Never throws, whatever the bytes. */
function decode<T extends SiteMessage | CoordinatorMessage>(schema: z.ZodType<T>, bytes: Uint8Array): T | Failure {
  if (bytes.length > LIMITS.frameBytes) return failure('too-large', `expected at most ${LIMITS.frameBytes} bytes in a message, found ${bytes.length}`);
  let value: unknown;
  try {
    requirePlainMessagePack(bytes);
    value = owned(unpackr.unpack(bytes));
  } catch {
    return failure('malformed', 'expected one plain MessagePack map, found other bytes');
  }
  // Before the schema: another version's messages may have other fields.
  if (typeof value === 'object' && value !== null && 'version' in value && typeof value.version === 'number' && value.version !== PROTOCOL_VERSION) {
    return failure('version-mismatch', `this side speaks protocol version ${PROTOCOL_VERSION}, the other side ${value.version}; install the same release of antiphon on both`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return failure('malformed', `not a message of this protocol: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.slice(0, 300));
  }
  const message: SiteMessage | CoordinatorMessage = parsed.data;
  if ('roundKey' in message && isLowOrderKey('x25519', message.roundKey)) return failure('malformed', 'expected a round key that can give a secret, found a low-order point');
  return parsed.data;
}

/** Each byte string an aligned copy: the decoder hands out views into the frame. */
function owned(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(owned);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, owned(inner)]));
}
