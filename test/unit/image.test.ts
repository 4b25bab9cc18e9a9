import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import type { WantedPicture } from '../../shared/data/files.ts';
import { decodeImage } from '../../shared/platform/decoders/image.ts';

const wanted = (change: Partial<WantedPicture> = {}): WantedPicture => ({ height: 2, width: 3, channels: 1, fit: 'fill', maxPixels: 10_000, ...change });
/** [height, width, channels] of bytes, or of 16-bit numbers. */
const raw = (data: Uint8Array | Uint16Array, width: number, channels: 1 | 2 | 3 | 4) => sharp(data, { raw: { width, height: data.length / width / channels, channels, ...(data instanceof Uint16Array ? { depth: 'ushort' } : {}) } });
const grey = Uint8Array.of(0, 51, 102, 153, 204, 255);

async function pixels(file: Uint8Array, change: Partial<WantedPicture> = {}): Promise<number[]> {
  const found = await decodeImage(file, wanted(change));
  if ('unreadable' in found) throw new Error(found.unreadable);
  return Array.from(found, (x) => Math.round(x * 1e5) / 1e5);
}

describe('a picture', () => {
  it('of 8-bit grey is its bytes over 255, in one channel or three', async () => {
    const file = await raw(grey, 3, 1).toColourspace('b-w').png().toBuffer();
    expect(await pixels(file)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(await pixels(file, { channels: 3 })).toEqual([0, 0, 0, 0.2, 0.2, 0.2, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.8, 0.8, 0.8, 1, 1, 1]);
  });

  it('of 16-bit grey keeps what 8 bits cannot hold', async () => {
    const deep = Uint16Array.of(0, 1, 1000, 30_000, 32_768, 65_535);
    const file = await raw(deep, 3, 1).toColourspace('grey16').png().toBuffer();
    expect((await sharp(file).metadata()).depth).toBe('ushort');
    expect(await pixels(file)).toEqual(Array.from(deep, (x) => Math.round((x / 65_535) * 1e5) / 1e5));
  });

  it('of 16-bit colour has its colours in their order', async () => {
    const file = await raw(Uint16Array.of(65_535, 0, 6554, 13_107, 26_214, 39_321), 2, 3).toColourspace('rgb16').png().toBuffer();
    expect(await pixels(file, { height: 1, width: 2, channels: 3 })).toEqual([1, 0, 0.10001, 0.2, 0.4, 0.6]);
  });

  it('is black where it is transparent', async () => {
    const file = await raw(Uint8Array.of(255, 255, 255, 0, 102, 255), 3, 2).toColourspace('b-w').png().toBuffer();
    expect((await sharp(file).metadata()).hasAlpha).toBe(true);
    expect(await pixels(file, { height: 1 })).toEqual([1, 0, 0.4]);
  });

  it('in colour becomes grey by its luminance', async () => {
    const file = await raw(Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255), 3, 3).png().toBuffer();
    const [red = 0, green = 0, blue = 0] = await pixels(file, { height: 1 });
    expect(green).toBeGreaterThan(red);
    expect(red).toBeGreaterThan(blue);
  });

  it('stands as its EXIF orientation says', async () => {
    // Orientation 6: the camera was turned; the first row of the file is the right column of the picture.
    const file = await raw(grey, 3, 1).toColourspace('b-w').withMetadata({ orientation: 6 }).png().toBuffer();
    expect(await pixels(file, { height: 3, width: 2 })).toEqual([0.6, 0, 0.8, 0.2, 1, 0.4]);
  });

  it.each(['jpeg', 'webp', 'tiff', 'gif', 'avif'] as const)('is read from %s', async (format) => {
    const file = await sharp({ create: { width: 32, height: 32, channels: 3, background: { r: 204, g: 102, b: 51 } } }).toFormat(format).toBuffer();
    const found = await pixels(file, { height: 1, width: 1, channels: 3 });
    [0.8, 0.4, 0.2].forEach((expected, i) => { expect(Math.abs(found[i]! - expected)).toBeLessThan(0.03); });
  });

  it('is cut off to cover and lies on black to be contained', async () => {
    const file = await raw(Uint8Array.from({ length: 30 * 10 }, (_, i) => (i % 30 < 10 ? 51 : i % 30 < 20 ? 102 : 204)), 30, 1).toColourspace('b-w').png().toBuffer();
    expect((await pixels(file, { height: 3, width: 3, fit: 'cover' })).every((x) => Math.abs(x - 0.4) < 0.03)).toBe(true);
    expect((await pixels(file, { height: 9, width: 9, fit: 'contain' })).filter((_, i) => i % 9 === 4).map((x) => Math.round(10 * x) / 10)).toEqual([0, 0, 0, 0.4, 0.4, 0.4, 0, 0, 0]);
  });
});

