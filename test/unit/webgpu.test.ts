import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { clippedGradientSum } from '../../shared/model/gradients.ts';
import { createNetwork, type NetworkSpec } from '../../shared/model/network.ts';
import { proveBackend } from '../../shared/model/self-check.ts';
import { tf } from '../../shared/model/tf.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { openBackend, type BackendReport, type PackageLoader } from '../../shared/platform/backend.ts';
import { mayHaveGpu } from '../../shared/platform/backend-choice.ts';
import { openWebGpu } from '../../shared/platform/webgpu.ts';

const require = createRequire(import.meta.url);
/** Optional: not known to the compiler. */
const [DAWN, TFJS_WEBGPU]: readonly [string, string] = ['webgpu', '@tensorflow/tfjs-backend-webgpu'];
const mlp: NetworkSpec = { shape: [11], encoder: { type: 'mlp', hidden: [9], activation: 'tanh', normalise: 'layer' }, features: 6, classes: 3 };
const cnn: NetworkSpec = { shape: [9, 7, 2], encoder: { type: 'cnn', filters: [4, 6], kernel: 3, stride: 2, activation: 'relu', normalise: 'group', groups: 2 }, features: 5, classes: 3 };
const signal: NetworkSpec = { shape: [23, 2], encoder: { type: 'cnn1d', filters: [4, 6], kernel: 5, stride: 3, activation: 'relu', normalise: 'none', groups: 1 }, features: 5, classes: 3 };
const words: NetworkSpec = { shape: [12], encoder: { type: 'embedding', vocabulary: 60, width: 6, hidden: [], activation: 'tanh', normalise: 'none' }, features: 5, classes: 3 };
const attended: NetworkSpec = { ...words, encoder: { type: 'attention', vocabulary: 60, width: 6, heads: 2, hidden: [], activation: 'tanh', normalise: 'none' } };

