import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { composedGradients, fusedGradients, PATCH_KERNELS, type ConvolutionGradients } from '../../shared/model/layers/conv2d-gradients.ts';
import { conv2d } from '../../shared/model/layers/conv2d.ts';
import { convolutionPlan, type Conv2dShape } from '../../shared/model/layers/conv2d-plan.ts';
import { proveLayer } from '../../shared/model/self-check.ts';
import { tf, type Tensor } from '../../shared/model/tf.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import { openPatchKernels } from '../../shared/platform/wasm/patch-kernels.ts';
import { assembleKernel } from '../support/assemble-kernel.ts';

const FOLDER = 'shared/platform/wasm';

beforeEach(async () => {
  await openBackend('wasm');
});

interface Values {
  readonly squared: ArrayLike<number>;
  readonly weighted: ArrayLike<number>;
  readonly sums: ArrayLike<number>;
}

/** What both ways make of `batch` images and output gradients. */
async function bothWays(shape: Conv2dShape, batch: number, seed: number): Promise<readonly [Values, Values]> {
  const { input: [height, width, channels], filters } = shape;
  const plan = convolutionPlan(shape);
  const layer = conv2d('c', shape);
  const draw = (size: number, phase: number): Float32Array => Float32Array.from({ length: size }, (_, i) => Math.sin(12.9898 * i + phase + seed) - 0.1);
  const tensors = tf.tidy(() => {
    const x = tf.tensor(draw(batch * height * width * channels, 1), [batch, height, width, channels]);
    const g = tf.tensor(draw(batch * plan.rows * plan.columns * filters, 2), [batch, plan.rows, plan.columns, filters]);
    const factors = tf.tensor1d(draw(batch, 3));
    const weights = layer.parameters.map((parameter) => tf.zeros([...parameter.shape]));
    const { saved } = layer.forward(x, weights);
    return [fusedGradients, composedGradients].map((make) => {
      const { perExample, squaredNorms, weightedSums, sums }: ConvolutionGradients = make({ plan, channels, filters });
      const own = perExample(saved, g);
      const flat = (list: readonly Tensor[]): Tensor => tf.concat(list.map((tensor) => tf.reshape(tensor, [-1])));
      return [squaredNorms(own), flat(weightedSums(own, factors)), flat(sums(saved, g))];
    });
  });
  const values = await Promise.all(tensors.map(async (each) => Promise.all(each.map((tensor) => tensor.data()))));
  tf.dispose(tensors);
  const [fused, composed] = values.map(([squared, weighted, sums]): Values => ({ squared: squared!, weighted: weighted!, sums: sums! }));
  return [fused!, composed!];
}