/** A TIFF of one row of 32-bit floats. */
function floatTiff(row: readonly number[]): Uint8Array {
  const entries: [number, number, number, number][] = [[256, 3, 1, row.length], [257, 3, 1, 1], [258, 3, 1, 32], [259, 3, 1, 1], [262, 3, 1, 1], [273, 4, 1, 8], [277, 3, 1, 1], [278, 3, 1, 1], [279, 4, 1, 4 * row.length], [339, 3, 1, 3]];
  const start = 8 + 4 * row.length;
  const view = new DataView(new ArrayBuffer(start + 2 + 12 * entries.length + 4));
  new Uint8Array(view.buffer).set([0x49, 0x49, 42, 0]);
  view.setUint32(4, start, true);
  row.forEach((x, i) => { view.setFloat32(8 + 4 * i, x, true); });
  view.setUint16(start, entries.length, true);
  entries.forEach(([tag, type, count, value], i) => {
    const at = start + 2 + 12 * i;
    view.setUint16(at, tag, true);
    view.setUint16(at + 2, type, true);
    view.setUint32(at + 4, count, true);
    view.setUint32(at + 8, value, true);
  });
  return new Uint8Array(view.buffer);
}

describe('what is no picture', () => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';
  it.each<[string, Uint8Array, RegExp]>([
    ['text', new TextEncoder().encode('anna,17\n'), /found another kind of file/],
    ['a drawing that is a program', new TextEncoder().encode(svg), /found another kind of file/],
    ['the first bytes of a PNG', Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a), /cut off or damaged/],
    ['a JPEG of noise', Uint8Array.from({ length: 300 }, (_, i) => (i < 3 ? [0xff, 0xd8, 0xff][i]! : (i * 73) & 255)), /cut off or damaged/],
  ])('%s is refused', async (_, bytes, message) => {
    expect(await decodeImage(bytes, wanted())).toEqual({ unreadable: expect.stringMatching(message) as string });
  });

  it.each(['png', 'jpeg', 'webp', 'tiff'] as const)('a %s that is cut off is refused', async (format) => {
    const noise = Uint8Array.from({ length: 60 * 60 * 3 }, (_, i) => (i * i * 31) & 255);
    const whole = await raw(noise, 60, 3).toFormat(format).toBuffer();
    for (const share of [0.1, 0.5, 0.9]) {
      expect(await decodeImage(whole.subarray(0, Math.floor(share * whole.length)), wanted())).toEqual({ unreadable: 'it is cut off or damaged' });
    }
  });

  it('samples that are neither 8 nor 16 bits are refused', async () => {
    expect(await decodeImage(floatTiff([-700, 0.5, 3000]), wanted({ height: 1 }))).toEqual({ unreadable: 'expected 8 or 16 bits a sample, without sign; convert it to such a PNG' });
  });

  it('a picture of more pixels than the study allows is not decoded', async () => {
    const file = await sharp({ create: { width: 101, height: 100, channels: 3, background: 'red' } }).png().toBuffer();
    expect(await decodeImage(file, wanted())).toEqual({ unreadable: 'it has 101 x 100 pixels, more than maxPixels (10000) in the study' });
  });
});
