import type { Decoders, ParquetCell } from '../../data/files.ts';
import { AntiphonError } from '../../errors.ts';
import { missingColumn } from '../../data/table.ts';
import { lazily } from './library.ts';

/** Flat Parquet of any usual compression. Dates become ISO 8601 text, bytes the text they hold. */
export const decodeParquet: Decoders['parquet'] = async (bytes, path, wanted) => {
  const { parquetMetadata, parquetSchema, parquetRead, compressors } = await loadParquet();
  const damaged = (error: unknown): never => {
    // The reader's own words may quote the file.
    throw new AntiphonError('data-invalid', `${path} is not a Parquet file that can be read here, or is damaged; write it again, for example with pandas.DataFrame.to_parquet`, { cause: error });
  };
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  const metadata = await Promise.resolve(buffer).then((file) => parquetMetadata(file)).catch(damaged);
  const fields = parquetSchema(metadata).children;
  const names = fields.map(({ element }) => element.name);
  const read = wanted ?? names;
  for (const name of read) {
    const field = fields.find(({ element }) => element.name === name) ?? missingColumn({ path, columns: names }, name, 'records.columns');
    if (field.children.length > 0) throw new AntiphonError('data-invalid', `column "${name}" of ${path} holds lists or records; write one plain column for each of their values`);
  }
  const rows = Number(metadata.num_rows);
  const columns = new Map(read.map((name) => [name, Array.from<ParquetCell | null>({ length: rows }).fill(null)]));
  if (read.length === 0) return { rows, names, columns };
  await parquetRead({
    file: buffer,
    metadata,
    compressors,
    columns: [...read],
    onChunk: ({ columnName, columnData, rowStart }) => {
      const column = columns.get(columnName);
      for (let i = 0; column !== undefined && i < columnData.length; i += 1) column[rowStart + i] = plainCell(columnData[i]);
    },
  }).catch(damaged);
  return { rows, names, columns };
};

function plainCell(value: unknown): ParquetCell | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return value;
  if (value instanceof Date) return value.toISOString();
  throw new TypeError('a value of a nested type');
}

const loadParquet = lazily('hyparquet', async () => {
  const [{ parquetMetadata, parquetSchema, parquetRead }, { compressors }] = await Promise.all([import('hyparquet'), import('hyparquet-compressors')]);
  return { parquetMetadata, parquetSchema, parquetRead, compressors };
});
