import { concatBytes, utf8 } from '../../shared/bytes.ts';

export interface WrittenDicom {
  readonly rows: number;
  readonly columns: number;
  readonly photometric?: string;
  readonly samplesPerPixel?: number;
  readonly bitsAllocated?: number;
  readonly bitsStored?: number;
  readonly highBit?: number;
  readonly signed?: boolean;
  readonly planar?: boolean;
  readonly frames?: number;
  readonly slope?: string;
  readonly intercept?: string;
  readonly pixels: Uint8Array;
  readonly transferSyntax?: string;
  /** Patient's name. */
  readonly name?: string;
}

export const IMPLICIT = '1.2.840.10008.1.2';
export const EXPLICIT = '1.2.840.10008.1.2.1';

/** A DICOM file (PS3.10), as short as one can be; elements in the order of their tags. */
export function writeDicom(image: WrittenDicom): Uint8Array {
  const { rows, columns, photometric = 'MONOCHROME2', samplesPerPixel = 1, bitsAllocated = 16, bitsStored = bitsAllocated, highBit = bitsStored - 1, signed = false, planar, frames, slope, intercept, pixels, transferSyntax = EXPLICIT, name = 'Doe^Jane' } = image;
  const explicit = transferSyntax !== IMPLICIT;
  const text = (tag: number, vr: string, value: string | undefined) => (value === undefined ? [] : [element({ tag, vr, value: padded(utf8(value)), explicit })]);
  const us = (tag: number, value: number | undefined) => (value === undefined ? [] : [element({ tag, vr: 'US', value: Uint8Array.of(value & 255, value >> 8), explicit })]);
  const syntax = element({ tag: 0x00020010, vr: 'UI', value: padded(utf8(transferSyntax), 0), explicit: true });
  const groupLength = element({ tag: 0x00020000, vr: 'UL', value: Uint8Array.of(syntax.length, 0, 0, 0), explicit: true });
  return concatBytes(
    new Uint8Array(128),
    utf8('DICM'),
    groupLength,
    syntax,
    ...text(0x00100010, 'PN', name),
    ...us(0x00280002, samplesPerPixel),
    ...text(0x00280004, 'CS', photometric),
    ...us(0x00280006, planar === undefined ? undefined : Number(planar)),
    ...text(0x00280008, 'IS', frames?.toString()),
    ...us(0x00280010, rows),
    ...us(0x00280011, columns),
    ...us(0x00280100, bitsAllocated),
    ...us(0x00280101, bitsStored),
    ...us(0x00280102, highBit),
    ...us(0x00280103, Number(signed)),
    ...text(0x00281050, 'DS', '999'),
    ...text(0x00281051, 'DS', '7'),
    ...text(0x00281052, 'DS', intercept),
    ...text(0x00281053, 'DS', slope),
    element({ tag: 0x7fe00010, vr: bitsAllocated > 8 ? 'OW' : 'OB', value: padded(pixels, 0), explicit }),
  );
}

function element({ tag, vr, value, explicit }: { readonly tag: number; readonly vr: string; readonly value: Uint8Array; readonly explicit: boolean }): Uint8Array {
  const long = !explicit || ['OB', 'OW'].includes(vr);
  const header = new Uint8Array(explicit && long ? 12 : 8);
  const view = new DataView(header.buffer);
  view.setUint16(0, tag >>> 16, true);
  view.setUint16(2, tag & 0xffff, true);
  if (explicit) header.set(utf8(vr), 4);
  if (long) view.setUint32(header.length - 4, value.length, true);
  else view.setUint16(6, value.length, true);
  return concatBytes(header, value);
}

/** Values have an even length: text ends in a space, all else in a zero. */
function padded(value: Uint8Array, filler = 0x20): Uint8Array {
  return value.length % 2 === 0 ? value : concatBytes(value, Uint8Array.of(filler));
}
