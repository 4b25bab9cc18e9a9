import { AntiphonError } from '../../errors.ts';

/** Loads a library when it is first needed, once. Throws AntiphonError('data-invalid') that says how to install it, unless told with npm's `install`. */
export function lazily<T>(library: string, load: () => Promise<T>, install: string = `--include=optional ${library}`): () => Promise<T> {
  let loaded: Promise<T> | undefined;
  return () => {
    loaded ??= load().catch((error: unknown) => {
      loaded = undefined;
      const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
      throw new AntiphonError('data-invalid', `the study's records need the library "${library}", which cannot be loaded here (${reason}); install it beside antiphon: npm install ${install}`, { cause: error });
    });
    return loaded;
  };
}
