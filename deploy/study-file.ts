import { readFile, readdir } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import didYouMean from 'didyoumean2';
import { AntiphonError } from '../shared/errors.ts';

export interface StudyFile {
  readonly path: string;
  readonly text: string;
}

/** A study by its path or, for a bare word that names no file here, by the name of one that is shipped. Throws AntiphonError('study-invalid') with the names that there are. */
export async function readStudyFile(given: string, shipped: string): Promise<StudyFile> {
  const isName = basename(given) === given && extname(given) === '';
  let problem: unknown;
  for (const path of isName ? [given, join(shipped, `${given}.yaml`)] : [given]) {
    try {
      return { path, text: await readFile(path, 'utf8') };
    } catch (error) {
      problem = error;
    }
  }
  const names = (await readdir(shipped)).filter((name) => extname(name) === '.yaml').map((name) => basename(name, '.yaml'));
  const [nearest] = [didYouMean(basename(given, '.yaml'), names)].flat();
  const hint = typeof nearest === 'string' ? `did you mean "${nearest}"? Otherwise ` : '';
  const why = isName ? 'no such file, and no shipped study of that name' : problem instanceof Error ? problem.message : String(problem);
  throw new AntiphonError('study-invalid', `cannot read the study ${given}: ${why}; ${hint}give the path of a study file, one of the shipped studies (${names.join(', ')}), or write a file with \`npx antiphon init\``, { cause: problem });
}
