import { concatBytes, fromUtf8, toHex } from '../bytes.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { AntiphonError } from '../errors.ts';
import type { FrozenSpec } from '../study/schema.ts';
import type { DataFiles, NetworkBytes } from './files.ts';

/** What a network may take at most; a manifest could name the same or ever more files until memory is gone. */
const [MAX_SHARDS, MAX_GIB] = [10_000, 4];

/**
 * The bytes of the network that a study names, and no others: SHA-256 over the ONNX file, or over model.json followed by its shards in the order of its
 * manifest. Throws AntiphonError('data-invalid').
 */
export async function readNetwork(files: DataFiles, { file, format, sha256: wanted }: FrozenSpec, sha256: Primitives['sha256']): Promise<NetworkBytes> {
  const model = await files.read(file);
  const shards: Uint8Array[] = [];
  let size = model.length;
  for (const path of format === 'onnx' ? [] : shardsOf(model, file)) {
    const shard = await files.read(path);
    size += shard.length;
    if (size > MAX_GIB * 2 ** 30) throw new AntiphonError('data-invalid', `expected a network of at most ${MAX_GIB} GiB, found more in ${file} and its weight files up to ${path}; use a smaller network`);
    shards.push(shard);
  }
  const whole = shards.length === 0 ? model : concatBytes(model, ...shards);
  const found = toHex(sha256(whole));
  if (found !== wanted) {
    const over = format === 'onnx' ? file : `${file} and its ${shards.length} weight files`;
    throw new AntiphonError('data-invalid', `expected ${over} to have the SHA-256 ${wanted}, as records.frozen.sha256 says, found ${found}: this is another network; get the one that the study means, or correct the study if this is it`);
  }
  return { path: file, model: whole.subarray(0, model.length), weights: whole.subarray(model.length) };
}

/** Paths of the weight files, which lie beside model.json. */
function shardsOf(model: Uint8Array, file: string): readonly string[] {
  const folder = file.slice(0, file.lastIndexOf('/') + 1);
  const manifest = groupsOf(model);
  if (manifest === undefined) {
    throw new AntiphonError('data-invalid', `expected the model.json of a TensorFlow.js graph model in ${file}, with "modelTopology" and a "weightsManifest" of "paths", found something else; write it with tensorflowjs_converter --output_format=tfjs_graph_model, or give format: onnx`);
  }
  if (manifest.length > MAX_SHARDS) {
    throw new AntiphonError('data-invalid', `expected at most ${MAX_SHARDS} weight files in the weightsManifest of ${file}, found ${manifest.length}; convert it with a larger --weight_shard_size_bytes`);
  }
  const seen = new Set<string>();
  for (const path of manifest) {
    if (seen.has(path)) throw new AntiphonError('data-invalid', `expected every weight file once in the weightsManifest of ${file}, found ${JSON.stringify(path)} again; write the network again with tensorflowjs_converter`);
    seen.add(path);
  }
  return manifest.map((path) => `${folder}${path}`);
}

function groupsOf(model: Uint8Array): readonly string[] | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(fromUtf8(model));
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null || !('modelTopology' in parsed) || !('weightsManifest' in parsed)) return undefined;
  const { weightsManifest: groups } = parsed;
  if (!Array.isArray(groups)) return undefined;
  const paths = groups.flatMap((group: unknown): unknown[] => (typeof group === 'object' && group !== null && 'paths' in group && Array.isArray(group.paths) ? group.paths : [undefined]));
  return paths.every((path) => typeof path === 'string') ? paths : undefined;
}
