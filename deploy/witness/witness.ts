import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fromBase64 } from '../../shared/base64.ts';
import { fromHex, toHex, utf8 } from '../../shared/bytes.ts';
import { generateIdentity, identityFromSeed, type Identity } from '../../shared/crypto/keys.ts';
import { AntiphonError } from '../../shared/errors.ts';
import { parseJson } from '../../shared/json.ts';
import { advanceHead } from '../../shared/ledger/advance.ts';
import { originOf, parseCheckpoint, type Checkpoint } from '../../shared/ledger/checkpoint.ts';
import { cosign } from '../../shared/ledger/cosignature.ts';
import { isHeadProblem } from '../../shared/ledger/head-problem.ts';
import { readLine } from '../../shared/ledger/line.ts';
import { leafHash, verifyInclusion, type Proof } from '../../shared/ledger/merkle.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { formatNote, formatVerifierKey, isKeyName, noteKey, parseNote, withSignature } from '../../shared/ledger/signed-note.ts';
import { appendDurably } from '../../shared/platform/append-durably.ts';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import { makeFolder } from '../../shared/platform/folder.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';

const settingsSchema = z.strictObject({ antiphon: z.literal(1), study: z.string().regex(/^[0-9a-f]{64}$/), coordinatorKey: z.string().regex(/^[0-9a-f]{64}$/), name: z.string() });
type Settings = z.output<typeof settingsSchema>;

const files = (folder: string) => ({ key: join(folder, 'witness.key'), settings: join(folder, 'witness.json'), heads: join(folder, 'heads.jsonl'), evidence: join(folder, 'evidence.jsonl') });

export interface Seen {
  readonly origin: string;
  readonly coordinatorKey: string;
  readonly name: string;
  readonly size: number;
  /** Lines of the head that was known; undefined the first time. */
  readonly before: number | undefined;
  readonly isNew: boolean;
}

/**
 * Fetches the newest head, verifies that it is the coordinator's and extends the last one kept, keeps it, durably, with this witness's cosignature. Throws
 * AntiphonError('audit-forked') where it contradicts what was seen (and keeps it as evidence), 'audit-tampered' where it is not the coordinator's.
 */
export async function witnessOnce(input: { readonly url: string; readonly folder: string; readonly name: string | undefined; readonly coordinatorKey: string | undefined; readonly now: number }): Promise<Seen> {
  const { url, folder, now } = input;
  await makeFolder(folder, 0o700);
  await chmod(folder, 0o700);
  const kept = await readSettings(folder);
  const settings = kept ?? (await meet(input));
  if (kept !== undefined && ((input.name !== undefined && input.name !== kept.name) || (input.coordinatorKey !== undefined && input.coordinatorKey !== kept.coordinatorKey))) {
    throw new AntiphonError('usage', `${folder} belongs to the witness "${kept.name}" of a coordinator with the key ${kept.coordinatorKey}; leave --name and --key out, or use another --home`);
  }
  const known = await lastHead(folder);
  const note = await get(url, 'head');
  const announced = sizeOf(note);
  const proof = known === undefined || announced === undefined ? [] : await getProof(url, `consistency/${Math.min(known.size, announced)}/${Math.max(known.size, announced)}`).catch(noneGiven);
  const opened = advanceHead({ primitives, origin: originOf(settings.study), publicKey: fromHex(settings.coordinatorKey, 32), known, note, proof });
  if (isLedgerProblem(opened)) {
    // Two heads that contradict each other convict whoever signed them, wherever they are shown; an older head alone does not.
    if (opened.code === 'forked') await appendDurably(files(folder).evidence, `${JSON.stringify({ note, refusedBy: settings.name, size: announced })}\n`);
    const code = opened.code === 'forked' || opened.code === 'rolled-back' ? 'audit-forked' : opened.code === 'stale' ? 'audit-unreadable' : 'audit-tampered';
    throw new AntiphonError(code, `${opened.message}${opened.code === 'forked' ? `; both heads are signed by the coordinator and kept in ${folder}` : ''}`);
  }
  const { checkpoint } = opened;
  const identity = await witnessIdentity(folder);
  const key = noteKey({ primitives, name: settings.name, type: 'cosignature/v1', publicKey: identity.publicKey });
  const cosigned = formatNote(withSignature(opened.note, cosign({ primitives, identity, key, text: opened.note.text, time: Math.floor(now / 1000) })));
  const entry = { key: formatVerifierKey(key), note: cosigned, size: checkpoint.size, witness: settings.name };
  // Durable before it is said: a witness does not forget what it signed. Rewritten whole: one line per size that was seen.
  const lines = (await readHeads(folder)).filter((line) => sizeOf(line.note) !== checkpoint.size).map((line) => JSON.stringify(line));
  await writeFileAtomic(files(folder).heads, [...lines, JSON.stringify(entry)].map((line) => `${line}\n`).join(''));
  if (kept === undefined) await writeFileAtomic(files(folder).settings, `${JSON.stringify(settings, null, 2)}\n`);
  return { origin: checkpoint.origin, coordinatorKey: settings.coordinatorKey, name: settings.name, size: checkpoint.size, before: known?.size, isNew: kept === undefined };
}

