import { AntiphonError } from '../errors.ts';
import { tf } from '../model/tf.ts';

/** The parts of WebGPU that are used; the packages are optional, and so are their types. */
interface Gpu {
  readonly requestAdapter: (options: { readonly powerPreference: 'high-performance' }) => Promise<Adapter | null>;
}

interface Adapter {
  readonly info: { readonly vendor: string; readonly architecture: string; readonly device: string; readonly description: string; readonly isFallbackAdapter?: boolean };
  readonly limits: Readonly<Record<string, number>>;
  readonly requestDevice: (descriptor: { readonly requiredLimits: Readonly<Record<string, number | undefined>> }) => Promise<Device>;
}

type Filter = 'validation' | 'out-of-memory' | 'internal';

interface Device {
  readonly pushErrorScope: (filter: Filter) => void;
  readonly popErrorScope: () => Promise<{ readonly message: string } | null>;
  readonly addEventListener: (type: 'uncapturederror', listener: (event: { readonly error: { readonly message: string } }) => void) => void;
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
}

type Backend = ReturnType<typeof tf.backend>;

export interface WebGpuPackages {
  /** `webgpu`: Dawn. */
  readonly dawn: () => Promise<unknown>;
  /** `@tensorflow/tfjs-backend-webgpu`. */
  readonly backend: () => Promise<unknown>;
}

export type WebGpu = { readonly type: 'ready'; readonly adapter: string; readonly software: boolean } | { readonly type: 'failed' | 'software'; readonly reason: string };

/** What TFJS asks of its own device, and the last one, which it forgets: with the default of 8 buffers a sum of 8 tensors silently computes nothing. */
const LIMITS = [
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeWorkgroupSizeX',
  'maxComputeInvocationsPerWorkgroup',
  'maxStorageBuffersPerShaderStage',
] as const;
const FILTERS: readonly Filter[] = ['validation', 'out-of-memory', 'internal'];

let gpu: Gpu | undefined;

/**
 * Opens WebGPU on Dawn as TFJS' backend "webgpu", on a device of our own whose every read fails once the GPU has reported an error. A software adapter is
 * taken only where `software` is 'allowed': it is slower than WASM.
 */
export async function openWebGpu({ dawn, backend }: WebGpuPackages, software: 'allowed' | 'refused'): Promise<WebGpu> {
  if (gpu === undefined) {
    const { create, globals } = (await dawn()) as { readonly create: (options: readonly string[]) => Gpu; readonly globals: object };
    // Mesa keeps its socket there; only looked at, never written to, on a machine without a session.
    process.env['XDG_RUNTIME_DIR'] ??= '/tmp';
    Object.assign(globalThis, globals);
    gpu = create(process.platform === 'linux' ? ['backend=vulkan'] : []);
  }
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null) return { type: 'failed', reason: 'finds no GPU (on Linux it needs a Vulkan driver: the GPU vendor\'s, or mesa-vulkan-drivers of 2024 or newer)' };
  const name = nameOf(adapter);
  const isSoftware = adapter.info.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe|software/i.test(`${adapter.info.architecture} ${name}`);
  if (isSoftware && software === 'refused') return { type: 'software', reason: `finds no GPU, only a software adapter (${name})` };
  const device = await adapter.requestDevice({ requiredLimits: Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]])) });

  const { WebGPUBackend } = (await backend()) as { readonly WebGPUBackend: new (device: Device, info: object) => Backend };
  offerToTfjs(gpu);
  // Registered by the package itself where navigator.gpu was there before it, or by an earlier call.
  if ('webgpu' in tf.engine().registryFactory) tf.removeBackend('webgpu');
  tf.registerBackend('webgpu', () => guarded(new WebGPUBackend(device, adapter.info), device));
  if (!(await tf.setBackend('webgpu'))) return { type: 'failed', reason: `does not start on ${name}` };
  await tf.ready();
  return { type: 'ready', adapter: name, software: isSoftware };
}

/** TFJS asks for navigator.gpu, which Node 20 has not and Node 21 and newer make read-only. */
function offerToTfjs(found: Gpu): void {
  const holder = globalThis as { navigator?: object };
  if (holder.navigator === undefined) Object.defineProperty(holder, 'navigator', { value: {}, configurable: true, writable: true });
  Object.defineProperty(holder.navigator, 'gpu', { value: found, configurable: true });
}

/**
 * Every error that the GPU reports (a shader that does not compile, memory that is not there, a lost device) leaves results that look like numbers. So error scopes are open at all times,
 * and no value is read before they were asked: after the first error every read throws AntiphonError('training-failed').
 */
function guarded(backend: Backend, device: Device): Backend {
  let failure: string | undefined;
  const fail = (message: string): void => {
    failure ??= message.split('\n')[0] ?? '';
  };
  const open = (): void => {
    for (const filter of FILTERS) device.pushErrorScope(filter);
  };
  // Errors outside of any scope, such as in calls of a driver.
  device.addEventListener('uncapturederror', ({ error }) => fail(error.message));
  void device.lost.then(({ reason, message }) => fail(`the device is lost (${reason}): ${message}`));
  open();
  const read = backend.read.bind(backend);
  backend.read = async (dataId) => {
    const values = await read(dataId);
    const scopes = FILTERS.map(() => device.popErrorScope());
    open();
    for (const error of await Promise.all(scopes)) if (error !== null) fail(error.message);
    if (failure !== undefined) {
      throw new AntiphonError('training-failed', `the GPU reports an error, so its numbers cannot be trusted and nothing is released: ${failure}; start again, or choose another backend with --backend`);
    }
    return values;
  };
  return backend;
}

function nameOf({ info: { vendor, device, description } }: Adapter): string {
  return description === '' ? `${vendor} ${device}`.trim() : description;
}
