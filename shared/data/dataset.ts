import type { Primitives } from '../crypto/primitives.ts';
import { AntiphonError } from '../errors.ts';
import type { Modality, Study } from '../study/schema.ts';
import { selectEntries, type Entry } from './entries.ts';
import { closeFeatures, collectRows, type Features } from './features.ts';
import type { DataFiles } from './files.ts';
import { openFrozen, recordSink, type FrozenModel, type RecordSink } from './frozen.ts';
import { inOrder } from './in-order.ts';
import { recordReader, type RecordReader } from './record-files.ts';
import type { Selection } from './selection.ts';
import { readHeader, readTable } from './table.ts';
import { checkValuesLayout, encoderInput, readValues, type RecordNormaliser } from './values.ts';

/** The records of one modality that a site holds, or that an evaluation uses. SENSITIVE at a site: never logged, never sent. */
export interface Dataset {
  /** Features per record, as the encoder sees them. */
  readonly size: number;
  /** Normalised by the study's public constants, then through the modality's front-end or frozen network; `copyRecord` reads them wherever they are. */
  readonly features: Features;
  /** Class of each record, 0-based. */
  readonly labels: Int32Array;
  /** The units of privacy, in order of first appearance; `records[i]` are the record indices of patient `ids[i]`. */
  readonly patients: { readonly ids: readonly string[]; readonly records: readonly Int32Array[] };
  /** Line of the index file each record stands on, for messages. */
  readonly lines: Int32Array;
  /** Where the frozen network has run, and why there; omitted: the modality has none. */
  readonly frozenRunsOn?: string;
  /** Value of the sample column of each record, where one was asked for. */
  readonly samples?: readonly string[];
}

export interface DatasetRequest {
  readonly study: Study;
  /** Name of the modality. */
  readonly modality: string;
  readonly selection: Selection;
  readonly files: DataFiles;
  readonly primitives: Pick<Primitives, 'sha256'>;
  /** The index column that joins modalities (`evaluation.sample`). */
  readonly sampleColumn?: string;
  /** Keeps the list of the files that could not be read, before anything is decided on it; returns where, for the message. */
  readonly listUnreadable?: (records: readonly UnreadableRecord[]) => Promise<string>;
}

/** SENSITIVE: `path` may name a patient. */
export interface UnreadableRecord {
  /** Of the index. */
  readonly line: number;
  readonly path: string;
  readonly why: string;
}

/** Files that are decoded at the same time: each may hold a large picture for a moment. */
const DECODED_AT_ONCE = 4;

/**
 * Reads, selects, normalises, applies the front-end or frozen network, groups by patient. Throws AntiphonError('data-invalid') naming file and line (never a value) on a missing
 * file or column, a wrong shape, a label or row out of range, a missing or infinite feature, more corrupt files than the study allows, or when nothing is selected.
 */
export async function buildDataset(request: DatasetRequest): Promise<Dataset> {
  const { study, modality: name, selection, files, primitives, sampleColumn } = request;
  const spec = study.modalities[name];
  if (spec === undefined) throw new AntiphonError('study-invalid', `the study has no modality "${name}"; it has: ${Object.keys(study.modalities).join(', ')}`);
  const index = await readTable(files, spec.records.index);
  const reader = recordReader(files, spec);
  const entries = selectEntries({ index, spec, selection, sampleColumn, cells: reader, classes: study.classes, sha256: primitives.sha256 });
  const { size: recordSize, prepare } = encoderInput({ name, spec });
  const network = await frozenOf(request, spec);
  const size = network?.size ?? recordSize;
  const rows = collectRows({ records: entries.length, size, ...files });
  const { index: indexPath, frozen } = spec.records;
  const reading: Reading = { spec, entries, recordSize, prepare, sink: recordSink(rows, network, { recordSize, index: indexPath, frozen }) };
  let kept: readonly Entry[];
  try {
    kept = await (reader === undefined ? readRows(request, reading) : readRecords(request, { ...reading, read: reader.read }));
    await reading.sink.end();
  } catch (error) {
    closeFeatures(rows.finish());
    throw error;
  } finally {
    await network?.close();
  }
  const features = rows.finish();
  if (kept.length === 0) {
    closeFeatures(features);
    const why = entries.length === 0 ? 'no line passes' : `${entries.length} lines pass, none with ${spec.records.minimumMeasured} measured features;`;
    throw new AntiphonError('data-invalid', `expected records of modality "${name}" in ${index.path}: ${why} ${describe(spec, selection)}; check the study's "where" and "share" and the data folder`);
  }
  return {
    size,
    features,
    labels: Int32Array.from(kept, ({ label }) => label),
    lines: Int32Array.from(kept, ({ line }) => line),
    patients: groupByPatient(kept),
    ...(network === undefined ? {} : { frozenRunsOn: network.runsOn() }),
    ...(sampleColumn === undefined ? {} : { samples: kept.map(({ sample }) => sample) }),
  };
}

