import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import didYouMean from 'didyoumean2';
import { AntiphonError } from '../../shared/errors.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import { parseExperiment, type Experiment, type ExperimentEntry } from './schema.ts';
import type { StudySource } from './grid.ts';

export interface Shipped {
  /** deploy/studies and deploy/experiments of this package. */
  readonly studies: string;
  readonly experiments: string;
}

/** An experiment by its path or a shipped one's name. */
export async function readExperiment(given: string, { experiments }: Shipped): Promise<{ readonly experiment: Experiment; readonly folder: string }> {
  const path = findFile(given, { folder: '.', shipped: experiments, what: 'experiment' });
  return { experiment: parseExperiment(await readFile(path, 'utf8'), path), folder: dirname(path) };
}

/** A study of an experiment and its records; or why it is left out: its records are not here. */
export async function findStudy(
  { study: given, data }: ExperimentEntry,
  { folder, shipped, dataRoot }: { readonly folder: string; readonly shipped: Shipped; readonly dataRoot: string | undefined },
): Promise<{ readonly source: StudySource } | { readonly skipped: string }> {
  const path = findFile(given, { folder, shipped: shipped.studies, what: 'study' });
  const text = await readFile(path, 'utf8');
  if (data === undefined && path === join(shipped.studies, 'synthetic.yaml')) return { source: { path, text, data: { type: 'made-up' } } };
  if (dataRoot === undefined) return { skipped: `${given}: its records are read from files, give the folder above them with --data` };
  const records = resolve(dataRoot, data ?? '.');
  const missing = filesOf(text, path).find((file) => !existsSync(join(records, file)));
  if (missing !== undefined) return { skipped: `${given}: no ${join(records, missing)}` };
  return { source: { path, text, data: { type: 'folder', folder: records } } };
}

function filesOf(text: string, path: string): readonly string[] {
  return [...new Set(Object.values(parseStudy(text, path).modalities).flatMap(({ records: { index, values } }) => (values === undefined ? [index] : [index, values])))].sort();
}

/** A digest of the records that a study reads (of media: of their index): results of other records are never taken for its own, wherever the folder lies. */
export async function dataDigest({ path, text, data }: StudySource, known: Map<string, Promise<string>>): Promise<string> {
  if (data.type === 'made-up') return 'made-up';
  const whole = createHash('sha256');
  for (const file of filesOf(text, path)) {
    const place = join(data.folder, file);
    const digest = known.get(place) ?? digestOf(place);
    known.set(place, digest);
    whole.update(`${file}\n${await digest}\n`);
  }
  return whole.digest('hex');
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const part of createReadStream(path)) hash.update(part as Buffer);
  } catch (error) {
    throw new AntiphonError('data-invalid', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}; check the folder given with --data`, { cause: error });
  }
  return hash.digest('hex');
}

/** Of the files in a folder of this package; none where it is not there. */
export function shippedNames(folder: string): readonly string[] {
  return (existsSync(folder) ? readdirSync(folder) : []).filter((name) => name.endsWith('.yaml')).map((name) => name.slice(0, -5)).sort();
}

function findFile(given: string, { folder, shipped, what }: { readonly folder: string; readonly shipped: string; readonly what: string }): string {
  const places = extname(given) === '' && basename(given) === given ? [join(shipped, `${given}.yaml`)] : [resolve(folder, given)];
  const found = places.find((place) => existsSync(place));
  if (found !== undefined) return found;
  const names = shippedNames(shipped);
  const [nearest] = [didYouMean(given, names)].flat();
  const hint = typeof nearest === 'string' ? `did you mean "${nearest}"?` : `give a path (ending in .yaml), or one of: ${names.join(', ')}`;
  throw new AntiphonError('study-invalid', `no ${what} "${given}" (${places.join(', ')}); ${hint}`);
}
