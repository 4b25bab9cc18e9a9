const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const VALUES: ReadonlyMap<string, number> = new Map(Array.from(ALPHABET, (digit, value) => [digit, value]));

/** RFC 4648 section 4, with padding. */
export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const group = (bytes[i]! << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const digits = Math.min(4, bytes.length - i + 1);
    for (let d = 0; d < 4; d += 1) text += d < digits ? ALPHABET.charAt((group >> (18 - 6 * d)) & 63) : '=';
  }
  return text;
}

/** Undefined for all but the one spelling that `toBase64` gives: other alphabets, no or more padding, stray bits in the last digit. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (text.length % 4 !== 0) return undefined;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  let [group, bits, length] = [0, 0, 0];
  for (let i = 0; i < text.length - padding; i += 1) {
    const value = VALUES.get(text.charAt(i));
    if (value === undefined) return undefined;
    group = ((group << 6) | value) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[length] = group >> bits;
    length += 1;
  }
  return (group & ((1 << bits) - 1)) === 0 ? bytes : undefined;
}