function distance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < expected.length; i += 1) {
    difference += (found[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

function expectEqual([fused, composed]: readonly [Values, Values]): void {
  for (let i = 0; i < composed.squared.length; i += 1) expect(Math.abs(Math.sqrt(fused.squared[i]! / composed.squared[i]!) - 1)).toBeLessThan(1e-5);
  expect(distance(fused.weighted, composed.weighted)).toBeLessThan(1e-5);
  expect(distance(fused.sums, composed.sums)).toBeLessThan(1e-5);
}

it('the committed bytes are what the source assembles to', async () => {
  expect(await assembleKernel(readFileSync(`${FOLDER}/patch-gradients.wat`, 'utf8'))).toBe(readFileSync(`${FOLDER}/patch-gradients-bytes.ts`, 'utf8'));
});

describe("the kernel equals TFJS' operations to 1e-5", () => {
  const shapes: Record<string, readonly [Conv2dShape, number]> = {
    'the first layer of a cnn': [{ input: [28, 28, 1], filters: 16, kernel: 5, stride: 2 }, 7],
    'the second layer of a cnn': [{ input: [14, 14, 16], filters: 32, kernel: 3, stride: 2 }, 7],
    'one example, odd sizes, filters that fill no vector': [{ input: [9, 7, 3], filters: 5, kernel: 3, stride: 2 }, 1],
    'twelve filters: a wide tile and a narrow one': [{ input: [10, 11, 2], filters: 12, kernel: 3, stride: 1 }, 3],
    'one row, an even kernel': [{ input: [1, 37, 2], filters: 6, kernel: 4, stride: 1 }, 4],
    'a stride beyond the kernel': [{ input: [11, 8, 3], filters: 4, kernel: 2, stride: 3 }, 3],
    'a kernel larger than the image': [{ input: [3, 2, 2], filters: 3, kernel: 7, stride: 2 }, 2],
    'one pixel, kernel 1': [{ input: [1, 1, 5], filters: 2, kernel: 1, stride: 1 }, 3],
    'a signal: one row, its own kernel and stride': [{ input: [1, 61, 2], filters: 6, kernel: [1, 7], stride: [1, 4] }, 3],
    'a signal, a stride beyond the kernel': [{ input: [1, 50, 1], filters: 4, kernel: [1, 3], stride: [1, 5] }, 3],
    'an upright window': [{ input: [12, 9, 2], filters: 5, kernel: [5, 2], stride: [2, 1] }, 3],
    'many bands': [{ input: [40, 33, 3], filters: 8, kernel: 3, stride: 1 }, 2],
  };
  it.each(Object.entries(shapes))('%s', async (_, [shape, batch]) => {
    const before = tf.memory().numTensors;
    expectEqual(await bothWays(shape, batch, 0));
    expect(tf.memory().numTensors).toBe(before);
    await expect(proveLayer(conv2d('c', shape), shape.input)).resolves.toMatchObject({ layer: 'c' });
  });

  it('whatever the shape (property)', async () => {
    const size = fc.integer({ min: 1, max: 13 });
    const pair = (max: number) => fc.oneof(fc.integer({ min: 1, max }), fc.tuple(fc.integer({ min: 1, max }), fc.integer({ min: 1, max })));
    const shapeOf = fc.record({ input: fc.tuple(size, size, fc.integer({ min: 1, max: 6 })), filters: fc.integer({ min: 1, max: 18 }), kernel: pair(6), stride: pair(4) });
    await fc.assert(
      fc.asyncProperty(shapeOf, fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 1000 }), async (shape, batch, seed) => {
        expectEqual(await bothWays(shape, batch, seed));
      }),
      { numRuns: 120 },
    );
  });
});

it("nothing is written beside the kernel's own tensors, also when the memory has grown", async () => {
  const shape: Conv2dShape = { input: [9, 9, 3], filters: 7, kernel: 3, stride: 1 };
  await bothWays(shape, 2, 0);
  // Holes between marked tensors: the kernel's outputs and scratch fall into them.
  const marked: Tensor[] = [];
  const holes: Tensor[] = [];
  for (let i = 0; i < 200; i += 1) (i % 2 === 0 ? marked : holes).push(tf.fill([150 + 37 * (i % 40)], i + 0.5));
  tf.dispose(holes);
  const heap = (): number => (tf.backend() as unknown as { readonly wasm: { readonly HEAPU8: Uint8Array } }).wasm.HEAPU8.byteLength;
  const before = heap();
  const large = tf.zeros([before / 4 + 1000]);
  expect(heap()).toBeGreaterThan(before);
  for (let seed = 0; seed < 10; seed += 1) expectEqual(await bothWays(shape, 2, seed));
  for (const [i, tensor] of marked.entries()) expect(new Set(await tensor.data())).toEqual(new Set([2 * i + 0.5]));
  tf.dispose([...marked, large]);
});

it('its memory is a gradient per example and a scratch, whatever the positions of an image and however many examples', () => {
  const makeOutput = vi.spyOn(tf.backend() as unknown as { readonly makeOutput: (shape: number[], dtype: string) => object }, 'makeOutput');
  const numbersOf = (batch: number, side: number): number => {
    const [x, g] = [tf.ones([batch, side, side, 2]), tf.ones([batch, side, side, 4])];
    makeOutput.mockClear();
    const own = fusedGradients({ plan: convolutionPlan({ input: [side, side, 2], filters: 4, kernel: 3, stride: 1 }), channels: 2, filters: 4 }).perExample([x], g);
    tf.dispose([x, g, ...own]);
    return makeOutput.mock.calls.reduce((sum, [shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);
  };
  const perExample = 19 * 4 + 1;
  const scratch = numbersOf(3, 8) - 3 * perExample;
  expect(scratch).toBe(64 * 20 + 64 * 4 + 20 * 4);
  expect(numbersOf(3, 64)).toBe(3 * perExample + scratch);
  expect(numbersOf(11, 64)).toBe(11 * perExample + scratch);
  makeOutput.mockRestore();
});

it('a gradient that is not a number reaches the norm', async () => {
  const [x, g] = [tf.ones([2, 4, 4, 1]), tf.tensor4d(Array.from({ length: 2 * 16 * 3 }, (_, i) => (i === 50 ? NaN : 0.5)), [2, 4, 4, 3])];
  const [gradients, squared] = fusedGradients({ plan: convolutionPlan({ input: [4, 4, 1], filters: 3, kernel: 3, stride: 1 }), channels: 1, filters: 3 }).perExample([x], g);
  const [alone, spoilt] = await squared!.data();
  expect(Number.isFinite(alone)).toBe(true);
  expect(spoilt).toBeNaN();
  tf.dispose([x, g, gradients!, squared!]);
});

describe('where it cannot run', () => {
  it.each([
    ['bytes that this engine does not know', () => openPatchKernels(tf.backend(), Uint8Array.of(0, 97, 115, 109, 9, 9, 9, 9)), /no WebAssembly SIMD/],
    ['a backend that hides its memory', () => openPatchKernels({ wasm: {} }), /memory of TFJS' wasm backend is not reachable/],
    ['a module that wants something else', () => openPatchKernels(tf.backend(), Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 2, 7, 1, 1, 97, 1, 98, 3, 127, 0)), /./],
  ] as const)("%s: TFJS' operations, and the reason", async (_, openKernels, reason) => {
    const kernels = openKernels();
    expect(kernels).toMatchObject({ type: 'missing', reason: expect.stringMatching(reason) });
    expect(tf.getKernel(PATCH_KERNELS.patches, 'wasm')).toBeUndefined();
    const shape: Conv2dShape = { input: [8, 8, 2], filters: 4, kernel: 3, stride: 2 };
    await expect(proveLayer(conv2d('c', shape), shape.input)).resolves.toMatchObject({ layer: 'c' });
  });
});
