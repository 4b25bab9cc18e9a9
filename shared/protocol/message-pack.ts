import { fromUtf8 } from '../bytes.ts';

/** No message has more nested levels or values than these: a small frame cannot ask for much work or memory. */
const MAX_DEPTH = 8;
const MAX_VALUES = 4096;

/**
 * Throws unless `bytes` are exactly one MessagePack value made of maps with distinct text keys, arrays, valid UTF-8, byte strings,
 * numbers of at most 32 bits or doubles, booleans and nil. Nothing is built: it runs before the decoder, which would
 * allocate for what a header claims and take extensions (records, references, regular expressions) at their word.
 */
export function requirePlainMessagePack(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  let values = 0;

  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new RangeError(`expected ${length} more bytes, found ${bytes.length - at}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  const unsigned = (width: 1 | 2 | 4): number => {
    const start = at;
    take(width);
    return width === 1 ? view.getUint8(start) : width === 2 ? view.getUint16(start, false) : view.getUint32(start, false);
  };
  const array = (length: number, depth: number): void => {
    for (let i = 0; i < length; i += 1) value(depth + 1);
  };
  const map = (length: number, depth: number): void => {
    const keys = new Set<string>();
    for (let i = 0; i < length; i += 1) {
      const key = value(depth + 1);
      if (key === undefined || keys.has(key)) throw new TypeError('expected distinct text keys');
      keys.add(key);
      value(depth + 1);
    }
  };

  /** The text, where the value is one. */
  const value = (depth: number): string | undefined => {
    values += 1;
    if (depth > MAX_DEPTH || values > MAX_VALUES) throw new RangeError('expected a message, found a larger structure');
    const token = unsigned(1);
    if (token <= 0x7f || token >= 0xe0) return undefined;
    if (token <= 0x8f) return void map(token & 15, depth);
    if (token <= 0x9f) return void array(token & 15, depth);
    if (token <= 0xbf) return fromUtf8(take(token & 31));
    switch (token) {
      case 0xc0: // nil, false, true
      case 0xc2:
      case 0xc3:
        return undefined;
      case 0xc4:
        return void take(unsigned(1));
      case 0xc5:
        return void take(unsigned(2));
      case 0xc6:
        return void take(unsigned(4));
      case 0xcc: // 8-bit integers
      case 0xd0:
        return void take(1);
      case 0xcd:
      case 0xd1:
        return void take(2);
      case 0xca: // float 32; 32-bit integers
      case 0xce:
      case 0xd2:
        return void take(4);
      case 0xcb: // float 64
        return void take(8);
      case 0xd9:
        return fromUtf8(take(unsigned(1)));
      case 0xda:
        return fromUtf8(take(unsigned(2)));
      case 0xdb:
        return fromUtf8(take(unsigned(4)));
      case 0xdc:
        return void array(unsigned(2), depth);
      case 0xdd:
        return void array(unsigned(4), depth);
      case 0xde:
        return void map(unsigned(2), depth);
      case 0xdf:
        return void map(unsigned(4), depth);
      default: // extensions, 64-bit integers, the unused c1
        throw new TypeError(`expected plain MessagePack, found the token 0x${token.toString(16)}`);
    }
  };

  value(0);
  if (at !== bytes.length) throw new RangeError(`expected one value, found ${bytes.length - at} bytes after it`);
}
