import { AntiphonError, invariant } from '../../errors.ts';
import { PATCH_KERNELS, type PatchGeometry } from '../../model/layers/conv2d-gradients.ts';
import { tf, type Tensor } from '../../model/tf.ts';
import { PATCH_GRADIENTS_BYTES } from './patch-gradients-bytes.ts';

/** What patch-gradients.wat exports; addresses and counts. */
interface PatchModule {
  readonly shape: (...sizes: readonly number[]) => void;
  readonly scratch: (band: number, patches: number, padded: number, product: number) => void;
  readonly perExample: (batch: number, x: number, g: number, gradients: number, squared: number) => void;
  readonly sum: (batch: number, x: number, g: number, sum: number) => void;
  readonly weightedSum: (rows: number, size: number, values: number, factors: number, sum: number) => void;
}

/** The part of TFJS' wasm backend that is used: its memory, and where a tensor lies in it. */
interface WasmBackend {
  readonly wasm: { readonly asm?: Readonly<Record<string, unknown>> };
  readonly dataIdMap: { readonly get: (dataId: object) => { readonly memoryOffset: number } };
  readonly makeOutput: (shape: readonly number[], dtype: 'float32') => TensorInfo;
  readonly disposeData: (dataId: object) => boolean;
}

type TensorInfo = Pick<Tensor, 'dataId' | 'shape' | 'dtype'>;

/** Node's types leave the global out. */
interface WebAssemblyGlobal {
  readonly Memory: abstract new () => object;
  readonly validate: (bytes: Uint8Array) => boolean;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: object };
}

/** Positions of a band: with patches of 150 numbers it stays in a first cache of 48 KB. */
const BAND = 64;

export type PatchKernels = { readonly type: 'ready' } | { readonly type: 'missing'; readonly reason: string };

/** One module per backend: it lives on the backend's memory, which may grow under it (addresses stay, views would not). */
const modules = new WeakMap<object, PatchModule>();

/** Registers the kernels of convolution gradients for the wasm backend that is open. Where they cannot run nothing is registered, and layers use TFJS' operations. */
export function openPatchKernels(backend: object = tf.backend(), bytes: Uint8Array = Buffer.from(PATCH_GRADIENTS_BYTES, 'base64')): PatchKernels {
  for (const kernelName of Object.values(PATCH_KERNELS)) if ((tf.getKernel(kernelName, 'wasm') as object | undefined) !== undefined) tf.unregisterKernel(kernelName, 'wasm');
  const { WebAssembly } = globalThis as unknown as { readonly WebAssembly: WebAssemblyGlobal };
  if (!WebAssembly.validate(bytes)) return { type: 'missing', reason: 'this processor or this Node has no WebAssembly SIMD' };
  const memory = Object.values((backend as Partial<WasmBackend>).wasm?.asm ?? {}).find((exported) => exported instanceof WebAssembly.Memory);
  if (memory === undefined) return { type: 'missing', reason: "the memory of TFJS' wasm backend is not reachable" };
  try {
    modules.set(backend, new WebAssembly.Instance(new WebAssembly.Module(bytes), { tfjs: { memory } }).exports as PatchModule);
  } catch (error) {
    return { type: 'missing', reason: error instanceof Error ? error.message : String(error) };
  }
  register(PATCH_KERNELS.patches, patchGradients);
  register(PATCH_KERNELS.sum, patchGradientSum);
  register(PATCH_KERNELS.weighted, weightedSum);
  return { type: 'ready' };
}

interface Call {
  readonly inputs: Readonly<Record<string, TensorInfo>>;
  readonly attrs: PatchGeometry;
  readonly backend: WasmBackend;
  readonly module: PatchModule;
}

function register(kernelName: string, compute: (call: Call) => TensorInfo | TensorInfo[]): void {
  const kernelFunc = ({ inputs, attrs, backend }: { readonly inputs: object; readonly attrs?: object; readonly backend: object }): TensorInfo | TensorInfo[] => {
    const module = modules.get(backend);
    invariant(module !== undefined, 'kernels are opened for the backend that runs them');
    return compute({ inputs: inputs as Call['inputs'], attrs: attrs as PatchGeometry, backend: backend as WasmBackend, module });
  };
  tf.registerKernel({ kernelName, backendName: 'wasm', kernelFunc });
}

