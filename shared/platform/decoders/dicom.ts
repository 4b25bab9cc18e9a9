import type { DataSet } from 'dicom-parser';
import type { Decoders } from '../../data/files.ts';
import { lazily } from './library.ts';

const UNCOMPRESSED = ['1.2.840.10008.1.2', '1.2.840.10008.1.2.1'];
/** PS3.6 table A-1, the first components that tell. */
const COMPRESSED: readonly (readonly [string, string])[] = [
  ['1.2.840.10008.1.2.4.9', 'JPEG 2000'],
  ['1.2.840.10008.1.2.4.8', 'JPEG-LS'],
  ['1.2.840.10008.1.2.4.10', 'MPEG'],
  ['1.2.840.10008.1.2.4.20', 'high-throughput JPEG 2000'],
  ['1.2.840.10008.1.2.4', 'JPEG'],
  ['1.2.840.10008.1.2.5', 'RLE'],
  ['1.2.840.10008.1.2.1.99', 'deflated'],
  ['1.2.840.10008.1.2.2', 'big-endian'],
];

/** Takes the pixels and what says how to read them; nothing else of the header is looked at, and none of it is in a message. */
export const decodeDicom: Decoders['dicom'] = async (bytes) => {
  const { parseDicom, readPart10Header } = await loadParser();
  const syntax = attempt(() => readPart10Header(bytes).string('x00020010'));
  if (syntax === undefined) return { unreadable: 'expected a DICOM file (part 10, with its preamble), found another kind of file or a damaged one' };
  if (!UNCOMPRESSED.includes(syntax)) {
    const found = COMPRESSED.find(([prefix]) => syntax.startsWith(prefix))?.[1] ?? 'another';
    return { unreadable: `expected uncompressed little-endian pixels, found ${found} encoding; convert it with gdcmconv --raw IN OUT (or dcmdjpeg, dcmdrle of DCMTK)` };
  }
  const file = attempt(() => parseDicom(bytes));
  if (file === undefined) return { unreadable: 'it is cut off or damaged' };
  const pixels = file.elements['x7fe00010'];
  if (pixels === undefined) return { unreadable: 'it holds no pixels' };
  if (file.elements['x00283000'] !== undefined) return { unreadable: 'its values go through a modality lookup table, which is not applied here; convert it to rescale slope and intercept' };
  const image = attempt(() => ({
    ...numbers(file),
    photometric: file.string('x00280004') ?? '',
    rescaleSlope: decimal(file, 'x00281053', 1),
    rescaleIntercept: decimal(file, 'x00281052', 0),
    pixels: bytes.subarray(pixels.dataOffset, pixels.dataOffset + pixels.length),
  }));
  return image ?? { unreadable: 'the description of its pixels is damaged' };
};

const loadParser = lazily('dicom-parser', async () => (await import('dicom-parser')).default);

/** The parser's own words may quote the file. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

function numbers(file: DataSet) {
  const whole = (tag: string, absent?: number): number => file.uint16(tag) ?? absent ?? Number.NaN;
  const bitsAllocated = whole('x00280100');
  const bitsStored = whole('x00280101', bitsAllocated);
  return {
    rows: whole('x00280010'),
    columns: whole('x00280011'),
    samplesPerPixel: whole('x00280002', 1),
    bitsAllocated,
    bitsStored,
    highBit: whole('x00280102', bitsStored - 1),
    isSigned: whole('x00280103', 0) === 1,
    isPlanar: whole('x00280006', 0) === 1,
    frames: decimal(file, 'x00280008', 1),
  };
}

/** Decimal strings; NaN for text that is none. */
function decimal(file: DataSet, tag: string, absent: number): number {
  const text = file.string(tag)?.trim();
  return text === undefined || text === '' ? absent : Number(text);
}
