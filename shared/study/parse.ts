import didYouMean from 'didyoumean2';
import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { AntiphonError } from '../errors.ts';
import { canonicalJson } from '../ledger/canonical.ts';
import { isWithin, MAX_STUDY_BYTES } from '../lengths.ts';
import { frontEndShape, recordFilesFault, textFault, tokensFault, vocabularyOf } from './encoder-input.ts';
import { scheduleOrder } from './schedule.ts';
import { studySchema, type Modality, type Study } from './schema.ts';
import { counted } from '../plural.ts';

/**
 * A study from YAML text. `source` names the text in messages (a path). Throws AntiphonError('study-invalid') listing
 * every fault with its place, what was expected and, for an unknown key, the key that was probably meant.
 */
export function parseStudy(text: string, source: string): Study {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, strict: true });
  const [syntax] = document.errors;
  if (syntax !== undefined) throw new AntiphonError('study-invalid', `${source} is not valid YAML: ${syntax.message}`);

  const lineOf = (path: readonly PropertyKey[]): string => {
    for (let length = path.length; length > 0; length -= 1) {
      const node = document.getIn(path.slice(0, length), true);
      if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) {
        return `:${lines.linePos(Number(node.range[0])).line}`;
      }
    }
    return '';
  };
  const result = studySchema.safeParse(document.toJS({ maxAliasCount: 100 }), { error: inOurWords });
  const faults = result.success ? contradictions(result.data) : result.error.issues.flatMap((issue) => describeIssue(issue, studySchema));
  if (faults.length > 0) {
    const list = faults.map(({ path, message }) => `  ${source}${lineOf(path)} ${formatPath(path)}: ${message}`).join('\n');
    throw new AntiphonError('study-invalid', `the study file has ${counted(faults.length, 'fault')}:\n${list}`);
  }
  if (!result.success) throw new AntiphonError('study-invalid', `${source} does not describe a study`);
  return withOrder(result.data);
}

/** The order of the rounds in so many words: in canonical JSON, which parties exchange, keys are sorted, and the order of the file would be lost. */
function withOrder(study: Study): Study {
  return { ...study, schedule: { ...study.schedule, order: [...scheduleOrder(study)] } };
}

/** A study as parsed JSON: received from the coordinator, unless `refuse` says where else its faults come from. */
export function studyFromUnknown(value: unknown, refuse: (faults: readonly Fault[]) => AntiphonError = sentByCoordinator): Study {
  const result = studySchema.safeParse(value, { error: inOurWords });
  const faults = result.success ? contradictions(result.data) : result.error.issues.flatMap((issue) => describeIssue(issue, studySchema));
  if (!result.success || faults.length > 0) {
    throw refuse(faults);
  }
  return withOrder(result.data);
}

function sentByCoordinator(faults: readonly Fault[]): AntiphonError {
  return new AntiphonError('study-invalid', `the coordinator sent a study that is not valid: ${faults.map((f) => `${formatPath(f.path)}: ${f.message}`).join('; ')}`);
}

export interface Fault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

export function formatPath(path: readonly PropertyKey[]): string {
  return path.length === 0 ? '(whole file)' : path.map(String).join('.');
}

/** What the library would say in its own way ("Invalid input: expected number, received undefined"); undefined leaves the schema's own message. */
export const inOurWords: z.core.$ZodErrorMap = (issue) => {
  if (issue.code === 'invalid_value') return `expected ${issue.values.length === 1 ? '' : 'one of '}${issue.values.map((value) => JSON.stringify(value)).join(', ')}, found ${found(issue.input)}`;
  if (issue.code === 'too_small') return `expected ${sized(issue.origin, issue.inclusive === false ? 'above' : 'at least', issue.minimum)}, found ${sizeFound(issue.input)}`;
  if (issue.code === 'too_big') return `expected ${sized(issue.origin, issue.inclusive === false ? 'below' : 'at most', issue.maximum)}, found ${sizeFound(issue.input)}`;
  if (issue.code !== 'invalid_type') return undefined;
  const articles: Readonly<Record<string, string>> = { array: 'a list', object: 'keys with values', record: 'keys with values', string: 'text', boolean: 'true or false', int: 'a whole number', number: 'a number' };
  // YAML reads digits, dates and words such as yes as what they look like.
  const quotes = issue.expected === 'string' && (typeof issue.input === 'number' || typeof issue.input === 'boolean') ? '; put it in quotes' : '';
  return `expected ${articles[issue.expected] ?? issue.expected}, found ${found(issue.input)}${quotes}`;
};

