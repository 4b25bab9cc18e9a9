import { createRequire } from 'node:module';
import { dirname } from 'node:path';

/** What may be asked for, and what is installed. Apart from `backend.ts`, so that whoever only asks does not load TensorFlow.js. */
export const BACKEND_CHOICES = ['auto', 'tensorflow-gpu', 'tensorflow', 'wasm', 'cpu'] as const;
export type BackendChoice = (typeof BACKEND_CHOICES)[number];
export type BackendName = Exclude<BackendChoice, 'auto'>;

export const BACKEND_PACKAGES: Record<BackendName, string> = {
  'tensorflow-gpu': '@tensorflow/tfjs-node-gpu',
  tensorflow: '@tensorflow/tfjs-node',
  wasm: '@tensorflow/tfjs-backend-wasm',
  cpu: '@tensorflow/tfjs-backend-cpu',
};

const require = createRequire(import.meta.url);

/** The folder of an installed package; undefined: not installed. */
export function packageFolder(packageName: string): string | undefined {
  try {
    return dirname(require.resolve(`${packageName}/package.json`));
  } catch {
    return undefined;
  }
}

/** Is a native package there (without loading it)? Its addon needs a process of its own. */
export function nativeBackendInstalled(): boolean {
  return [BACKEND_PACKAGES['tensorflow-gpu'], BACKEND_PACKAGES.tensorflow].some((packageName) => packageFolder(packageName) !== undefined);
}
