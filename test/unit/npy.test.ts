import { describe, expect, it } from 'vitest';
import { utf8, concatBytes } from '../../shared/bytes.ts';
import { formatNpy, parseNpy } from '../../shared/data/npy.ts';

/** What numpy.save writes for numpy.array([[1, -2, 3]], dtype='<i2'), byte by byte. */
const INT16 = concatBytes(
  Uint8Array.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 0x76, 0]),
  utf8(`${"{'descr': '<i2', 'fortran_order': False, 'shape': (1, 3), }".padEnd(117)}\n`),
  Uint8Array.from([1, 0, 0xfe, 0xff, 3, 0]),
);

function npy(descr: string, shape: string, data: Uint8Array, version = 1, order = 'False'): Uint8Array {
  const header = utf8(`{'descr': ${descr}, 'fortran_order': ${order}, 'shape': (${shape}), }\n`);
  const length = version === 1 ? [header.length, 0] : [header.length, 0, 0, 0];
  return concatBytes(Uint8Array.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...length]), header, data);
}

describe('NumPy files', () => {
  it('reads what NumPy writes', () => {
    const { shape, data } = parseNpy(INT16, 'x.npy');
    expect(shape).toEqual([1, 3]);
    expect(data).toEqual(Int16Array.from([1, -2, 3]));
  });

  it('reads every supported type, in all three format versions, at any alignment', () => {
    const eight = new Uint8Array(8);
    const view = new DataView(eight.buffer);
    view.setFloat64(0, -1.5, true);
    expect([...parseNpy(npy("'<f8'", '1,', eight), 'x').data]).toEqual([-1.5]);
    view.setBigInt64(0, -5_000_000_000n, true);
    expect([...parseNpy(npy("'<i8'", '1,', eight, 2), 'x').data]).toEqual([-5_000_000_000]);
    view.setInt32(0, -70_000, true);
    expect([...parseNpy(npy("'<i4'", '1,', eight.slice(0, 4), 3), 'x').data]).toEqual([-70_000]);
    expect(parseNpy(npy("'<u2'", '1,', Uint8Array.from([0xff, 0xfe])), 'x').data).toEqual(Uint16Array.from([0xfeff]));
    expect(parseNpy(npy("'|i1'", '2,', Uint8Array.from([0xff, 2])), 'x').data).toEqual(Int8Array.from([-1, 2]));
    expect(parseNpy(npy("'|b1'", '2,', Uint8Array.from([1, 0])), 'x').data).toEqual(Uint8Array.from([1, 0]));
    const floats = formatNpy({ shape: [1, 2], data: Float32Array.from([Number.NaN, 2.5]) });
    const misaligned = concatBytes(Uint8Array.from([7]), floats).subarray(1);
    expect(parseNpy(misaligned, 'x')).toEqual({ shape: [1, 2], data: Float32Array.from([Number.NaN, 2.5]) });
  });

  it('keeps bytes as bytes, without a copy', () => {
    const file = formatNpy({ shape: [2, 2], data: Uint8Array.from([9, 8, 7, 6]) });
    const { data } = parseNpy(file, 'x');
    expect(data).toBeInstanceOf(Uint8Array);
    expect(data.buffer).toBe(file.buffer);
  });

  it('writes headers that end on a multiple of 64 bytes, as NumPy does', () => {
    for (const shape of [[3], [1, 3], [1, 1, 3]]) {
      const file = formatNpy({ shape, data: Uint8Array.from([1, 2, 3]) });
      expect((file.length - 3) % 64).toBe(0);
      expect(parseNpy(file, 'x').shape).toEqual(shape);
    }
  });

  it('reads negative and large numbers of every width as they are, and the largest exact 64-bit integer', () => {
    expect([...parseNpy(npy("'<i2'", '2,', Uint8Array.from([0xff, 0xff, 0xff, 0x7f])), 'x').data]).toEqual([-1, 32_767]);
    expect([...parseNpy(npy("'<i4'", '2,', Uint8Array.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x80])), 'x').data]).toEqual([-1, -(2 ** 31)]);
    const wide = new DataView(new ArrayBuffer(16));
    wide.setBigInt64(0, BigInt(Number.MAX_SAFE_INTEGER), true);
    wide.setBigInt64(8, -BigInt(Number.MAX_SAFE_INTEGER), true);
    expect([...parseNpy(npy("'<i8'", '2,', new Uint8Array(wide.buffer)), 'x').data]).toEqual([Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER]);
    wide.setBigInt64(8, BigInt(Number.MAX_SAFE_INTEGER) + 1n, true);
    expect(() => parseNpy(npy("'<i8'", '2,', new Uint8Array(wide.buffer)), 'x')).toThrow(/beyond 2\^53/);
  });

  it('reads headers longer than 255 bytes, and files that begin inside a larger buffer', () => {
    const long = npy(`'<f4'${' '.repeat(300)}`, '1,', Uint8Array.from([0, 0, 0x20, 0x40]), 2);
    new DataView(long.buffer, long.byteOffset).setUint32(8, long.length - 4 - 12, true);
    expect([...parseNpy(long, 'x').data]).toEqual([2.5]);
    const header = utf8(`{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }${' '.repeat(300)}\n`);
    const file = concatBytes(Uint8Array.from([9, 9, 9, 0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length % 256, Math.floor(header.length / 256)]), header, Uint8Array.from([0xfe, 5]));
    expect([...parseNpy(file.subarray(3), 'x').data]).toEqual([-2, 5]);
    for (const type of ["'|u1'", "'|b1'"]) expect([...parseNpy(concatBytes(Uint8Array.from([9, 9, 9]), npy(type, '2,', Uint8Array.from([1, 0]))).subarray(3), 'x').data]).toEqual([1, 0]);
  });

  it('says of a file that ends anywhere in its header that it is cut off, or no such file', () => {
    for (const version of [1, 2, 3]) {
      const whole = npy("'<f4'", '1,', new Uint8Array(4), version);
      for (let length = 0; length < whole.length - 4; length += 1) expect(() => parseNpy(whole.slice(0, length), 'x'), `${length} bytes of version ${version}`).toThrow(length < 10 ? /another kind of file/ : /cut off in its header/);
      expect(() => parseNpy(whole.slice(0, -4), 'x')).toThrow(/0 bytes of data where shape \[1\] of <f4 needs 4/);
    }
    expect(() => parseNpy(npy("'<f4'", '1,', new Uint8Array(4), 0), 'x')).toThrow(/version 0/);
  });

  it('writes the header of one dimension as the tuple that Python reads', () => {
    expect(new TextDecoder().decode(formatNpy({ shape: [3], data: Uint8Array.from([1, 2, 3]) }).subarray(10, 70))).toContain("'shape': (3,), }");
  });

  const bad: [string, Uint8Array, RegExp][] = [
    ['another kind of file', utf8('patient,label\n1,2\n'), /another kind of file.*numpy\.save/],
    ['Fortran order', npy("'<f4'", '1, 1', new Uint8Array(4), 1, 'True'), /Fortran order.*ascontiguousarray/],
    ['big endian', npy("'>f4'", '1,', new Uint8Array(4)), /big-endian.*astype\("<f4"\)/],
    ['Python objects', npy("'|O'", '1,', new Uint8Array(4)), /Python objects/],
    ['records with fields', npy("[('a', '<f4')]", '1,', new Uint8Array(4)), /named fields/],
    ['complex numbers', npy("'<c8'", '1,', new Uint8Array(8)), /type <c8/],
    ['an unknown version', npy("'<f4'", '1,', new Uint8Array(4), 4), /version 4/],
    ['data cut off', npy("'<f4'", '3,', new Uint8Array(8)), /8 bytes of data where shape \[3\] of <f4 needs 12/],
    ['surplus data', npy("'|u1'", '3,', new Uint8Array(8)), /8 bytes of data where shape \[3\] of \|u1 needs 3/],
    ['a header cut off', INT16.slice(0, 40), /cut off in its header/],
    ['a shape beyond memory', npy("'|u1'", '99999999999, 99999999999', new Uint8Array(1)), /1 bytes of data/],
    ['integers beyond 2^53', npy("'<i8'", '1,', Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0x7f])), /beyond 2\^53/],
  ];
  it.each(bad)('refuses %s and says what to do', (_, bytes, message) => {
    expect(() => parseNpy(bytes, 'values.npy')).toThrow(message);
    expect(() => parseNpy(bytes, 'values.npy')).toThrow(/values\.npy/);
  });
});