/** Why WebGPU cannot be tested here; undefined: it can. */
async function missing(): Promise<string | undefined> {
  try {
    await openBackend('webgpu');
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const reason = await missing();
const title = 'webgpu';
const suite = reason === undefined ? (body: () => void) => describe(title, body) : (body: () => void) => describe.skip(`${title} (skipped: ${reason})`, body);

suite(() => {
  let report: BackendReport;
  beforeAll(async () => {
    await openBackend('cpu'); // for the comparison
    report = await openBackend('webgpu');
  });
  afterAll(async () => {
    await openBackend('cpu');
  });

  it('says on which adapter it runs, and wants a process of its own', () => {
    expect(report).toMatchObject({ name: 'webgpu', package: '@tensorflow/tfjs-backend-webgpu', version: '4.22.0', runsInWorkerThread: false });
    expect(report.why).toMatch(report.gpu === undefined ? /^chosen with --backend; on a software adapter \(.+\): slower than wasm$/ : /^chosen with --backend; on ./);
    if (report.gpu !== undefined) expect(report.why).toContain(report.gpu);
    expect(tf.getBackend()).toBe('webgpu');
  });

  it('adds more tensors than a shader has buffers by default', async () => {
    const many = Array.from({ length: 12 }, (_, i) => tf.fill([700], i + 0.5));
    const sum = tf.addN(many);
    expect(new Set(await sum.data())).toEqual(new Set([72]));
    tf.dispose([...many, sum]);
  });

  it('passes the self-check with an mlp, a cnn, a signal encoder and encoders of tokens, and leaves no tensor', async () => {
    const before = tf.memory().numTensors;
    const { layers } = await proveBackend([createNetwork(mlp), createNetwork(cnn), createNetwork(signal), createNetwork(words), createNetwork(attended)]);
    expect(layers.filter(({ layer }) => layer === 'network')).toHaveLength(5);
    expect(Math.max(...layers.map(({ bookKeeping }) => bookKeeping))).toBeLessThan(1e-5);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('clips and sums as the plain processor does', async () => {
    const network = createNetwork(cnn);
    const sums: Float64Array[] = [];
    for (const backend of ['webgpu', 'cpu'] as const) {
      await tf.setBackend(backend);
      const weights = loadWeights(network, network.initialise(3, 'm'));
      const features = Float32Array.from({ length: 5 * network.inputSize }, (_, i) => Math.sin(1.7 * i) - 0.3);
      sums.push(await clippedGradientSum({ network, weights, features, labels: Int32Array.of(0, 1, 2, 1, 0), clipThreshold: 0.7, microBatch: 3 }));
      disposeWeights(weights);
    }
    await tf.setBackend('webgpu');
    const [found, expected] = sums as [Float64Array, Float64Array];
    expect(Math.hypot(...found.map((value, i) => value - expected[i]!)) / Math.hypot(...expected)).toBeLessThan(1e-5);
  });

  it('after an error of the GPU no value is read any more, and a round fails', async () => {
    const { device } = tf.backend() as unknown as { readonly device: { readonly createBuffer: (descriptor: { size: number; usage: number }) => object } };
    const ones = tf.ones([300]);
    expect((await tf.square(ones).data())[299]).toBe(1);
    device.createBuffer({ size: 16, usage: 0x3 }); // to be mapped for reading and for writing: there is no such buffer
    await expect(tf.add(ones, 1).data()).rejects.toMatchObject({ code: 'training-failed', message: expect.stringMatching(/the GPU reports an error.*nothing is released/) });
    const network = createNetwork(mlp);
    const weights = loadWeights(network, network.initialise(3, 'm'));
    const batch = { network, weights, features: new Float32Array(11).fill(0.3), labels: Int32Array.of(1), clipThreshold: 1, microBatch: 3 };
    await expect(clippedGradientSum(batch)).rejects.toMatchObject({ code: 'training-failed' });
    disposeWeights(weights);
    // A new start is a new device.
    await openBackend('webgpu');
    expect((await tf.add(tf.ones([300]), 1).data())[299]).toBe(2);
  });

  it('auto takes it only where it is a GPU', async () => {
    const auto = await openBackend('auto');
    if (report.gpu === undefined) {
      expect(auto.name).not.toBe('webgpu');
      expect(auto.why).toMatch(/tfjs-backend-webgpu (is installed, but this machine shows no GPU|finds no GPU, only a software adapter \()/);
      const refused = await openWebGpu({ dawn: () => import(DAWN), backend: () => Promise.resolve(require(TFJS_WEBGPU) as unknown) }, 'refused');
      expect(refused).toMatchObject({ type: 'software', reason: expect.stringMatching(/finds no GPU, only a software adapter \(.+\)/) });
    } else expect(['webgpu', 'tensorflow-gpu']).toContain(auto.name);
  });
});

describe('webgpu that cannot be had', () => {
  it('is not even loaded where the system shows no device that may be a GPU', () => {
    const folder = mkdtempSync(join(tmpdir(), 'antiphon-dev-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    expect(mayHaveGpu('darwin', folder)).toBe(true);
    expect(mayHaveGpu('linux', folder)).toBe(false);
    mkdirSync(join(folder, 'dri'));
    writeFileSync(join(folder, 'dri', 'card0'), ''); // a screen without a GPU
    writeFileSync(join(folder, 'nvidiactl'), '');
    expect(mayHaveGpu('linux', folder)).toBe(false);
    writeFileSync(join(folder, 'nvidia3'), '');
    expect(mayHaveGpu('linux', folder)).toBe(true);
    rmSync(join(folder, 'nvidia3'));
    writeFileSync(join(folder, 'dri', 'renderD128'), '');
    expect(mayHaveGpu('linux', folder)).toBe(true);
  });

  const folderOf = (installed: readonly string[]): PackageLoader['folder'] => (name) => (installed.includes(name) ? '/nowhere' : undefined);

  it.each([[[]], [['webgpu']], [['@tensorflow/tfjs-backend-webgpu']]])('only %j installed: the command that installs both packages', async (installed) => {
    const opening = openBackend('webgpu', { folder: folderOf(installed), load: () => Promise.reject(new Error('not asked for')) });
    await expect(opening).rejects.toMatchObject({ code: 'backend-unavailable' });
    await expect(opening).rejects.toThrow('is not installed (npm install --save-prod @tensorflow/tfjs-backend-webgpu@4.22.0 webgpu@0.6.2)');
  });

  it('its install command names the versions that the tests run with', () => {
    const { peerDependencies } = require('../../package.json') as { readonly peerDependencies: Record<string, string> };
    expect(peerDependencies).toMatchObject({ webgpu: '0.6.2', '@tensorflow/tfjs-backend-webgpu': '4.22.0' });
  });
});