/**
 * Whether the files and columns that the study names for a modality are there, and its frozen network runs, before anyone waits for the data: of the records nothing is read, so that what is wrong in a line, or in a
 * record's own file, shows only when the data set is built. Throws AntiphonError('data-invalid').
 */
export async function checkLayout({ study, modality: name, selection, files, primitives }: Pick<DatasetRequest, 'study' | 'modality' | 'selection' | 'files' | 'primitives'>): Promise<void> {
  const spec = study.modalities[name];
  if (spec === undefined) throw new AntiphonError('study-invalid', `the study has no modality "${name}"; it has: ${Object.keys(study.modalities).join(', ')}`);
  const index = await readHeader(files, spec.records.index);
  selectEntries({ index, spec, selection, sampleColumn: undefined, cells: recordReader(files, spec), classes: study.classes, sha256: primitives.sha256 });
  await checkValuesLayout(files, { name, spec });
  await (await frozenOf({ modality: name, files, primitives }, spec))?.close();
}

/** Opened; whoever asks closes it. */
async function frozenOf({ modality: name, files, primitives }: Pick<DatasetRequest, 'modality' | 'files' | 'primitives'>, { shape, records: { frozen } }: Modality): Promise<FrozenModel | undefined> {
  return frozen === undefined ? undefined : openFrozen({ name, spec: { shape, records: { frozen } }, files, sha256: primitives.sha256 });
}

interface Reading {
  readonly spec: Modality;
  readonly entries: readonly Entry[];
  /** Features per record, before any frozen network. */
  readonly recordSize: number;
  readonly prepare: RecordNormaliser;
  readonly sink: RecordSink;
}

/** From one `values` file; returns the entries that have a record. */
async function readRows({ files, modality: name }: DatasetRequest, { spec, entries, recordSize, prepare, sink }: Reading): Promise<readonly Entry[]> {
  const values = await readValues(files, { name, spec });
  const record = new Float32Array(recordSize);
  const kept: Entry[] = [];
  for (const entry of entries) {
    if (entry.row >= values.rows) {
      throw new AntiphonError('data-invalid', `${spec.records.index}:${entry.line} points beyond the last row of ${values.path}, which has ${values.rows}; the two files do not belong together`);
    }
    if (!prepare(values.record(entry.row), record, 0)) continue;
    await sink.append(record, entry.line);
    kept.push(entry);
  }
  return kept;
}

/** From a file, or a text, of each record; only what the encoder sees of it is kept. */
async function readRecords(request: DatasetRequest, { spec, entries, recordSize, prepare, sink, read }: Reading & { readonly read: RecordReader }): Promise<readonly Entry[]> {
  const { index, files } = spec.records;
  const prepared = new Float32Array(recordSize);
  const kept: Entry[] = [];
  const unreadable: UnreadableRecord[] = [];
  const given = entries.filter(({ cell }) => cell !== '');
  for await (const { item: entry, result: record } of inOrder(given, DECODED_AT_ONCE, ({ cell }) => read(cell))) {
    if ('unreadable' in record) {
      unreadable.push({ line: entry.line, path: entry.cell, why: record.unreadable });
    } else if (prepare({ value: (feature) => record[feature]!, place: (feature) => `the record of ${index}:${entry.line}, feature ${feature}` }, prepared, 0)) {
      await sink.append(prepared, entry.line);
      kept.push(entry);
    }
  }
  if (unreadable.length > 0) {
    const listed = await request.listUnreadable?.(unreadable);
    const allowed = files?.corruptAtMost ?? 0;
    if (unreadable.length > allowed) throw tooManyUnreadable(unreadable, { index, of: given.length, allowed, listed });
  }
  return kept;
}

const SHOWN = 5;

function tooManyUnreadable(records: readonly UnreadableRecord[], { index, of, allowed, listed }: { readonly index: string; readonly of: number; readonly allowed: number; readonly listed: string | undefined }): AntiphonError {
  const first = records.slice(0, SHOWN).map(({ line, why }) => `${index}:${line} (${why})`).join(', ');
  const more = records.length > SHOWN ? ` and ${records.length - SHOWN} more` : '';
  return new AntiphonError('data-invalid', `${records.length} of ${of} files cannot be read, the study allows ${allowed} (corruptAtMost): ${first}${more}${listed === undefined ? '' : `; all are listed in ${listed}`}; repair them, or empty their cells in the index`);
}

function groupByPatient(entries: readonly Entry[]): Dataset['patients'] {
  const groups = new Map<string, number[]>();
  entries.forEach(({ patient }, record) => {
    const group = groups.get(patient);
    if (group === undefined) groups.set(patient, [record]);
    else group.push(record);
  });
  return { ids: [...groups.keys()], records: [...groups.values()].map((group) => Int32Array.from(group)) };
}

function describe(spec: Modality, { where, share }: Selection): string {
  const conditions = Object.entries({ ...spec.records.where, ...where }).map(([column, values]) => `${column} = ${[values].flat().join(' or ')}`);
  return [...conditions, ...(share === undefined ? [] : [`share ${share.from} to ${share.to}`])].join(', ');
}
