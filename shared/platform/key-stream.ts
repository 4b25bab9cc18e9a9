import { createCipheriv, randomBytes, type Cipher } from 'node:crypto';
import type { RandomSource } from '../privacy/random.ts';

const REKEY_BYTES = 2 ** 32;

/**
 * AES-256-CTR key stream under a key from the system's CSPRNG: a CSPRNG of its own, about 1 GB/s. A fresh key for every stream and
 * after every 4 GiB; nothing can seed it.
 */
export function createKeyStream(): RandomSource {
  let cipher: Cipher | undefined;
  let used = 0;
  return {
    bytes: (length) => {
      if (cipher === undefined || used + length > REKEY_BYTES) {
        cipher = createCipheriv('aes-256-ctr', randomBytes(32), randomBytes(16));
        used = 0;
      }
      used += length;
      return cipher.update(new Uint8Array(length));
    },
  };
}
