import { AntiphonError } from '../../shared/errors.ts';

/** Changes to a study file: dotted path -> value. */
export type Settings = Readonly<Record<string, unknown>>;

/** Every combination of one value per path, the last path fastest; one empty combination of none. */
export function combinations(values: Readonly<Record<string, readonly unknown[]>>): readonly Settings[] {
  return Object.entries(values).reduce<readonly Settings[]>((all, [path, choices]) => all.flatMap((settings) => choices.map((value) => ({ ...settings, [path]: value }))), [{}]);
}

/** Whether a change is one of fusion alone: it acts on the scores of a trained model. */
export function isFusion(path: string): boolean {
  return path === 'fusion' || path.startsWith('fusion.');
}

export function pick(settings: Settings, wanted: (path: string) => boolean): Settings {
  return Object.fromEntries(Object.entries(settings).filter(([path]) => wanted(path)));
}

/** The file's content with the changes in it, sections made where they lack. Numbers in a path count list entries from 0. */
export function withSettings(content: unknown, settings: Settings): unknown {
  return Object.entries(settings).reduce((all, [path, value]) => put(all, { path, keys: path.split('.'), value }), content);
}

function put(content: unknown, change: { readonly path: string; readonly keys: readonly string[]; readonly value: unknown }): unknown {
  const { path, keys, value } = change;
  const [key, ...rest] = keys;
  if (key === undefined) return value;
  if (Array.isArray(content)) {
    const list: readonly unknown[] = content;
    const index = Number(key);
    if (!Number.isInteger(index) || index < 0 || index >= list.length) throw refuse(path, `expected the number of one of ${list.length} list entries, from 0, found "${key}"`);
    return list.map((item, i) => (i === index ? put(item, { path, keys: rest, value }) : item));
  }
  if (content !== undefined && content !== null && typeof content !== 'object') throw refuse(path, `"${key}" would lie inside the value ${JSON.stringify(content)}, which is no section`);
  const section = (content ?? {}) as Readonly<Record<string, unknown>>;
  return { ...section, [key]: put(Object.hasOwn(section, key) ? section[key] : undefined, { path, keys: rest, value }) };
}

function refuse(path: string, why: string): AntiphonError {
  return new AntiphonError('study-invalid', `override ${path}: ${why}; paths are those of the study file`);
}

/** For names of cells and rows. */
export function settingsText(settings: Settings): string {
  return Object.entries(settings).map(([path, value]) => `${path}=${typeof value === 'string' ? value : JSON.stringify(value)}`).join(' ');
}

/**
 * Whether a cell's name (words: a study, KEY=VALUE) has the wanted words. Words of one key are alternatives, keys come together: `epsilon=2 epsilon=1 seed=1` are the cells of seed 1
 * at either budget.
 */
export function chosen(name: string, words: readonly string[]): boolean {
  const own = new Set(name.split(' '));
  const keyOf = (word: string): string => (word.includes('=') ? word.slice(0, word.indexOf('=')) : '');
  const wanted = words.flatMap((word) => word.split(/\s+/)).filter((word) => word !== '');
  return wanted.every((word) => wanted.some((other) => keyOf(other) === keyOf(word) && own.has(other)));
}
