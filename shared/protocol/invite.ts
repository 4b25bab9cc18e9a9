import { z } from 'zod';
import { concatBytes, fromHex, fromUtf8, toHex, utf8 } from '../bytes.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { AntiphonError } from '../errors.ts';

/** What a study lead hands to one site, once: whom to call, whose key to expect, which place in the study it opens. */
export interface Invite {
  readonly url: string;
  /** Study hash and coordinator's Ed25519 key, hex. */
  readonly study: string;
  readonly coordinatorKey: string;
  readonly site: string;
  readonly modality: string;
  /** 32 bytes; sensitive until used. */
  readonly secret: Uint8Array;
  /** Milliseconds since 1970, UTC. */
  readonly expiresAt: number;
}

const PREFIX = 'antiphon-invite-1.';
const CHECKSUM_BYTES = 4;

const schema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  study: z.string().regex(/^[0-9a-f]{64}$/),
  coordinatorKey: z.string().regex(/^[0-9a-f]{64}$/),
  site: z.string().min(1).max(64),
  modality: z.string().min(1).max(64),
  secret: z.string().regex(/^[0-9a-f]{64}$/),
  expiresAt: z.int().min(0),
});

/** `antiphon-invite-1.` base64url( JSON, first 4 bytes of its SHA-256 ). */
export function encodeInvite(primitives: Pick<Primitives, 'sha256'>, invite: Invite): string {
  const json = utf8(JSON.stringify({ ...invite, secret: toHex(invite.secret) }));
  return PREFIX + toBase64Url(concatBytes(json, primitives.sha256(json).subarray(0, CHECKSUM_BYTES)));
}

export function decodeInvite(primitives: Pick<Primitives, 'sha256'>, text: string): Invite {
  const invalid = (found: string): AntiphonError => new AntiphonError('invite-invalid', `expected an invite as \`npx antiphon coordinator invite\` prints it, found ${found}; copy the whole line again or ask the study lead for a new one`);
  const trimmed = text.trim();
  if (!trimmed.startsWith(PREFIX)) throw invalid(`text that does not begin with "${PREFIX}"`);
  const bytes = fromBase64Url(trimmed.slice(PREFIX.length));
  const json = bytes?.subarray(0, -CHECKSUM_BYTES);
  if (bytes === undefined || json === undefined || toHex(primitives.sha256(json).subarray(0, CHECKSUM_BYTES)) !== toHex(bytes.subarray(-CHECKSUM_BYTES))) {
    throw invalid('a damaged or truncated one');
  }
  const parsed = schema.safeParse(parseJson(json));
  if (!parsed.success) throw invalid(`one of another version (${parsed.error.issues[0]?.message ?? ''})`);
  return { ...parsed.data, secret: fromHex(parsed.data.secret, 32) };
}

/** Undefined for anything else: a matching checksum does not make bytes JSON. */
function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(bytes));
  } catch {
    return undefined;
  }
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function toBase64Url(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const group = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const digits = Math.min(4, bytes.length - i + 1);
    for (let d = 0; d < digits; d += 1) text += ALPHABET.charAt((group >> (18 - 6 * d)) & 63);
  }
  return text;
}

function fromBase64Url(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return undefined;
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i += 4) {
    const digits = text.slice(i, i + 4);
    let group = 0;
    for (let d = 0; d < 4; d += 1) group = (group << 6) | (d < digits.length ? ALPHABET.indexOf(digits[d] ?? 'A') : 0);
    for (let b = 0; b < digits.length - 1; b += 1) bytes.push((group >> (16 - 8 * b)) & 255);
  }
  return Uint8Array.from(bytes);
}
