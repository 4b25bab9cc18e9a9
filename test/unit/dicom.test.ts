import { describe, expect, it } from 'vitest';
import { dicomPicture } from '../../shared/data/dicom.ts';
import { resizePicture } from '../../shared/data/resize.ts';
import { decodeDicom } from '../../shared/platform/decoders/dicom.ts';
import { EXPLICIT, IMPLICIT, writeDicom, type WrittenDicom } from '../support/dicom-writer.ts';

const WINDOW = { centre: 40.5, width: 81 };
const little = (values: readonly number[], bytes: number): Uint8Array => Uint8Array.from(values.flatMap((value) => Array.from({ length: bytes }, (_, i) => (value >> (8 * i)) & 255)));

async function read(file: Uint8Array, change: { channels?: number; window?: typeof WINDOW | undefined; maxPixels?: number } = {}) {
  const image = await decodeDicom(file);
  if ('unreadable' in image) return image;
  const picture = dicomPicture(image, { window: WINDOW, channels: 1, maxPixels: 1000, ...change });
  return 'unreadable' in picture ? picture : { ...picture, data: Array.from(picture.data, (x) => Math.round(1000 * x) / 1000) };
}

const plain: WrittenDicom = { rows: 2, columns: 3, pixels: little([0, 8, 20, 40, 60, 99], 2) };

describe('a DICOM picture', () => {
  it.each([EXPLICIT, IMPLICIT])('of transfer syntax %s goes through the window of the study', async (transferSyntax) => {
    expect(await read(writeDicom({ ...plain, transferSyntax }))).toEqual({ height: 2, width: 3, channels: 1, data: [0, 0.1, 0.25, 0.5, 0.75, 1] });
  });

  it('is rescaled first, and MONOCHROME1 inverted last', async () => {
    const rescaled = { ...plain, slope: '0.5', intercept: '10', photometric: 'MONOCHROME1', bitsStored: 12 };
    expect(await read(writeDicom(rescaled))).toMatchObject({ data: [0.875, 0.825, 0.75, 0.625, 0.5, 0.256] });
  });

  it('leaves out the bits above the stored ones, with sign and without, of 8, 16 and 32', async () => {
    const window = { centre: 0.5, width: 17 };
    expect(await read(writeDicom({ ...plain, rows: 1, columns: 2, pixels: little([0xf004, 0xa008], 2), bitsStored: 12 }), { window })).toMatchObject({ data: [0.75, 1] });
    expect(await read(writeDicom({ ...plain, rows: 1, columns: 2, pixels: little([0x0fff, 0x0004], 2), bitsStored: 12, signed: true }), { window })).toMatchObject({ data: [0.438, 0.75] });
    expect(await read(writeDicom({ ...plain, rows: 1, columns: 3, pixels: Uint8Array.of(4, 0xfc, 0), bitsAllocated: 8, signed: true }), { window })).toMatchObject({ data: [0.75, 0.25, 0.5] });
    expect(await read(writeDicom({ ...plain, rows: 1, columns: 2, pixels: little([-4, 4], 4), bitsAllocated: 32, signed: true }), { window })).toMatchObject({ data: [0.25, 0.75] });
  });

  it.each([false, true])('has colours by pixel or by plane (%s)', async (planar) => {
    const pixels = planar ? Uint8Array.of(255, 102, 0, 153, 51, 204) : Uint8Array.of(255, 0, 51, 102, 153, 204);
    const file = writeDicom({ rows: 1, columns: 2, photometric: 'RGB', samplesPerPixel: 3, bitsAllocated: 8, planar, pixels });
    expect(await read(file, { channels: 3, window: undefined })).toEqual({ height: 1, width: 2, channels: 3, data: [1, 0, 0.2, 0.4, 0.6, 0.8] });
  });

  const bad: [string, Partial<WrittenDicom>, RegExp][] = [
    ['JPEG 2000', { transferSyntax: '1.2.840.10008.1.2.4.90' }, /found JPEG 2000 encoding; convert it with gdcmconv --raw/],
    ['JPEG', { transferSyntax: '1.2.840.10008.1.2.4.50' }, /found JPEG encoding/],
    ['deflation', { transferSyntax: '1.2.840.10008.1.2.1.99' }, /found deflated encoding/],
    ['big-endian', { transferSyntax: '1.2.840.10008.1.2.2' }, /found big-endian encoding/],
    ['an encoding nobody knows', { transferSyntax: '1.2.3.4.5.6' }, /found another encoding/],
    ['a palette', { photometric: 'PALETTE COLOR' }, /expected MONOCHROME1, MONOCHROME2 or RGB/],
    ['several frames', { frames: 3 }, /expected one frame, found 3/],
    ['odd bits', { bitsAllocated: 12 }, /expected 8, 16 or 32 bits/],
    ['bits that do not fit', { bitsStored: 12, highBit: 13 }, /do not fit together/],
    ['pixels cut off', { pixels: little([1, 2, 3], 2) }, /cut off: expected 12 bytes, found 6/],
    ['too many pixels', { rows: 60_000, columns: 60_000 }, /more than maxPixels/],
    ['no pixels', { rows: 0 }, /no pixels/],
    ['a slope that is no number', { slope: 'Secret' }, /slope or intercept is no number/],
    ['a number of samples that contradicts', { samplesPerPixel: 3 }, /contradict/],
  ];
  it.each(bad)('with %s is refused in words that hold nothing of its header', async (_, change, message) => {
    const found = await read(writeDicom({ ...plain, name: 'Secret^Name', ...change }));
    if (!('unreadable' in found)) throw new Error('it was read');
    expect(found.unreadable).toMatch(message);
    expect(found.unreadable).not.toMatch(/secret/i);
  });

  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['text', new TextEncoder().encode('Secret^Name;'.repeat(40))],
    ['zeros', new Uint8Array(500)],
  ])('is not made from %s', async (_, bytes) => {
    expect(await read(bytes)).toEqual({ unreadable: expect.stringMatching(/^expected a DICOM file/) as string });
  });
});

