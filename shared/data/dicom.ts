import type { DicomSpec } from '../study/schema.ts';
import type { Unreadable } from './files.ts';
import type { Picture } from './resize.ts';

/** The pixels of a DICOM file and what says how to read them (PS3.3 C.7.6.3); nothing else of its header is taken. */
export interface DicomImage {
  readonly rows: number;
  readonly columns: number;
  readonly samplesPerPixel: number;
  readonly photometric: string;
  readonly bitsAllocated: number;
  readonly bitsStored: number;
  readonly highBit: number;
  readonly isSigned: boolean;
  /** Colours one plane after the other instead of pixel by pixel. */
  readonly isPlanar: boolean;
  readonly frames: number;
  readonly rescaleSlope: number;
  readonly rescaleIntercept: number;
  /** Little-endian. */
  readonly pixels: Uint8Array;
}

/**
 * In 0..1. Monochrome, with x the stored value times slope plus intercept: the linear window of PS3.3 C.11.2.1.2.1,
 *   y = clamp((x - (centre - 1/2)) / (width - 1) + 1/2, 0, 1),
 * and 1 - y for MONOCHROME1, whose small values are white. RGB: stored values over the largest that their bits can hold.
 */
export function dicomPicture(image: DicomImage, { window, channels, maxPixels }: { readonly window: DicomSpec['window']; readonly channels: number; readonly maxPixels: number }): Picture | Unreadable {
  const { rows, columns, photometric, samplesPerPixel, bitsStored, rescaleSlope, rescaleIntercept } = image;
  const fault = faultOf(image, { channels, maxPixels });
  if (fault !== undefined) return { unreadable: fault };
  const stored = storedValue(image);
  const data = new Float32Array(rows * columns * channels);
  if (photometric === 'RGB') {
    const top = 2 ** bitsStored - 1;
    const at = image.isPlanar ? (i: number): number => (i % 3) * rows * columns + Math.floor(i / 3) : (i: number): number => i;
    for (let i = 0; i < data.length; i += 1) data[i] = stored(at(i)) / top;
    return { height: rows, width: columns, channels: samplesPerPixel, data };
  }
  if (window === undefined) return { unreadable: 'it is monochrome, which needs "window" in the study' };
  for (let i = 0; i < data.length; i += 1) {
    const x = stored(i) * rescaleSlope + rescaleIntercept;
    const y = Math.min(1, Math.max(0, (x - (window.centre - 0.5)) / (window.width - 1) + 0.5));
    data[i] = photometric === 'MONOCHROME1' ? 1 - y : y;
  }
  return { height: rows, width: columns, channels: 1, data };
}

function faultOf(image: DicomImage, { channels, maxPixels }: { readonly channels: number; readonly maxPixels: number }): string | undefined {
  const { rows, columns, samplesPerPixel, photometric, bitsAllocated, bitsStored, highBit, frames, pixels, rescaleSlope, rescaleIntercept } = image;
  const found = photometric === 'RGB' ? 3 : photometric === 'MONOCHROME1' || photometric === 'MONOCHROME2' ? 1 : undefined;
  if (found === undefined) return 'expected MONOCHROME1, MONOCHROME2 or RGB pixels, found another photometric interpretation; convert it, for example with dcmdjpeg or gdcmconv';
  if (found !== channels) return `expected ${channels === 1 ? 'monochrome' : 'RGB'} pixels, as the shape says, found ${found === 1 ? 'monochrome' : 'RGB'}`;
  if (samplesPerPixel !== found) return `its ${samplesPerPixel} samples per pixel contradict its photometric interpretation`;
  if (frames !== 1) return `expected one frame, found ${frames}; write each frame to a file of its own`;
  if (rows < 1 || columns < 1) return 'it has no pixels';
  if (rows * columns > maxPixels) return `it has ${rows} x ${columns} pixels, more than maxPixels (${maxPixels}) in the study`;
  if (![8, 16, 32].includes(bitsAllocated)) return `expected 8, 16 or 32 bits per sample, found ${bitsAllocated}`;
  if (bitsStored < 1 || bitsStored > bitsAllocated || highBit !== bitsStored - 1) return 'its bits stored, allocated and high bit do not fit together';
  if (image.isSigned && found === 3) return 'signed RGB pixels have no meaning';
  if (!Number.isFinite(rescaleSlope) || !Number.isFinite(rescaleIntercept)) return 'its rescale slope or intercept is no number';
  const bytes = (rows * columns * samplesPerPixel * bitsAllocated) / 8;
  if (pixels.length < bytes) return `its pixels are cut off: expected ${bytes} bytes, found ${pixels.length}`;
  return undefined;
}

/** Sample i without the bits above `highBit`, which may hold something else; two's complement where signed. */
function storedValue({ pixels, bitsAllocated, bitsStored, isSigned }: DicomImage): (i: number) => number {
  const view = new DataView(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  const spare = 32 - bitsStored;
  const raw = (i: number): number => (bitsAllocated === 8 ? view.getUint8(i) : bitsAllocated === 16 ? view.getUint16(2 * i, true) : view.getUint32(4 * i, true));
  return isSigned ? (i) => (raw(i) << spare) >> spare : (i) => (raw(i) << spare) >>> spare;
}
