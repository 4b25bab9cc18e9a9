import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import util from 'node:util';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { tf } from '../../shared/model/tf.ts';
import { openBackend, type PackageLoader } from '../../shared/platform/backend.ts';

const GPU = '@tensorflow/tfjs-node-gpu';
const NATIVE = '@tensorflow/tfjs-node';

describe('the backends that are installed', () => {
  it('wasm computes from files of its own package, without printing', async () => {
    const print = vi.spyOn(console, 'log');
    const report = await openBackend('wasm');
    expect(report).toEqual({ name: 'wasm', package: '@tensorflow/tfjs-backend-wasm', version: '4.22.0', why: 'chosen with --backend', summary: 'wasm (@tensorflow/tfjs-backend-wasm 4.22.0, chosen with --backend)', runsInWorkerThread: true });
    expect(tf.getBackend()).toBe('wasm');
    expect(Array.from(await tf.matMul(tf.tensor2d([[1.5, 2]]), tf.tensor2d([[4], [-3]])).data())).toEqual([0]);
    expect(print).not.toHaveBeenCalled();
  });

  it('cpu opens without printing an advertisement', async () => {
    const print = [vi.spyOn(console, 'log'), vi.spyOn(console, 'warn')];
    expect((await openBackend('cpu')).name).toBe('cpu');
    expect(Array.from(await tf.add(tf.tensor1d([1.5]), 2).data())).toEqual([3.5]);
    for (const spy of print) expect(spy).not.toHaveBeenCalled();
  });
});

/** Installs made-up native packages: a name, and whether it finds a GPU or what it throws. */
function pretend(installed: Readonly<Record<string, 'gpu' | 'no gpu' | Error>>): PackageLoader {
  const folder = mkdtempSync(join(tmpdir(), 'antiphon-backend-'));
  folders.push(folder);
  writeFileSync(join(folder, 'package.json'), '{"version":"4.22.9"}');
  return {
    folder: (name) => (name in installed ? folder : undefined),
    load: (name) => {
      const behaviour = installed[name];
      if (behaviour instanceof Error) return Promise.reject(behaviour);
      tf.registerBackend('tensorflow', () => Object.assign(new MathBackendCPU(), { firstUse: false, isUsingGpuDevice: behaviour === 'gpu' }));
      return Promise.resolve({});
    },
  };
}

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

describe('the native backends', () => {
  afterEach(async () => {
    await tf.setBackend('cpu');
    if ('tensorflow' in tf.engine().registryFactory) tf.removeBackend('tensorflow');
  });

  it('auto takes the GPU where there is one, in a process of its own', async () => {
    expect(await openBackend('auto', pretend({ [GPU]: 'gpu', [NATIVE]: 'no gpu' }))).toMatchObject({ name: 'tensorflow-gpu', package: GPU, version: '4.22.9', runsInWorkerThread: false });
    expect(process.env['NVIDIA_TF32_OVERRIDE']).toBe('0');
  });

  it('auto says so when the GPU package finds no GPU, and reports the processor it runs on', async () => {
    const report = await openBackend('auto', pretend({ [GPU]: 'no gpu', [NATIVE]: 'no gpu' }));
    expect(report).toMatchObject({ name: 'tensorflow', package: GPU, runsInWorkerThread: false });
    expect(report.why).toMatch(/tfjs-node-gpu is installed but finds no GPU .* runs on the processor/);
  });

  it('auto takes the processor build where the GPU build is missing, with the command that installs it', async () => {
    const report = await openBackend('auto', pretend({ [NATIVE]: 'no gpu' }));
    expect(report).toMatchObject({ name: 'tensorflow', package: NATIVE });
    expect(report.why).toContain('@tensorflow/tfjs-node-gpu is not installed (npm install --save-prod @tensorflow/tfjs-node-gpu@4.22.0)');
  });

  it('auto passes over a native package that does not load, with the first line of its error', async () => {
    const { folder, load } = pretend({ [GPU]: new Error('libcudart.so.11.0: cannot open shared object file\nRequire stack:'), '@tensorflow/tfjs-backend-wasm': 'no gpu' });
    const wasm = { setWasmPaths: () => undefined };
    await openBackend('wasm');
    const report = await openBackend('auto', { folder, load: (name) => (name === GPU ? load(name) : Promise.resolve(wasm)) });
    expect(report.name).toBe('wasm');
    expect(report.summary).toBe('wasm (@tensorflow/tfjs-backend-wasm 4.22.9, the fastest that works here; more: npx antiphon doctor)');
    expect(report.why).toMatch(/tfjs-node-gpu cannot be loaded \(libcudart\.so\.11\.0: cannot open shared object file\); @tensorflow\/tfjs-backend-webgpu is not installed .*; @tensorflow\/tfjs-node is not installed/);
  });

  it('auto says in one short line which it is and why, and leaves the commands that install others to the doctor', async () => {
    const wasm = '@tensorflow/tfjs-backend-wasm';
    await openBackend('wasm');
    const { folder } = pretend({ [wasm]: 'no gpu' });
    const report = await openBackend('auto', { folder, load: () => Promise.resolve({ setWasmPaths: () => undefined }) });
    expect(report.summary).toBe(`wasm (${wasm} 4.22.9, the fastest that is installed here; faster ones: npx antiphon doctor)`);
    expect(report.why).toContain('npm install --save-prod @tensorflow/tfjs-node-gpu@4.22.0');
    expect((await openBackend('auto', pretend({ [GPU]: 'no gpu', [NATIVE]: 'no gpu' }))).summary).toMatch(/^tensorflow \(@tensorflow\/tfjs-node-gpu \S+, on the processor, it finds no GPU; more: npx antiphon doctor\)$/);
  });

  it.each([
    ['tensorflow-gpu', {}, /"tensorflow-gpu" cannot be used: @tensorflow\/tfjs-node-gpu is not installed \(npm install --save-prod @tensorflow\/tfjs-node-gpu@4\.22\.0\)/],
    ['tensorflow', {}, /tfjs-node is not installed \(npm install --save-prod @tensorflow\/tfjs-node@4\.22\.0\)/],
    ['tensorflow-gpu', { [GPU]: 'no gpu' }, /finds no GPU/],
    ['tensorflow', { [NATIVE]: new Error('wrong ELF class') }, /cannot be loaded \(wrong ELF class\)/],
  ] as const)('a forced %s that cannot be used is an error, never another backend (case %#)', async (choice, installed, message) => {
    const opening = openBackend(choice, pretend(installed));
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toMatchObject({ code: 'backend-unavailable' });
  });

  it('finds the two utilities it calls, which Node 23 removed', async () => {
    const utilities = util as unknown as Record<string, unknown>;
    const kept = { isNullOrUndefined: utilities['isNullOrUndefined'], isArray: utilities['isArray'] };
    delete utilities['isNullOrUndefined'];
    delete utilities['isArray'];
    await openBackend('tensorflow', pretend({ [NATIVE]: 'no gpu' }));
    const isNullOrUndefined = utilities['isNullOrUndefined'] as (value: unknown) => boolean;
    expect([null, undefined, 0, ''].map(isNullOrUndefined)).toEqual([true, true, false, false]);
    expect((utilities['isArray'] as (value: unknown) => boolean)([])).toBe(true);
    Object.assign(utilities, kept);
  });
});