describe('a picture of another size', () => {
  const picture = (height: number, width: number, channels: number, at: (y: number, x: number, c: number) => number) => ({
    height, width, channels,
    data: Float32Array.from({ length: height * width * channels }, (_, i) => at(Math.floor(i / (width * channels)), Math.floor(i / channels) % width, i % channels)),
  });

  it('of its own size is itself', () => {
    const own = picture(3, 5, 2, (y, x, c) => y + 10 * x + 100 * c);
    for (const fit of ['cover', 'contain', 'fill'] as const) expect(resizePicture(own, { height: 3, width: 5, fit })).toEqual(own.data);
  });

  it('keeps a constant and a slope, larger and smaller', () => {
    const slope = picture(40, 60, 1, (_y, x) => x + 0.5);
    for (const [height, width] of [[13, 20], [80, 120]] as const) {
      const found = resizePicture(slope, { height, width, fit: 'fill' });
      for (let x = 2; x < width - 2; x += 1) expect(found[5 * width + x]).toBeCloseTo(((x + 0.5) * 60) / width, 1);
      const flat = resizePicture(picture(40, 60, 3, (_y, _x, c) => 0.2 * (c + 1)), { height, width, fit: 'fill' });
      flat.forEach((value, i) => { expect(value).toBeCloseTo(0.2 * ((i % 3) + 1), 6); });
    }
  });

  it('is cut off around its middle to cover, and lies on black to be contained', () => {
    const wide = picture(10, 30, 1, (_y, x) => (x < 10 ? 0.3 : x < 20 ? 0.6 : 0.9));
    const cover = resizePicture(wide, { height: 5, width: 5, fit: 'cover' });
    expect(cover[12]).toBeCloseTo(0.6, 6);
    expect(cover[11]).toBeCloseTo(0.6, 6);
    const contain = resizePicture(wide, { height: 9, width: 9, fit: 'contain' });
    expect([0, 1, 2, 3, 4, 5, 6, 7, 8].map((y) => Math.round(100 * contain[9 * y + 4]!) / 100)).toEqual([0, 0, 0, 0.6, 0.6, 0.6, 0, 0, 0]);
    expect([0, 4, 8].map((x) => Math.round(10 * contain[9 * 4 + x]!) / 10)).toEqual([0.3, 0.6, 0.9]);
  });
});