function patchGradients(call: Call): TensorInfo[] {
  const { backend, module, inputs: { x, g } } = call;
  const { batch, rows, filters } = sizesOf(call);
  const gradients = backend.makeOutput([batch, rows, filters], 'float32');
  const squared = backend.makeOutput([batch], 'float32');
  withScratch(call, () => {
    module.perExample(batch, addressOf(backend, x!), addressOf(backend, g!), addressOf(backend, gradients), addressOf(backend, squared));
  });
  return [gradients, squared];
}

function patchGradientSum(call: Call): TensorInfo {
  const { backend, module, inputs: { x, g } } = call;
  const { batch, rows, filters } = sizesOf(call);
  const sum = backend.makeOutput([rows, filters], 'float32');
  withScratch(call, () => {
    module.sum(batch, addressOf(backend, x!), addressOf(backend, g!), addressOf(backend, sum));
  });
  return sum;
}

function weightedSum({ backend, module, inputs: { values, factors } }: Call): TensorInfo {
  const [rows = 0, ...rest] = values!.shape;
  const size = rest.reduce((a, b) => a * b, 1);
  invariant(rows > 0 && size > 0 && factors!.shape.length === 1 && factors!.shape[0] === rows, 'one factor per row');
  invariant(values!.dtype === 'float32' && factors!.dtype === 'float32', 'float32 tensors');
  const sum = backend.makeOutput(rest, 'float32');
  module.weightedSum(rows, size, addressOf(backend, values!), addressOf(backend, factors!), addressOf(backend, sum));
  return sum;
}

/** `rows` of the gradient: a patch's numbers and the bias. */
function sizesOf({ inputs: { x, g }, attrs: { kernel } }: Call): { readonly batch: number; readonly rows: number; readonly filters: number } {
  const [batch = 0, height = 0, width = 0, channels = 0] = x!.shape;
  const [gradients, outputRows = 0, outputColumns = 0, filters = 0] = g!.shape;
  invariant(x!.shape.length === 4 && g!.shape.length === 4 && gradients === batch, 'an image and an output gradient per example');
  invariant(batch * height * width * channels * outputRows * outputColumns * filters > 0, 'no empty tensor');
  invariant(x!.dtype === 'float32' && g!.dtype === 'float32', 'float32 tensors');
  return { batch, rows: kernel[0] * kernel[1] * channels + 1, filters };
}

/** Gives the module its shape and a scratch of some tens of kilobytes, whatever the batch and the image. */
function withScratch(call: Call, work: () => void): void {
  const { backend, module, inputs: { x, g }, attrs: { kernel, stride, top, left } } = call;
  const [, height, width, channels] = x!.shape as [number, number, number, number];
  const [, outputRows, outputColumns, filters] = g!.shape as [number, number, number, number];
  const { rows } = sizesOf(call);
  const [patchWidth, filterWidth] = [whole(rows), whole(filters)];
  const scratch = backend.makeOutput([BAND * patchWidth + BAND * filterWidth + patchWidth * filterWidth], 'float32');
  try {
    const patches = addressOf(backend, scratch);
    const padded = patches + 4 * BAND * patchWidth;
    module.shape(height, width, channels, ...kernel, ...stride, top, left, outputRows * outputColumns, outputColumns, filters);
    module.scratch(BAND, patches, padded, padded + 4 * BAND * filterWidth);
    work();
  } finally {
    backend.disposeData(scratch.dataId);
  }
}

/** In whole vectors of four. */
function whole(count: number): number {
  return Math.ceil(count / 4) * 4;
}

/** Of a tensor's first byte. TFJS leaves a failed allocation at zero, where writing would destroy other tensors. */
function addressOf({ dataIdMap }: WasmBackend, { dataId }: TensorInfo): number {
  const { memoryOffset } = dataIdMap.get(dataId);
  if (memoryOffset === 0) throw new AntiphonError('training-failed', 'the wasm backend is out of memory; use a smaller model or smaller records');
  return memoryOffset;
}
