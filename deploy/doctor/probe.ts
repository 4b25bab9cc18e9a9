import { proveBackend } from '../../shared/model/self-check.ts';
import { clippedGradientSum } from '../../shared/model/gradients.ts';
import { createNetwork, type Network, type NetworkSpec } from '../../shared/model/network.ts';
import { disposeWeights, loadWeights } from '../../shared/model/weights.ts';
import { AntiphonError, type ErrorCode } from '../../shared/errors.ts';
import type { BackendChoice } from '../../shared/platform/backend-choice.ts';
import { openBackend, type BackendReport } from '../../shared/platform/backend.ts';
import { createKeyStream } from '../../shared/platform/key-stream.ts';
import { planMechanism, releaseNoisySum } from '../../shared/privacy/mechanism.ts';
import { MICRO_BATCH } from '../../client/train.ts';

/** A process of its own per backend: two native libraries in one would clash, and one that crashes takes nobody with it. */
export interface ProbeRequest {
  readonly backend: BackendChoice;
  /** `measure`: self-check and speed, too. */
  readonly work: 'open' | 'measure';
}

export interface Speed {
  readonly model: string;
  /** Of a private step: forward and backward pass, clipping, noise. */
  readonly examplesPerSecond: number;
}

export type ProbeAnswer =
  | { readonly type: 'ready'; readonly report: BackendReport; readonly layers: number; readonly speeds: readonly Speed[] }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string };

const MODELS: Readonly<Record<string, NetworkSpec>> = {
  'MLP 64-64-32': { shape: [64], encoder: { type: 'mlp', hidden: [64], activation: 'relu', normalise: 'none' }, features: 32, classes: 4 },
  'CNN 28x28x1': { shape: [28, 28, 1], encoder: { type: 'cnn', filters: [8, 16], kernel: 3, stride: 2, activation: 'relu', normalise: 'none', groups: 1 }, features: 32, classes: 4 },
};
const BATCH = 2 * MICRO_BATCH;
const SECONDS = 2;

/** The fastest of the steps that fit into two seconds, the first (which compiles) left out: others may share the machine. */
async function speedOf(model: string, network: Network): Promise<Speed> {
  const plan = planMechanism({ parameters: network.size, clipNorm: 1, noiseMultiplier: 1.1, samplingRate: 0.1, patients: 10 * BATCH, steps: 10, longestReduction: network.longestReduction, microBatch: MICRO_BATCH });
  const random = createKeyStream();
  const features = Float32Array.from({ length: BATCH * network.inputSize }, (_, i) => Math.sin(1.7 * i));
  const labels = Int32Array.from({ length: BATCH }, (_, i) => i % network.spec.classes);
  const flat = network.initialise(1, 'doctor');
  let fastest = Infinity;
  const end = performance.now() + 1000 * SECONDS;
  for (let step = 0; step < 2 || performance.now() < end; step += 1) {
    const started = performance.now();
    const weights = loadWeights(network, flat);
    releaseNoisySum(plan, await clippedGradientSum({ network, weights, features, labels, microBatch: MICRO_BATCH, clipThreshold: plan.clipThreshold }), random);
    disposeWeights(weights);
    if (step > 0) fastest = Math.min(fastest, performance.now() - started);
  }
  return { model, examplesPerSecond: Math.round((1000 * BATCH) / fastest) };
}

async function probe({ backend, work }: ProbeRequest): Promise<ProbeAnswer> {
  try {
    const report = await openBackend(backend);
    if (work === 'open') return { type: 'ready', report, layers: 0, speeds: [] };
    const networks = Object.entries(MODELS).map(([model, spec]) => [model, createNetwork(spec)] as const);
    const { layers } = await proveBackend(networks.map(([, network]) => network));
    const speeds: Speed[] = [];
    for (const [model, network] of networks) speeds.push(await speedOf(model, network));
    return { type: 'ready', report, layers: layers.filter(({ layer }) => layer !== 'network').length, speeds };
  } catch (error) {
    return { type: 'failed', code: error instanceof AntiphonError ? error.code : 'backend-unavailable', message: error instanceof Error ? error.message : String(error) };
  }
}

process.once('message', (request: ProbeRequest) => {
  void probe(request).then((answer) => {
    // A native library may keep the process alive.
    process.send?.(answer, () => process.exit(0));
  });
});
