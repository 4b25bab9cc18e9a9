import { concatBytes, utf8 } from '../bytes.ts';

/** Fields one after the other, each behind its 4-byte big-endian length: no two lists of fields give the same bytes. */
export function lengthPrefixed(...fields: readonly (Uint8Array | string | number)[]): Uint8Array<ArrayBuffer> {
  return concatBytes(
    ...fields.flatMap((field) => {
      const bytes = typeof field === 'number' ? uint32(field) : typeof field === 'string' ? utf8(field) : field;
      return [uint32(bytes.length), bytes];
    }),
  );
}

export function uint32(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, false);
  return bytes;
}
