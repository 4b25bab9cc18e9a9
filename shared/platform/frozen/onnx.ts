import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Networks } from '../../data/files.ts';
import { AntiphonError } from '../../errors.ts';
import { lazily } from '../decoders/library.ts';
import { isOrtFormat, weightsOf } from './onnx-tensors.ts';

/** The parts of onnxruntime-node that are used; the package is optional, and so are its types. */
interface Runtime {
  readonly InferenceSession: { readonly create: (model: Uint8Array, options: object) => Promise<Session> };
  readonly Tensor: new (type: 'float32', values: Float32Array, dims: readonly number[]) => Tensor;
}

interface Session {
  readonly inputMetadata: readonly Metadata[];
  readonly outputNames: readonly string[];
  readonly run: (feeds: Readonly<Record<string, Tensor>>, fetches: readonly string[]) => Promise<Readonly<Record<string, Tensor>>>;
  readonly release: () => Promise<void>;
}

type Metadata = { readonly name: string } & ({ readonly isTensor: false } | { readonly isTensor: true; readonly type: string; readonly shape: readonly (number | string)[] });

interface Tensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

const ONNX_RUNTIME = 'onnxruntime-node';
/** Its install script fetches CUDA libraries, hundreds of megabytes that are not used here: the processor's are in the package. In a clone npm leaves out optional peers that are not saved otherwise. */
const ONNX_RUNTIME_INSTALL = `--save-prod --ignore-scripts ${ONNX_RUNTIME}@1.30.0`;

const require = createRequire(import.meta.url);

/** A second wall behind `weightsOf`: the bytes are ONNX whatever they look like, and weights in other files are looked for, and only there, in a folder that does not exist and whose name nobody can know. */
export function sessionOptions(): object {
  const nowhere = join(tmpdir(), `antiphon-${randomUUID()}`);
  return { executionProviders: ['cpu'], logSeverityLevel: 4, extra: { session: { load_model_format: 'ONNX', model_external_initializers_file_folder_path: nowhere } } };
}

/** Runs on the processor, so that features are the same at every party but for rounding; `load` is replaced in tests. */
export function onnxOpener(load: () => Promise<unknown>): Networks['onnx'] {
  const loadRuntime = lazily(ONNX_RUNTIME, load, ONNX_RUNTIME_INSTALL);
  return async ({ path, model }) => {
    const failed = (what: string) => (error: unknown): never => {
      throw new AntiphonError('data-invalid', `the network ${path} ${what} (${error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)})`, { cause: error });
    };
    const damaged = failed('is no ONNX file that can be read here, or is damaged; export it again');
    if (isOrtFormat(model)) return damaged("it is in ONNX Runtime's own format");
    const weights = weightsOf(model);
    if (weights === 'damaged') return damaged('cut off, or something else');
    if (weights === 'elsewhere') {
      throw new AntiphonError('data-invalid', `the network ${path} has weights in other files, which its SHA-256 does not cover; save it as one file that holds them, for example with onnx.save_model(model, path, save_as_external_data=False)`);
    }
    if (weights === 'unknown') {
      throw new AntiphonError('data-invalid', `the network ${path} has a field that no release of ONNX up to 1.23 knows, where weights could stand that its SHA-256 does not cover; export it again with such a release, for example with torch.onnx.export(..., opset_version=17)`);
    }
    const { InferenceSession, Tensor } = (await loadRuntime()) as Runtime;
    const session = await InferenceSession.create(model, sessionOptions()).catch(damaged);
    return {
      inputs: session.inputMetadata.map((input) => ({
        name: input.name,
        type: input.isTensor ? input.type : 'something else than a tensor',
        dims: input.isTensor ? input.shape.map((length) => (typeof length === 'number' ? length : undefined)) : undefined,
      })),
      outputs: session.outputNames,
      run: async (values, dims, output) => {
        if (!session.outputNames.includes(output)) throw new AntiphonError('data-invalid', `expected an output "${output}" (records.frozen.output) of the network ${path}, found: ${session.outputNames.join(', ')}; name one of them`);
        const [input] = session.inputMetadata;
        const results = await session.run({ [input?.name ?? '']: new Tensor('float32', values, dims) }, [output]).catch(failed(`does not take records of [${dims.join(', ')}]; correct the modality's shape, or records.frozen.layout`));
        const result = results[output];
        if (result === undefined || !(result.data instanceof Float32Array)) throw new AntiphonError('data-invalid', `expected float32 numbers in output "${output}" of the network ${path}, found ${result?.type ?? 'none'}; name another output, or export the network with a float32 one`);
        return { dims: result.dims, values: result.data };
      },
      runsOn: () => 'ONNX Runtime on the processor',
      close: () => session.release(),
    };
  };
}

export const openOnnx = onnxOpener(() => Promise.resolve().then(() => require(ONNX_RUNTIME) as unknown));
