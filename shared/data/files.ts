/** One line of a CSV file: its cells, and where it stands (from 1), for messages. */
export interface CsvLine {
  readonly cells: readonly string[];
  readonly line: number;
}

/**
 * What the readers need of the outside world. Paths are those of the study file: relative to the data folder, never outside it.
 * The Node implementation is `shared/platform/data-files.ts`.
 */
export interface DataFiles {
  /** The whole file. Throws AntiphonError('data-invalid') where there is none. */
  readonly read: (path: string) => Promise<Uint8Array>;
  /** CSV text to lines, the header among them, cells trimmed unless quoted; throws on broken quoting. An adapter because csv-parse's types need Node's. */
  readonly parseCsv: (text: string) => readonly CsvLine[];
}
