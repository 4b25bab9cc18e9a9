export interface Conv2dShape {
  /** [height, width, channels] of the input. */
  readonly input: readonly [number, number, number];
  readonly filters: number;
  /** One number: the same vertically and horizontally. */
  readonly kernel: number | Pair;
  readonly stride: number | Pair;
}

/** [vertical, horizontal]. */
export type Pair = readonly [number, number];

/** The index arithmetic of a strided convolution with 'same' padding and of its transpose. */
export interface ConvolutionPlan {
  readonly kernel: Pair;
  readonly stride: Pair;
  /** What TFJS is told: over a single row the vertical stride is anything, and TensorFlow's depthwise kernel wants both equal. */
  readonly told: [number, number];
  /** How TFJS is to pad; `valid`: `edges` are put by hand. */
  readonly padding: 'same' | 'valid';
  /** Zeros at the top, bottom, left, right. */
  readonly edges: readonly [number, number, number, number];
  readonly height: number;
  readonly width: number;
  readonly rows: number;
  readonly columns: number;
  /** Size of the convolutions over the output gradient, and its zero padding. */
  readonly taps: Pair;
  readonly before: Pair;
  readonly after: Pair;
  /** Per row phase p: for each (vertical tap, horizontal tap, column phase) the flat kernel position, or their number for "outside". */
  readonly picks: readonly Int32Array[];
}

/** Output row r reads input row s r + dy - top, so input row s Y + p gets kernel row dy = s t + p + top of output row Y - t. */
export function convolutionPlan(shape: Conv2dShape): ConvolutionPlan {
  const [height, width] = shape.input;
  const [kernel, stride] = [asPair(shape.kernel), asPair(shape.stride)];
  const isSquare = kernel[0] === kernel[1] && stride[0] === stride[1];
  const vertical = alongAxis(height, kernel[0], stride[0]);
  const horizontal = alongAxis(width, kernel[1], stride[1]);
  const picks = Array.from({ length: stride[0] }, (_, p) => {
    const indices: number[] = [];
    for (let i = 0; i < vertical.taps; i += 1) {
      for (let j = 0; j < horizontal.taps; j += 1) {
        for (let q = 0; q < stride[1]; q += 1) {
          const dy = stride[0] * (vertical.before - i) + p + vertical.start;
          const dx = stride[1] * (horizontal.before - j) + q + horizontal.start;
          indices.push(dy >= 0 && dy < kernel[0] && dx >= 0 && dx < kernel[1] ? dy * kernel[1] + dx : kernel[0] * kernel[1]);
        }
      }
    }
    return Int32Array.from(indices);
  });
  return {
    kernel,
    stride,
    told: height === 1 ? [stride[1], stride[1]] : [...stride],
    padding: isSquare && stride[0] <= kernel[0] ? 'same' : 'valid',
    edges: [vertical.start, vertical.end, horizontal.start, horizontal.end],
    height,
    width,
    rows: vertical.outputs,
    columns: horizontal.outputs,
    taps: [vertical.taps, horizontal.taps],
    before: [vertical.before, horizontal.before],
    after: [vertical.after, horizontal.after],
    picks,
  };
}

function asPair(size: number | Pair): Pair {
  return typeof size === 'number' ? [size, size] : size;
}

interface Axis {
  readonly outputs: number;
  readonly start: number;
  readonly end: number;
  readonly before: number;
  readonly after: number;
  readonly taps: number;
}

function alongAxis(size: number, kernel: number, stride: number): Axis {
  const outputs = Math.ceil(size / stride);
  const zeros = Math.max(0, (outputs - 1) * stride + kernel - size);
  const start = Math.floor(zeros / 2);
  // t runs from -after to before: the values for which s t + p + start can lie inside the kernel, for some phase p in 0 .. s-1.
  const before = Math.floor((kernel - 1 - start) / stride);
  const after = Math.floor((stride - 1 + start) / stride);
  return { outputs, start, end: zeros - start, before, after, taps: before + after + 1 };
}