/** What is bounded, and how: `a number above 0`, `at least 1 entry`. */
function sized(origin: string, relation: string, bound: number | bigint): string {
  if (origin === 'array') return `${relation} ${bound} ${Number(bound) === 1 ? 'entry' : 'entries'}`;
  if (origin === 'string') return `${relation} ${counted(Number(bound), 'character')}`;
  return `a number ${relation.startsWith('at') ? `of ${relation}` : relation} ${bound}`;
}

function sizeFound(input: unknown): string {
  return Array.isArray(input) || typeof input === 'string' ? String(input.length) : found(input);
}

function found(value: unknown): string {
  if (value === undefined) return 'nothing: the key is missing';
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'keys with values';
  return typeof value === 'string' ? `the text "${value.slice(0, 60)}"` : JSON.stringify(value);
}

/** An issue of `schema` as people read it. */
export function describeIssue(issue: z.core.$ZodIssue, schema: unknown): Fault[] {
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(issue.path, schema);
    return issue.keys.map((key) => {
      const [nearest] = [didYouMean(key, known)].flat();
      const hint = typeof nearest === 'string' ? `did you mean "${nearest}"?` : `known keys here: ${known.join(', ')}`;
      return { path: [...issue.path, key], message: `unknown key "${key}"; ${hint}` };
    });
  }
  if (issue.code === 'invalid_union' && 'errors' in issue && issue.errors.length > 0) {
    return [{ path: issue.path, message: eitherOf(issue.errors.flat().map((inner) => inner.message)) }];
  }
  if (issue.code === 'invalid_key') return [{ path: issue.path, message: issue.issues.map((inner) => inner.message).join(', ') }];
  return [{ path: issue.path, message: issue.message }];
}

/** `expected A or B, found C` where all say what they found instead, and it is the same. */
function eitherOf(messages: readonly string[]): string {
  const parts = messages.map((message) => /^expected (.*?), found (.*)$/s.exec(message));
  const [first] = parts;
  if (first?.[2] === undefined || !parts.every((part) => part?.[2] === first[2])) return messages.join(', or ');
  return `expected ${[...new Set(parts.map((part) => part?.[1] ?? ''))].join(' or ')}, found ${first[2]}`;
}

/** The keys the schema knows at a path, for the suggestion; a union offers the keys of all its members. */
function keysAt(path: readonly PropertyKey[], schema: unknown): string[] {
  let level: unknown[] = [schema];
  for (const step of path) level = level.flatMap((one) => children(one, step));
  return [...new Set(level.flatMap((one) => Object.keys(shapeOf(one) ?? {})))];
}

interface SchemaParts {
  readonly shape?: Record<string, unknown>;
  readonly innerType?: unknown;
  readonly element?: unknown;
  readonly valueType?: unknown;
  readonly options?: readonly unknown[];
}

function partsOf(schema: unknown): SchemaParts {
  return typeof schema === 'object' && schema !== null && 'def' in schema ? (schema.def as SchemaParts) : {};
}

function unwrap(schema: unknown): unknown[] {
  const parts = partsOf(schema);
  if (parts.innerType !== undefined) return unwrap(parts.innerType);
  if (parts.options !== undefined) return parts.options.flatMap(unwrap);
  return [schema];
}

function shapeOf(schema: unknown): Record<string, unknown> | undefined {
  return unwrap(schema).reduce<Record<string, unknown> | undefined>((all, one) => ({ ...all, ...partsOf(one).shape }), undefined);
}

