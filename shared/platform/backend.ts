import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, sep } from 'node:path';
import util from 'node:util';
import { AntiphonError } from '../errors.ts';
import { tf } from '../model/tf.ts';
import { AUTO_ORDER, BACKEND_PACKAGES, DAWN, isInstalled, mayHaveGpu, packageFolder, RUNS_IN_THREAD, type BackendChoice, type BackendName } from './backend-choice.ts';
import { openPatchKernels } from './wasm/patch-kernels.ts';
import { openWebGpu } from './webgpu.ts';

export interface BackendReport {
  readonly name: BackendName;
  readonly package: string;
  readonly version: string;
  /** Why this one: forced, or why each faster one was passed over. Always said, never silent. */
  readonly why: string;
  /** The same in one short line: name, package, version, why; what could be faster, and why it is not used, `antiphon doctor` says. */
  readonly summary: string;
  /** The GPU and its driver, where the backend names them. */
  readonly gpu?: string;
  /** The native addons need a process of their own. */
  readonly runsInWorkerThread: boolean;
}

/** How packages are found and loaded; replaced in tests. */
export interface PackageLoader {
  /** The package's folder; undefined: not installed. */
  readonly folder: (packageName: string) => string | undefined;
  readonly load: (packageName: string) => Promise<unknown>;
}

const DAWN_VERSION = '0.6.2';
const require = createRequire(import.meta.url);

const nodePackages: PackageLoader = {
  folder: packageFolder,
  // TFJS packages are CommonJS, and must share this module's tfjs-core; Dawn is an ES module.
  load: (packageName) => (packageName === DAWN ? import(packageName) : Promise.resolve().then(() => require(packageName) as unknown)),
};

/**
 * Opens a TFJS backend for this process: `auto` takes the fastest that is installed and loads, and says why it is that one.
 * Throws AntiphonError('backend-unavailable') when a forced one cannot be used: never another in its stead.
 */
export async function openBackend(choice: BackendChoice, packages: PackageLoader = nodePackages): Promise<BackendReport> {
  const passedOver: string[] = [];
  for (const name of choice === 'auto' ? AUTO_ORDER : [choice]) {
    const opened = await open(name, packages, choice);
    if (opened.type === 'ready') {
      const reasons = choice === 'auto' ? [...passedOver, 'the fastest that is left'] : ['chosen with --backend'];
      const short = [choice === 'auto' ? fastest(passedOver) : 'chosen with --backend', ...opened.remarks].join('; ');
      return report(name, { packageName: BACKEND_PACKAGES[name], reasons: [...reasons, ...opened.remarks], short, gpu: opened.gpu }, packages);
    }
    passedOver.push(opened.reason);
    // Its libtensorflow is loaded and runs on the processor; a second one in the same process would clash with it.
    if (opened.type === 'no-gpu' && choice === 'auto') return report('tensorflow', { packageName: BACKEND_PACKAGES[name], reasons: [...passedOver, 'its TensorFlow runs on the processor'], short: `on the processor, it finds no GPU; ${MORE}` }, packages);
  }
  throw new AntiphonError('backend-unavailable', `the compute backend "${choice}" cannot be used: ${passedOver.join('; ')}`);
}

const MORE = 'more: npx antiphon doctor';

function fastest(passedOver: readonly string[]): string {
  if (passedOver.length === 0) return 'the fastest there is';
  return passedOver.every((reason) => reason.includes(MISSING)) ? 'the fastest that is installed here; faster ones: npx antiphon doctor' : `the fastest that works here; ${MORE}`;
}

const MISSING = 'is not installed';

type Opened = { readonly type: 'ready'; readonly remarks: readonly string[]; readonly gpu?: string } | { readonly type: 'failed' | 'no-gpu'; readonly reason: string };

