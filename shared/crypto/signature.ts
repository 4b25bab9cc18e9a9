import { concatBytes, utf8 } from '../bytes.ts';
import { isLowOrderKey } from './low-order.ts';
import type { Primitives } from './primitives.ts';

/** What a signature is for; a signature made in one domain never verifies in another. */
export type Domain = 'ledger-line' | 'enrol' | 'receipt' | 'refusal' | 'session' | 'frame';

/** Signed bytes: "antiphon/v1/" domain NUL message. */
function signedBytes(domain: Domain, message: Uint8Array): Uint8Array {
  return concatBytes(utf8(`antiphon/v1/${domain}\0`), message);
}

export function signDomain(input: { readonly primitives: Primitives; readonly domain: Domain; readonly message: Uint8Array; readonly secretKey: Uint8Array }): Uint8Array {
  return input.primitives.sign(signedBytes(input.domain, input.message), input.secretKey);
}

/** False under a key of small order too, whatever the signature: anybody could have made it. */
export function verifyDomain(input: {
  readonly primitives: Primitives;
  readonly domain: Domain;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly publicKey: Uint8Array;
}): boolean {
  return !isLowOrderKey('ed25519', input.publicKey) && input.primitives.verify(signedBytes(input.domain, input.message), input.signature, input.publicKey);
}