function children(schema: unknown, step: PropertyKey): unknown[] {
  return unwrap(schema).flatMap((one) => {
    const parts = partsOf(one);
    const child = typeof step === 'string' && parts.shape !== undefined ? parts.shape[step] : undefined;
    return [child, parts.element, parts.valueType].filter((found) => found !== undefined);
  });
}

/** What no schema can say: references between the parts of a study. */
function contradictions(study: Study): Fault[] {
  const faults: Fault[] = [];
  if (!isWithin(canonicalJson(study), MAX_STUDY_BYTES)) {
    faults.push({ path: [], message: `larger than ${MAX_STUDY_BYTES} bytes as canonical JSON, which no site would take; shorten names and filters, or split the study` });
  }
  const modalities = Object.keys(study.modalities);
  const expectModality = (name: string, path: readonly PropertyKey[]): void => {
    if (modalities.includes(name)) return;
    const [nearest] = [didYouMean(name, modalities)].flat();
    faults.push({ path, message: `no modality "${name}"; ${typeof nearest === 'string' ? `did you mean "${nearest}"?` : `the study has: ${modalities.join(', ')}`}` });
  };
  if (modalities.length === 0) faults.push({ path: ['modalities'], message: 'expected at least one modality' });

  const names = new Set<string>();
  study.sites.forEach((site, i) => {
    expectModality(site.modality, ['sites', i, 'modality']);
    if (names.has(site.name)) faults.push({ path: ['sites', i, 'name'], message: `two sites are called "${site.name}"; every site needs its own name` });
    names.add(site.name);
  });
  study.schedule.order?.forEach((name, i) => expectModality(name, ['schedule', 'order', i]));
  const order = study.schedule.order ?? modalities;
  for (const name of new Set(order)) {
    if (modalities.includes(name) && !study.sites.some((site) => site.modality === name)) {
      faults.push({ path: ['sites'], message: `no site holds the modality "${name}", which the schedule trains` });
    }
  }
  faults.push(...adaptiveFaults(study));
  for (const [name, modality] of Object.entries(study.modalities)) faults.push(...modalityFaults(name, modality, study.head));
  if (study.fusion.prior !== undefined && study.fusion.prior.length !== study.classes.length) {
    faults.push({ path: ['fusion', 'prior'], message: `expected one value per class (${study.classes.length}), found ${study.fusion.prior.length}` });
  }
  const { privacy, withoutPrivacy } = study;
  for (const name of Object.keys(withoutPrivacy?.modalities ?? {})) expectModality(name, ['withoutPrivacy', 'modalities', name]);
  if (withoutPrivacy !== undefined && privacy.protection === 'none') {
    faults.push({ path: ['withoutPrivacy'], message: 'the study has no privacy to leave out: set these values where they belong' });
  }
  if (privacy.protection === 'local-noise' && privacy.epsilon === undefined && privacy.noiseMultiplier === undefined) {
    faults.push({ path: ['privacy'], message: 'give epsilon (the noise is calibrated), noiseMultiplier (the epsilon is computed), or both' });
  }
  return faults;
}

/** Which modality trains is decided by scores of the public selection part, and PLD holds for that only where all of them have one sampling rate (adaptive.ts). */
function adaptiveFaults({ schedule, modalities, evaluation, privacy }: Study): Fault[] {
  if (schedule.adaptive === undefined) return [];
  const path = ['schedule', 'adaptive'];
  const trained = new Set(schedule.order ?? Object.keys(modalities));
  const rates = Object.entries(modalities).flatMap(([name, { samplingRate = privacy.samplingRate }]) => (trained.has(name) ? [{ name, samplingRate }] : []));
  return [
    ...(trained.size < 2 ? [{ path, message: `there is nothing to choose: the schedule trains ${trained.size === 1 ? 'one modality' : 'no modality'}; leave adaptive out` }] : []),
    ...(evaluation === undefined ? [{ path, message: 'needs "evaluation": rounds go by what improves on its public selection part' }] : []),
    ...(privacy.protection === 'local-noise' && privacy.accountant === 'pld' && new Set(rates.map(({ samplingRate }) => samplingRate)).size > 1
      ? [{ path, message: `the rounds depend on released models, and PLD holds for that only at one sampling rate, found ${rates.map(({ name, samplingRate }) => `${name} ${samplingRate}`).join(', ')}; give all modalities one, or set privacy.accountant: rdp` }]
      : []),
  ];
}