async function open(name: BackendName, { folder, load }: PackageLoader, choice: BackendChoice): Promise<Opened> {
  const packageName = BACKEND_PACKAGES[name];
  const failed = (reason: string): Opened => ({ type: 'failed', reason: `${packageName} ${reason}` });
  const place = folder(packageName);
  if (place === undefined || !isInstalled(name, folder)) return failed(`${MISSING} (${installCommand(name)})`);
  try {
    if (name === 'tensorflow' || name === 'tensorflow-gpu') return await openNative(name, load);
    if (name === 'webgpu') {
      if (choice === 'auto' && !mayHaveGpu()) return failed('is installed, but this machine shows no GPU (no render device in /dev)');
      const opened = await openWebGpu({ dawn: () => load(DAWN), backend: () => load(packageName) }, choice === 'auto' ? 'refused' : 'allowed');
      if (opened.type !== 'ready') return failed(opened.reason);
      return opened.software
        ? { type: 'ready', remarks: [`on a software adapter (${opened.adapter}): slower than wasm`] }
        : { type: 'ready', gpu: opened.adapter, remarks: [`on ${opened.adapter}`] };
    }
    const module = await load(packageName);
    if (name === 'wasm') (module as { readonly setWasmPaths: (path: string) => void }).setWasmPaths(join(place, 'dist') + sep);
    if (!(await tf.setBackend(name))) return failed('cannot start here');
    await tf.ready();
    // Only a printed advertisement hangs on it.
    if (name === 'cpu') Object.assign(tf.backend(), { firstUse: false });
    return { type: 'ready', remarks: name === 'wasm' ? wasmRemarks() : [] };
  } catch (error) {
    return failed(`cannot be loaded (${firstLine(error)})`);
  }
}

/** The command that installs what a backend needs beside antiphon. Without --save-prod npm, in a clone, takes it for the optional peer that package.json names, and installs nothing. */
export function installCommand(name: BackendName): string {
  return `npm install --save-prod ${BACKEND_PACKAGES[name]}@${tf.version_core}${name === 'webgpu' ? ` ${DAWN}@${DAWN_VERSION}` : ''}`;
}

function wasmRemarks(): readonly string[] {
  const kernels = openPatchKernels();
  return kernels.type === 'ready' ? [] : [`the examples' gradients of convolutions run at half speed: ${kernels.reason}`];
}

async function openNative(name: 'tensorflow' | 'tensorflow-gpu', load: PackageLoader['load']): Promise<Opened> {
  const packageName = BACKEND_PACKAGES[name];
  restoreRemovedUtilities();
  // TF32 keeps 10 bits of a float32's 23: norms would be wrong by more than the mechanism's margin pays for. Read when CUDA's libraries load.
  process.env['NVIDIA_TF32_OVERRIDE'] = '0';
  await load(packageName);
  if (!(await tf.setBackend('tensorflow'))) return { type: 'failed', reason: `${packageName} loads but offers no backend` };
  await tf.ready();
  const usesGpu = (tf.backend() as { readonly isUsingGpuDevice?: boolean }).isUsingGpuDevice === true;
  if (name === 'tensorflow-gpu' && !usesGpu) {
    return { type: 'no-gpu', reason: `${packageName} is installed but finds no GPU (it needs an NVIDIA driver, CUDA 11.2 and cuDNN 8.1)` };
  }
  return { type: 'ready', remarks: [] };
}

/** tfjs-node 4.22 calls two functions that Node 23 removed (tfjs issue 8425). */
function restoreRemovedUtilities(): void {
  const old = util as unknown as Record<string, unknown>;
  old['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined;
  old['isArray'] ??= Array.isArray;
}

function report(name: BackendName, told: { readonly packageName: string; readonly reasons: readonly string[]; readonly short: string; readonly gpu?: string | undefined }, { folder }: PackageLoader): BackendReport {
  const { packageName, reasons, short, gpu } = told;
  const manifest = JSON.parse(readFileSync(join(folder(packageName) ?? '', 'package.json'), 'utf8')) as { readonly version: string };
  const summary = `${name} (${packageName} ${manifest.version}, ${short})`;
  return { name, package: packageName, version: manifest.version, why: reasons.join('; '), summary, ...(gpu === undefined ? {} : { gpu }), runsInWorkerThread: RUNS_IN_THREAD.includes(name) };
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}
