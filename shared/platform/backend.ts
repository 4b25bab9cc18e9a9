import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import util from 'node:util';
import { AntiphonError } from '../errors.ts';
import { tf } from '../model/tf.ts';

export const BACKEND_CHOICES = ['auto', 'tensorflow-gpu', 'tensorflow', 'wasm', 'cpu'] as const;
export type BackendChoice = (typeof BACKEND_CHOICES)[number];
type BackendName = Exclude<BackendChoice, 'auto'>;

export interface BackendReport {
  readonly name: BackendName;
  readonly package: string;
  readonly version: string;
  /** Why this one: forced, or why each faster one was passed over. Always said, never silent. */
  readonly why: string;
}

const PACKAGES: Record<BackendName, string> = {
  'tensorflow-gpu': '@tensorflow/tfjs-node-gpu',
  tensorflow: '@tensorflow/tfjs-node',
  wasm: '@tensorflow/tfjs-backend-wasm',
  cpu: '@tensorflow/tfjs-backend-cpu',
};
const AUTO_ORDER: readonly BackendName[] = ['tensorflow-gpu', 'tensorflow', 'wasm'];

const require = createRequire(import.meta.url);

/** Opens a TFJS backend for this process: `auto` takes the fastest that is installed and loads; a forced one that fails is an error. */
export async function openBackend(choice: BackendChoice): Promise<BackendReport> {
  const passedOver: string[] = [];
  for (const name of choice === 'auto' ? AUTO_ORDER : [choice]) {
    const failed = await tryBackend(name);
    if (failed === undefined) {
      return { name, package: PACKAGES[name], version: versionOf(PACKAGES[name]), why: choice === 'auto' ? (passedOver.length === 0 ? 'fastest' : passedOver.join('; ')) : 'chosen with --backend' };
    }
    passedOver.push(`${name}: ${failed}`);
  }
  throw new AntiphonError('backend-unavailable', `the compute backend "${choice}" cannot be used: ${passedOver.join('; ')}`);
}

/** Is a native package there (without loading it)? Its addon needs a process of its own. */
export function nativeBackendInstalled(): boolean {
  return isInstalled(PACKAGES['tensorflow-gpu']) || isInstalled(PACKAGES.tensorflow);
}

/** Undefined on success, else the reason in words. */
async function tryBackend(name: BackendName): Promise<string | undefined> {
  const packageName = PACKAGES[name];
  if (!isInstalled(packageName)) return `${packageName} is not installed (npm install ${packageName})`;
  try {
    if (name === 'tensorflow' || name === 'tensorflow-gpu') {
      restoreRemovedUtilities();
      const module = (await import(packageName)) as { default?: NativeModule } & NativeModule;
      if (!(await tf.setBackend('tensorflow'))) return `${packageName} loads but offers no backend`;
      const gpu = (module.default ?? module).node?.isGPUDevice ?? (tf.backend() as { isUsingGpuDevice?: boolean }).isUsingGpuDevice;
      if (name === 'tensorflow-gpu' && gpu === false) return `${packageName} is installed but finds no GPU`;
      return undefined;
    }
    if (name === 'wasm') {
      const wasm = require('@tensorflow/tfjs-backend-wasm') as { setWasmPaths: (path: string) => void };
      wasm.setWasmPaths(join(packageFolder('@tensorflow/tfjs-backend-wasm'), 'dist') + sep);
    } else {
      require('@tensorflow/tfjs-backend-cpu');
    }
    if (!(await tf.setBackend(name))) return `${packageName} cannot start here`;
    await tf.ready();
    return undefined;
  } catch (error) {
    return `${packageName} cannot be loaded (${error instanceof Error ? error.message.split('\n')[0] : String(error)})`;
  }
}

interface NativeModule {
  readonly node?: { readonly isGPUDevice?: boolean };
}

/** tfjs-node 4.22 calls two functions that Node 23 removed (tfjs issue 8425). */
function restoreRemovedUtilities(): void {
  const old = util as unknown as Record<string, unknown>;
  old['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined;
  old['isArray'] ??= Array.isArray;
}

function isInstalled(packageName: string): boolean {
  try {
    require.resolve(`${packageName}/package.json`);
    return true;
  } catch {
    return false;
  }
}

function packageFolder(packageName: string): string {
  return dirname(require.resolve(`${packageName}/package.json`));
}

function versionOf(packageName: string): string {
  return (JSON.parse(readFileSync(join(packageFolder(packageName), 'package.json'), 'utf8')) as { version: string }).version;
}
