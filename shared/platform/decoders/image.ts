import type { Decoders, Unreadable } from '../../data/files.ts';
import { lazily } from './library.ts';

/** Pixels in 0..1 by libvips: 16 bits a sample where the file has as many, else 8. */
export const decodeImage: Decoders['image'] = async (bytes, wanted) => {
  if (!isPicture(bytes)) return { unreadable: 'expected a PNG, JPEG, WebP, TIFF, GIF or AVIF picture, found another kind of file' };
  const sharp = await loadSharp();
  const { height, width, channels, fit, maxPixels } = wanted;
  const header = await sharp(bytes, { limitInputPixels: false }).metadata().catch(() => undefined);
  if (header === undefined) return damaged;
  if (header.width * header.height > maxPixels) return { unreadable: `it has ${header.width} x ${header.height} pixels, more than maxPixels (${maxPixels}) in the study` };
  if (header.depth !== 'uchar' && header.depth !== 'ushort') return { unreadable: 'expected 8 or 16 bits a sample, without sign; convert it to such a PNG' };
  const deep = header.depth === 'ushort';
  const colours = channels === 1 ? (deep ? 'grey16' : 'b-w') : deep ? 'rgb16' : 'srgb';
  const decoded = await sharp(bytes, { limitInputPixels: maxPixels })
    .autoOrient()
    .flatten({ background: 'black' })
    .resize({ width, height, fit, background: 'black' })
    .toColourspace(colours)
    .raw({ depth: deep ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true })
    .catch(() => undefined);
  if (decoded === undefined) return damaged;
  const { data, info } = decoded;
  const samples = deep ? new Uint16Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)) : data;
  if (info.channels !== channels || samples.length !== height * width * channels) return { unreadable: `its pixels could not be converted to ${channels === 1 ? 'grey' : 'red, green and blue'}` };
  return Float32Array.from(samples, (sample) => sample / (deep ? 65_535 : 255));
};

const damaged: Unreadable = { unreadable: 'it is cut off or damaged' };

const loadSharp = lazily('sharp', async () => {
  const { default: sharp } = await import('sharp');
  // Every file is read once, and several at the same time already.
  sharp.cache(false);
  sharp.concurrency(1);
  return sharp;
});

/** By their first bytes, so that libvips never meets what is not asked for: SVG and PDF are programs. */
function isPicture(bytes: Uint8Array): boolean {
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  return (
    start.startsWith('\x89PNG\r\n\x1a\n') ||
    start.startsWith('\xff\xd8\xff') ||
    start.startsWith('GIF8') ||
    start.startsWith('II*\0') ||
    start.startsWith('MM\0*') ||
    (start.startsWith('RIFF') && start.slice(8, 12) === 'WEBP') ||
    ['ftypavif', 'ftypavis', 'ftypmif1'].includes(start.slice(4, 12))
  );
}
