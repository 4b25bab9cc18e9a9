import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { dicomPicture } from '../../shared/data/dicom.ts';
import { readTable } from '../../shared/data/table.ts';
import { readValues } from '../../shared/data/values.ts';
import { decodeDicom } from '../../shared/platform/decoders/dicom.ts';
import type { Modality } from '../../shared/study/schema.ts';
import { memoryFiles } from '../support/memory-files.ts';

/** Small files, in base64, that other programs have written: Parquet by Apache Arrow 25.0.1 (through pyarrow and pandas), DICOM by pydicom 3.0.2. */
const written = JSON.parse(await readFile(new URL('data/other-writers.json', import.meta.url), 'utf8')) as Record<string, string>;
const file = (name: string): Uint8Array => new Uint8Array(Buffer.from(written[name] ?? '', 'base64'));

describe('Parquet by Arrow: four rows in two row groups', () => {
  const files = (name: string) => memoryFiles({ 'x.parquet': file(name) });
  const modality = (columns: string[]) => ({ name: 'blood', spec: { records: { values: 'x.parquet', columns } } as Modality });

  it.each(['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4'])('is an index, compressed with %s', async (codec) => {
    const table = await readTable(files(`parquet-${codec}`), 'x.parquet');
    expect(table.columns).toEqual(['patient', 'outcome', 'iron', 'salt', 'valid', 'big', 'when', 'price']);
    expect(table.rows.map(({ cells, line }) => [line, ...cells])).toEqual([
      [1, 'anna', '1', '150.5', '1', 'true', '1152921504606846976', '2026-01-02T03:04:05.000Z', '1.5'],
      [2, 'bert', '0', '', '', 'false', '1', '2026-01-02T03:04:05.000Z', '2.25'],
      [3, '', '1', 'NaN', '3', '', '2', '2026-01-02T03:04:05.000Z', ''],
      [4, 'čára, "d"', '0', '-3.25', '4', 'true', '3', '2026-01-02T03:04:05.000Z', '4'],
    ]);
  });

  it('gives its numeric columns as values, NaN where there is none', async () => {
    const values = await readValues(files('parquet-zstd'), modality(['salt', 'iron', 'valid', 'price', 'outcome']));
    const rows = Array.from({ length: values.rows }, (_, row) => Array.from({ length: 5 }, (_feature, i) => values.record(row).value(i)));
    expect(rows).toEqual([[1, 150.5, 1, 1.5, 1], [NaN, NaN, 0, 2.25, 0], [3, NaN, NaN, NaN, 1], [4, -3.25, 1, 4, 0]]);
  });

  it('is read as pandas writes it', async () => {
    expect((await readTable(files('parquet-pandas'), 'x.parquet')).rows.map(({ cells }) => cells)).toEqual([['a', '0.5'], ['b', '1.5']]);
  });

  it('refuses text among the values, nested columns, columns that are not there and damaged files, without quoting them', async () => {
    const text = await readValues(files('parquet-snappy'), modality(['patient']));
    expect(() => text.record(1).value(0)).toThrow(/expected a number in x\.parquet, row 1, column "patient", found text/);
    await expect(readTable(files('parquet-nested'), 'x.parquet')).rejects.toThrow(/column "nested" of x\.parquet holds lists or records/);
    await expect(readValues(files('parquet-snappy'), modality(['irn']))).rejects.toThrow(/expected the column "irn" \(records\.columns\) in x\.parquet, found none; did you mean "iron"/);
    const whole = file('parquet-gzip');
    const middle = whole.slice();
    middle.fill(0xee, 4, 900);
    for (const bad of [new Uint8Array(), whole.subarray(0, 700), whole.subarray(300), middle, new TextEncoder().encode('patient,iron\nanna,1\n')]) {
      await expect(readTable(memoryFiles({ 'x.parquet': bad }), 'x.parquet')).rejects.toThrow(/^x\.parquet is not a Parquet file that can be read here, or is damaged/);
    }
  });
});

describe('DICOM by pydicom', () => {
  const picture = async (name: string, change: { window?: { centre: number; width: number }; channels?: number } = {}) => {
    const image = await decodeDicom(file(name));
    if ('unreadable' in image) return image;
    const { window = { centre: 100, width: 401 }, channels = 1 } = change;
    const found = dicomPicture(image, { window: channels === 1 ? window : undefined, channels, maxPixels: 100 });
    return 'unreadable' in found ? found : { size: [found.height, found.width, found.channels], data: Array.from(found.data, (x) => Math.round(1e5 * x) / 1e5) };
  };
  // Values 2 x - 1024: -1024, -24, 0, 176, 976, 7166; the window runs from -100.5 to 299.5 (centre 100, width 401).
  const expected = [0, 0.19125, 0.25125, 0.69125, 1, 1];

  it.each(['dicom-explicit', 'dicom-implicit'])('%s: rescaled, then through the window of the study, not of the file', async (name) => {
    expect(await picture(name)).toEqual({ size: [2, 3, 1], data: expected });
  });

  it('MONOCHROME1 is inverted', async () => {
    expect(await picture('dicom-mono1')).toEqual({ size: [2, 3, 1], data: expected.map((x) => Math.round(1e5 * (1 - x)) / 1e5) });
  });

  it('signed values are signed', async () => {
    expect(await picture('dicom-signed', { window: { centre: 0.5, width: 1001 } })).toEqual({ size: [2, 2, 1], data: [0, 0.499, 0.5, 0.8] });
  });

  it('RGB is scaled by what its bits can hold', async () => {
    expect(await picture('dicom-rgb', { channels: 3 })).toEqual({ size: [1, 2, 3], data: [1, 0, 0.2, 0.4, 0.6, 0.8] });
    expect(await picture('dicom-rgb')).toEqual({ unreadable: 'expected monochrome pixels, as the shape says, found RGB' });
  });

  it('compressed pixels are refused with the program that converts them', async () => {
    expect(await picture('dicom-rle')).toEqual({ unreadable: expect.stringMatching(/expected uncompressed little-endian pixels, found RLE encoding; convert it with gdcmconv --raw/) as string });
  });

  it('a file that is cut off anywhere is unreadable, and no message holds a word of the header', async () => {
    const whole = file('dicom-explicit');
    for (let length = 0; length < whole.length; length += 1) {
      const cut = await decodeDicom(whole.subarray(0, length));
      const read = 'unreadable' in cut ? cut : dicomPicture(cut, { window: { centre: 100, width: 401 }, channels: 1, maxPixels: 100 });
      if (!('unreadable' in read)) throw new Error(`read a picture from ${length} of ${whole.length} bytes`);
      expect(read.unreadable).not.toMatch(/secret/i);
    }
  });
});
