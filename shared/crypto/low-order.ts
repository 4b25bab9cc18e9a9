import { toHex } from '../bytes.ts';

/**
 * Keys that are points of small order (cr.yp.to/ecdh.html; ePrint 2020/1244). With one as X25519 peer the shared secret is all
 * zeros; under one as Ed25519 key anybody can make a signature that verifies, so that it would attribute nothing. Both curves
 * share five spellings (0, 1, -1 and the non-canonical 0 and 1). The top bit is left out: X25519 ignores it, Ed25519 keeps x's sign in it.
 */
const BOTH = ['00'.repeat(32), `01${'00'.repeat(31)}`, `ec${'ff'.repeat(30)}7f`, `ed${'ff'.repeat(30)}7f`, `ee${'ff'.repeat(30)}7f`];
const X25519 = new Set([
  ...BOTH,
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
]);
const ED25519 = new Set([
  ...BOTH,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);

export function isLowOrderKey(curve: 'x25519' | 'ed25519', publicKey: Uint8Array): boolean {
  const y = Uint8Array.from(publicKey);
  y[31] = (y[31] ?? 0) & 0x7f;
  return (curve === 'x25519' ? X25519 : ED25519).has(toHex(y));
}
