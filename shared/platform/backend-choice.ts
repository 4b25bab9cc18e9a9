import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';

/** What may be asked for, and what is installed. Apart from `backend.ts`, so that whoever only asks does not load TensorFlow.js. */
export const BACKEND_CHOICES = ['auto', 'tensorflow-gpu', 'webgpu', 'tensorflow', 'wasm', 'cpu'] as const;
export type BackendChoice = (typeof BACKEND_CHOICES)[number];
export type BackendName = Exclude<BackendChoice, 'auto'>;

export const AUTO_ORDER: readonly BackendName[] = ['tensorflow-gpu', 'webgpu', 'tensorflow', 'wasm'];
export const RUNS_IN_THREAD: readonly BackendName[] = ['wasm', 'cpu'];

export const BACKEND_PACKAGES: Record<BackendName, string> = {
  'tensorflow-gpu': '@tensorflow/tfjs-node-gpu',
  webgpu: '@tensorflow/tfjs-backend-webgpu',
  tensorflow: '@tensorflow/tfjs-node',
  wasm: '@tensorflow/tfjs-backend-wasm',
  cpu: '@tensorflow/tfjs-backend-cpu',
};
/** WebGPU itself, below its backend. */
export const DAWN = 'webgpu';

const require = createRequire(import.meta.url);

/** The folder of an installed package; undefined: not installed. */
export function packageFolder(packageName: string): string | undefined {
  try {
    return dirname(require.resolve(`${packageName}/package.json`));
  } catch {
    return undefined;
  }
}

/** Are the packages of a backend there? They are not loaded. */
export function isInstalled(name: BackendName, folder: (packageName: string) => string | undefined = packageFolder): boolean {
  return (name === 'webgpu' ? [BACKEND_PACKAGES.webgpu, DAWN] : [BACKEND_PACKAGES[name]]).every((packageName) => folder(packageName) !== undefined);
}

/** Whether the system shows a device that may be a GPU: without one Dawn, a hundred megabytes that greet on standard error, need not be loaded to learn it. */
export function mayHaveGpu(platform: NodeJS.Platform = process.platform, devices: string = '/dev'): boolean {
  if (platform !== 'linux') return true;
  const names = (folder: string): readonly string[] => (existsSync(folder) ? readdirSync(folder) : []);
  return names(`${devices}/dri`).some((name) => name.startsWith('renderD')) || names(devices).some((name) => /^(nvidia\d+|dxg|mali\d*|kgsl.*)$/.test(name));
}

/** Might this choice load a native addon (found without loading it)? Those need a process of their own. */
export function needsProcess(choice: BackendChoice): boolean {
  if (choice !== 'auto') return !RUNS_IN_THREAD.includes(choice);
  return AUTO_ORDER.some((name) => !RUNS_IN_THREAD.includes(name) && isInstalled(name) && (name !== 'webgpu' || mayHaveGpu()));
}
