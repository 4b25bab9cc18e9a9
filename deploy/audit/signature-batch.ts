import type { Primitives } from '../../shared/crypto/primitives.ts';

/** Signatures to verify, packed into one buffer that can be handed to another thread without copying. */
export interface SignatureBatch {
  /** Copies what it is given. */
  readonly add: (line: number, message: Uint8Array, signature: Uint8Array, publicKey: Uint8Array) => void;
  readonly size: () => number;
  /** Everything so far; the batch is empty again. */
  readonly take: () => Uint8Array<ArrayBuffer>;
}

/** Per signature: line, length of the message (4 bytes each), public key, signature, message. */
const [KEY_BYTES, SIGNATURE_BYTES, FIXED_BYTES] = [32, 64, 104];

/** The caller has made sure that the key has 32 bytes and the signature 64. */
export function createBatch(): SignatureBatch {
  let bytes = new Uint8Array(1 << 16);
  let used = 0;
  let size = 0;
  return {
    size: () => size,
    add: (line, message, signature, publicKey) => {
      const end = used + FIXED_BYTES + message.length;
      if (end > bytes.length) {
        const larger = new Uint8Array(Math.max(end, 2 * bytes.length));
        larger.set(bytes.subarray(0, used));
        bytes = larger;
      }
      const view = new DataView(bytes.buffer);
      view.setUint32(used, line);
      view.setUint32(used + 4, message.length);
      bytes.set(publicKey, used + 8);
      bytes.set(signature, used + 8 + KEY_BYTES);
      bytes.set(message, used + FIXED_BYTES);
      used = end;
      size += 1;
    },
    take: () => {
      const taken = bytes.slice(0, used);
      [used, size] = [0, 0];
      return taken;
    },
  };
}

/** The line of the first signature that is bad; lines come in order. */
export function firstBadLine(primitives: Pick<Primitives, 'verify'>, batch: Uint8Array): number | undefined {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  for (let at = 0; at < batch.length; ) {
    const message = at + FIXED_BYTES;
    const end = message + view.getUint32(at + 4);
    const key = at + 8;
    const signature = key + KEY_BYTES;
    if (!primitives.verify(batch.subarray(message, end), batch.subarray(signature, signature + SIGNATURE_BYTES), batch.subarray(key, key + KEY_BYTES))) return view.getUint32(at);
    at = end;
  }
  return undefined;
}
