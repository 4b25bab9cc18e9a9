import type { DicomImage } from './dicom.ts';
import type { RowStoreWriter } from './features.ts';

/** One line of a CSV file: its cells, and where it stands (from 1), for messages. */
export interface CsvLine {
  readonly cells: readonly string[];
  readonly line: number;
}

/** A record's file that cannot be read. `unreadable` says why in our own words: never a word of the file, which is private. */
export interface Unreadable {
  readonly unreadable: string;
}

/**
 * What the readers need of the outside world. Paths are those of the study file, or of an index: relative to the data folder, never outside it.
 * The Node implementation is `shared/platform/data-files.ts`.
 */
export interface DataFiles {
  /** The whole file. Throws AntiphonError('data-invalid') where there is none. */
  readonly read: (path: string) => Promise<Uint8Array>;
  /** Its first bytes, at most so many; throws alike. */
  readonly readStart: (path: string, most: number) => Promise<Uint8Array>;
  /** The whole file of a record; its path is private and is in no message. */
  readonly readRecord: (path: string) => Promise<Uint8Array | Unreadable>;
  /** CSV text to lines, the header among them, cells trimmed unless quoted; throws on broken quoting. An adapter because csv-parse's types need Node's. */
  readonly parseCsv: (text: string) => readonly CsvLine[];
  readonly decoders: Decoders;
  readonly networks: Networks;
  /** Records that take more than this go to a row store. */
  readonly inMemoryBytes: number;
  readonly openRowStore: (size: number) => RowStoreWriter;
}

/** Formats that need a library; each is loaded when it is first used. Without it: AntiphonError('data-invalid') that says how to install it. */
export interface Decoders {
  /** [height, width, channels] in 0..1. */
  readonly image: (bytes: Uint8Array, wanted: WantedPicture) => Promise<Float32Array | Unreadable>;
  readonly wav: (bytes: Uint8Array) => Promise<Sound | Unreadable>;
  readonly dicom: (bytes: Uint8Array) => Promise<DicomImage | Unreadable>;
  /** The columns of these names (all of them, where none are named) of the file at `path`; AntiphonError('data-invalid') on anything else than flat Parquet. */
  readonly parquet: (bytes: Uint8Array, path: string, columns?: readonly string[]) => Promise<ParquetColumns>;
}

/** Frozen networks, by format; a library is loaded when it is first used. AntiphonError('data-invalid') on a damaged network, or a library that is missing. */
export interface Networks {
  readonly 'tfjs-graph': (bytes: NetworkBytes) => Promise<Network>;
  readonly onnx: (bytes: NetworkBytes) => Promise<Network>;
}

export interface NetworkBytes {
  /** For messages. */
  readonly path: string;
  /** The ONNX file, or model.json. */
  readonly model: Uint8Array;
  /** The shards of a graph model, one after the other. */
  readonly weights: Uint8Array;
}

export interface Network {
  /** `dims` with the batch, undefined where any length goes; wholly undefined where the file does not say. */
  readonly inputs: readonly { readonly name: string; readonly type: string; readonly dims: readonly (number | undefined)[] | undefined }[];
  readonly outputs: readonly string[];
  /** `values` of shape `dims`, row-major, through the network to the output of that name. */
  readonly run: (values: Float32Array, dims: readonly number[], output: string) => Promise<{ readonly dims: readonly number[]; readonly values: Float32Array }>;
  /** Where it has run so far, and why there: for persons. */
  readonly runsOn: () => string;
  readonly close: () => Promise<void>;
}

export interface WantedPicture {
  readonly height: number;
  readonly width: number;
  /** 1: grey, 3: red, green, blue. */
  readonly channels: number;
  readonly fit: 'cover' | 'contain' | 'fill';
  readonly maxPixels: number;
}

/** Samples in -1..1, by channel. */
export interface Sound {
  readonly rate: number;
  readonly channels: readonly Float64Array[];
}

export interface ParquetColumns {
  readonly rows: number;
  /** Every column of the file, whether read or not. */
  readonly names: readonly string[];
  /** Cells from the first row on, null where there is no value. */
  readonly columns: ReadonlyMap<string, readonly (ParquetCell | null)[]>;
}

export type ParquetCell = string | number | bigint | boolean;
