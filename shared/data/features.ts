/** Rows of float32 that do not fit in memory; read one at a time. */
export interface RowStore {
  /** Row `record`, whole, into `target` at `offset`. */
  readonly copy: (record: number, target: Float32Array, offset: number) => void;
  /** Gives the space back; nothing may be copied afterwards. */
  readonly close: () => void;
}

/** A row store as it is written, once, from row 0 on. */
export interface RowStoreWriter {
  readonly append: (row: Float32Array) => void;
  readonly finish: () => RowStore;
}

/** [records, size] row-major in memory, or row by row from a store. */
export type Features = Float32Array | RowStore;

/** Copies one record's features to `target` at `offset`. */
export function copyRecord({ size, features }: { readonly size: number; readonly features: Features }, record: number, { target, offset }: { readonly target: Float32Array; readonly offset: number }): void {
  if (features instanceof Float32Array) target.set(features.subarray(record * size, (record + 1) * size), offset);
  else features.copy(record, target, offset);
}

/** The features of some records one after the other, [records, size]. */
export function gatherRecords(dataset: { readonly size: number; readonly features: Features }, records: ArrayLike<number>): Float32Array {
  const { size } = dataset;
  const gathered = new Float32Array(records.length * size);
  for (let i = 0; i < records.length; i += 1) copyRecord(dataset, records[i]!, { target: gathered, offset: i * size });
  return gathered;
}

export function closeFeatures(features: Features): void {
  if (!(features instanceof Float32Array)) features.close();
}

export interface RowCollector {
  readonly append: (row: Float32Array) => void;
  readonly finish: () => Features;
}

/** Collects rows: in memory up to `inMemoryBytes`, in a store of the platform beyond. `records` is the most there can be. */
export function collectRows(input: { readonly records: number; readonly size: number; readonly inMemoryBytes: number; readonly openRowStore: (size: number) => RowStoreWriter }): RowCollector {
  const { records, size, inMemoryBytes, openRowStore } = input;
  if (4 * records * size > inMemoryBytes) return openRowStore(size);
  const rows = new Float32Array(records * size);
  let next = 0;
  return {
    append: (row) => {
      rows.set(row, next * size);
      next += 1;
    },
    finish: () => (next === records ? rows : rows.slice(0, next * size)),
  };
}