/** One line of the ledger, from 1, which is proven to be in the last head that this witness has kept. */
export async function readLineWithProof({ url, folder, line }: { readonly url: string; readonly folder: string; readonly line: number }): Promise<string> {
  const head = await lastHead(folder);
  if (head === undefined || line > head.size) throw new AntiphonError('usage', `expected a line from 1 to ${head?.size ?? 0}, found ${line}`);
  const text = (await get(url, `line/${line - 1}`)).replace(/\n$/, '');
  const proof = await getProof(url, `inclusion/${line - 1}/${head.size}`);
  if (!verifyInclusion({ primitives, head, index: line - 1, leaf: leafHash(primitives, utf8(text)), proof })) {
    throw new AntiphonError('audit-tampered', `what the coordinator gives as line ${line} is not in the ledger whose head this witness has seen`);
  }
  return text;
}

/** The first time: study and key are those of the ledger's first line. A head that another key signs, or of another study, is refused afterwards. */
async function meet({ url, name = 'witness', coordinatorKey }: { readonly url: string; readonly name: string | undefined; readonly coordinatorKey: string | undefined }): Promise<Settings> {
  if (!isKeyName(name)) throw new AntiphonError('usage', `expected a name without spaces and "+", found "${name}"`);
  const text = (await get(url, 'line/0')).replace(/\n$/, '');
  const line = readLine(text);
  if (isLedgerProblem(line) || line.body.type !== 'plan') throw new AntiphonError('audit-unreadable', `${url} does not publish the ledger of a study: its first line is no PLAN`);
  const { study, coordinatorKey: stated } = line.body;
  if (coordinatorKey !== undefined && coordinatorKey !== stated) throw new AntiphonError('audit-tampered', `expected a coordinator with the key ${coordinatorKey}, found ${stated}`);
  return { antiphon: 1, study, coordinatorKey: stated, name };
}

const headSchema = z.looseObject({ note: z.string() });

async function readHeads(folder: string): Promise<readonly z.output<typeof headSchema>[]> {
  const path = files(folder).heads;
  const text = (await readKept(path)) ?? '';
  return text.split('\n').filter((line) => line !== '').map((line, i) => {
    const parsed = headSchema.safeParse(parseJson(line));
    if (parsed.success && checkpointOf(parsed.data.note) !== undefined) return parsed.data;
    throw new AntiphonError('storage-failed', `${path}, line ${i + 1}, is no head; restore it from a copy: what was seen must not be forgotten`);
  });
}

async function lastHead(folder: string): Promise<Checkpoint | undefined> {
  const last = (await readHeads(folder)).at(-1);
  return last === undefined ? undefined : checkpointOf(last.note);
}

function checkpointOf(note: string): Checkpoint | undefined {
  const parsed = parseNote(note);
  const checkpoint = isHeadProblem(parsed) ? parsed : parseCheckpoint(parsed.text);
  return isHeadProblem(checkpoint) ? undefined : checkpoint;
}

function sizeOf(note: string): number | undefined {
  return checkpointOf(note)?.size;
}

/** Undefined where there is none yet; what cannot be read is not begun anew: a witness that forgets may be told anything. */
async function readKept(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new AntiphonError('storage-failed', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}; without it this witness does not know what it has seen, or as whom`, { cause: error });
  });
}

async function readSettings(folder: string): Promise<Settings | undefined> {
  const path = files(folder).settings;
  const text = await readKept(path);
  if (text === undefined) return undefined;
  const parsed = settingsSchema.safeParse(parseJson(text));
  if (!parsed.success) throw new AntiphonError('storage-failed', `${path} is damaged; restore it from a copy`);
  return parsed.data;
}

async function witnessIdentity(folder: string): Promise<Identity> {
  const path = files(folder).key;
  const text = await readKept(path);
  if (text === undefined) {
    const identity = generateIdentity(primitives);
    await writeFileAtomic(path, `${toHex(identity.secretKey)}\n`, 0o600);
    return identity;
  }
  if (!/^[0-9a-f]{64}\n?$/.test(text)) throw new AntiphonError('storage-failed', `${path} holds no key; restore it from a copy`);
  return identityFromSeed(fromHex(text.trim(), 32));
}

/** Far more than any head, line or proof has. */
const MAX_ANSWER_BYTES = 4 * 2 ** 20;
const TIMEOUT_MS = 30_000;

async function get(url: string, path: string): Promise<string> {
  const address = new URL(path, url.endsWith('/') ? url : `${url}/`).href;
  const unreachable = (error: unknown): AntiphonError =>
    new AntiphonError('network-unreachable', `cannot reach ${address}: ${error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)}; is the coordinator running?`, { cause: error });
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new AntiphonError('audit-unreadable', `${address} answers ${response.status}; expected the address of a coordinator`);
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of response.body ?? []) {
      size += part.length;
      if (size > MAX_ANSWER_BYTES) throw new AntiphonError('audit-unreadable', `${address} answers more than ${MAX_ANSWER_BYTES} bytes; expected a head, a line or a proof`);
      parts.push(part);
    }
    return Buffer.concat(parts).toString('utf8');
  } catch (error) {
    throw error instanceof AntiphonError ? error : unreachable(error);
  }
}

/** A coordinator that answers without a proof proves nothing; one that does not answer is another matter. */
function noneGiven(error: unknown): Proof {
  if (error instanceof AntiphonError && error.code === 'audit-unreadable') return [];
  throw error;
}

/** A proof that does not read is none: then nothing is proven. */
async function getProof(url: string, path: string): Promise<Proof> {
  const text = await get(url, path);
  return text.split('\n').slice(0, -1).map((line) => fromBase64(line) ?? new Uint8Array());
}
