import * as converter from '@tensorflow/tfjs-converter';
import { fromUtf8 } from '../../bytes.ts';
import type { Network, Networks } from '../../data/files.ts';
import { AntiphonError, invariant } from '../../errors.ts';
import { tf } from '../../model/tf.ts';
import { openBackend } from '../backend.ts';

/** A CommonJS package whose named exports Node cannot all see. */
const { loadGraphModelSync } = 'default' in converter ? (converter.default as typeof converter) : converter;

type GraphModel = ReturnType<typeof loadGraphModelSync>;
type ModelJson = Parameters<typeof tf.io.getModelArtifactsForJSONSync>[0];

/** Operations that WASM does not have run in plain JavaScript, slowly, and with them the whole network. */
type Backend = 'wasm' | 'cpu';

/**
 * Runs on WASM whatever backend trains: it is there on every machine, so that features are the same at every party but for rounding. Between two calls the backend of
 * this process is what it was, and no tensors are left but the network's weights, until `close`.
 */
export const openTfjsGraph: Networks['tfjs-graph'] = async ({ path, model: json, weights }) => {
  const failed = (what: string, error: unknown): AntiphonError => new AntiphonError('data-invalid', `the network ${path} ${what} (${error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)})`, { cause: error });
  await ready('wasm');
  let model: GraphModel;
  try {
    model = on('wasm', () => load(json, weights));
  } catch (error) {
    throw failed('is no TensorFlow.js graph model that can be read here, or is damaged; write it again with tensorflowjs_converter', error);
  }
  let backend: Backend = 'wasm';
  let missing = '';
  return {
    inputs: model.inputs.map(({ name, dtype, shape }) => ({ name, type: dtype, dims: shape?.map((length) => (length >= 0 ? length : undefined)) })),
    outputs: model.outputs.map(({ name }) => name),
    run: async (values, dims, output) => {
      for (;;) {
        try {
          return on(backend, () => execute(model, { values, dims, output, path }));
        } catch (error) {
          if (error instanceof AntiphonError) throw error;
          if (backend === 'cpu' || !isMissingKernel(error)) throw failed(`gives no "${output}" for records of [${dims.join(', ')}]; correct the modality's shape or records.frozen.output, or convert the network without control flow`, error);
          missing = error instanceof Error ? (/kernel '?(\w+)/i.exec(error.message)?.[1] ?? '') : '';
          await ready('cpu');
          backend = 'cpu';
        }
      }
    },
    runsOn: () => (backend === 'wasm' ? 'wasm' : `plain JavaScript, slowly: wasm lacks its operation ${missing}`),
    close: () => {
      model.dispose();
      return Promise.resolve();
    },
  } satisfies Network;
};

/** Of a network that is refused half-way no weights are left. */
function load(json: Uint8Array, weights: Uint8Array): GraphModel {
  let model: GraphModel | undefined;
  tf.tidy(() => {
    model = loadGraphModelSync([JSON.parse(fromUtf8(json)) as ModelJson, new Uint8Array(weights).buffer]);
    for (const tensor of Object.values(model.weights).flat()) tf.keep(tensor);
  });
  invariant(model !== undefined, 'a network, or an error');
  return model;
}

function execute(model: GraphModel, { values, dims, output, path }: { readonly values: Float32Array; readonly dims: readonly number[]; readonly output: string; readonly path: string }): { readonly dims: readonly number[]; readonly values: Float32Array } {
  let found: { readonly dims: readonly number[]; readonly values: Float32Array } | undefined;
  tf.tidy(() => {
    const result = model.execute(tf.tensor(values, [...dims]), output);
    if (Array.isArray(result) || result.dtype !== 'float32') {
      throw new AntiphonError('data-invalid', `expected float32 numbers in "${output}" of the network ${path}, found ${Array.isArray(result) ? 'several tensors' : result.dtype}; name another node in records.frozen.output`);
    }
    // WASM's own memory is not to be kept: what is read is copied.
    found = { dims: result.shape, values: Float32Array.from(result.dataSync()) };
  });
  invariant(found !== undefined, 'an output, or an error');
  return found;
}

/** Synchronous, so that whatever else this process computes never meets another backend than its own. */
function on<T>(backend: Backend, work: () => T): T {
  const before = tf.getBackend() as string | undefined;
  if (before === backend) return work();
  // Both are initialised: they are in place when the call returns.
  void tf.setBackend(backend);
  try {
    return work();
  } finally {
    if (before !== undefined) void tf.setBackend(before);
  }
}

async function ready(backend: Backend): Promise<void> {
  if (backend in tf.engine().registry) return;
  const before = tf.getBackend() as string | undefined;
  await openBackend(backend);
  if (before !== undefined) await tf.setBackend(before);
}

function isMissingKernel(error: unknown): boolean {
  return error instanceof Error && /kernel .* not registered/i.test(error.message);
}