function modalityFaults(name: string, modality: Modality, head: Study['head']): Fault[] {
  const { shape, encoder, records } = modality;
  const faults: Fault[] = [];
  const at = ['modalities', name];
  const tokens = vocabularyOf(encoder) === undefined ? undefined : tokensFault(modality);
  if (tokens !== undefined) return [{ path: [...at, ...tokens.key], message: tokens.fault }];
  if (records.frontEnd !== undefined && records.frozen !== undefined) {
    faults.push({ path: [...at, 'records'], message: 'expected one of "frontEnd" and "frozen", found both; leave one out' });
  }
  const input = records.frozen !== undefined ? { shape: records.frozen.outputShape } : records.frontEnd === undefined ? { shape } : frontEndShape(records.frontEnd, shape);
  if ('fault' in input) {
    faults.push({ path: [...at, 'records', 'frontEnd', input.key], message: input.fault });
  } else if ((encoder.type === 'cnn' && input.shape.length !== 3) || (encoder.type === 'cnn1d' && input.shape.length > 2)) {
    const before = records.frozen !== undefined ? 'frozen network' : records.frontEnd === undefined ? undefined : `${records.frontEnd.type} front-end`;
    const [key, what] = before === undefined ? ['shape', 'found'] : ['encoder', `the ${before} gives`];
    const needed = encoder.type === 'cnn' ? '[height, width, channels]' : '[length] or [length, channels]';
    faults.push({ path: [...at, key], message: `a ${encoder.type} needs ${needed}, ${what} [${input.shape.join(', ')}]` });
  }
  if ('filters' in encoder && encoder.normalise === 'group' && encoder.filters.some((filters) => filters % encoder.groups !== 0)) {
    faults.push({ path: [...at, 'encoder', 'groups'], message: `${encoder.groups} groups must divide every entry of filters [${encoder.filters.join(', ')}]` });
  }
  if (head.initial?.type === 'orthogonal' && (encoder.activation !== 'tanh' || encoder.normalise === 'layer')) {
    const found = encoder.normalise === 'layer' ? 'normalise: layer' : `activation: ${encoder.activation}`;
    faults.push({ path: [...at, 'encoder'], message: `head.initial "orthogonal" starts every encoder's last layer at zero, where training needs activation: tanh and no layer normalisation; found ${found}` });
  }
  const { values, files, text, columns, row } = records;
  const given = Object.entries({ values, files, text }).filter(([, source]) => source !== undefined).map(([key]) => key);
  if (given.length !== 1) {
    faults.push({ path: [...at, 'records'], message: `expected exactly one of "values", "files" and "text", found ${given.length === 0 ? 'none' : given.join(' and ')}` });
  }
  if (values === undefined && (columns !== undefined || row !== undefined)) {
    faults.push({ path: [...at, 'records'], message: `only a "values" file has "${columns === undefined ? 'row' : 'columns'}"` });
  }
  if (values !== undefined && /\.(?:csv|parquet)$/.test(values) !== (columns !== undefined)) {
    faults.push({ path: [...at, 'records'], message: 'a .csv or .parquet needs "columns", and only these may have them' });
  }
  const sourceFault = files === undefined ? undefined : recordFilesFault(files, shape);
  if (sourceFault !== undefined) faults.push({ path: [...at, 'records', 'files', sourceFault.key], message: sourceFault.fault });
  const hashedFault = text === undefined ? undefined : textFault(shape);
  if (hashedFault !== undefined) faults.push({ path: [...at, 'shape'], message: hashedFault.fault });
  if (columns !== undefined && columns.length !== shape.reduce((a, b) => a * b, 1)) {
    faults.push({ path: [...at, 'records', 'columns'], message: `${columns.length} columns do not fill the shape [${shape.join(', ')}]` });
  }
  return faults;
}
