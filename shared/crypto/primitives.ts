/**
 * The few primitives everything else is built on, behind one door so that `shared` runs without Node.
 * The Node implementation is `shared/platform/primitives.ts` (node:crypto); keys, signatures and shared secrets are
 * byte-compatible with tweetnacl, which generates the keys.
 */
export interface Primitives {
  /** CSPRNG bytes. Throws if the system has none; never falls back. */
  readonly randomBytes: (length: number) => Uint8Array;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  /** SHA-256 of the parts, one after the other, without joining them. */
  readonly sha256Parts: (parts: readonly Uint8Array[]) => Uint8Array;
  /** Ed25519 (RFC 8032). `secretKey`: the 32-byte seed. Returns 64 bytes. */
  readonly sign: (message: Uint8Array, secretKey: Uint8Array) => Uint8Array;
  /** False for any malformed key or signature; never throws. */
  readonly verify: (message: Uint8Array, signature: Uint8Array, publicKey: Uint8Array) => boolean;
  /** X25519 (RFC 7748), raw shared secret, 32 bytes. Throws on an all-zero result (low-order point). */
  readonly x25519: (secretKey: Uint8Array, publicKey: Uint8Array) => Uint8Array;
  /** HKDF-SHA-256 (RFC 5869). */
  readonly hkdf: (secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number) => Uint8Array;
  /** AES-256-GCM; 12-byte nonce, result = ciphertext || 16-byte tag. */
  readonly aeadSeal: (key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array) => Uint8Array<ArrayBuffer>;
  /** Undefined when the tag does not verify. */
  readonly aeadOpen: (key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, aad: Uint8Array) => Uint8Array | undefined;
}
