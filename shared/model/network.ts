import { AntiphonError, assertNever } from '../errors.ts';
import { encoderShape } from '../study/encoder-input.ts';
import type { EncoderSpec, HeadInitialSpec, Study } from '../study/schema.ts';
import { drawParameter, seededUniform } from './initialise.ts';
import type { InitialValues, Layer, ParameterShape } from './layer.ts';
import { relu, tanh } from './layers/activation.ts';
import { attentionPool } from './layers/attention.ts';
import { conv2d } from './layers/conv2d.ts';
import { dense } from './layers/dense.ts';
import { embeddingBag } from './layers/embedding.ts';
import { groupNorm } from './layers/normalise.ts';
import type { Pair } from './layers/conv2d-plan.ts';
import { flatten, reshape } from './layers/plain.ts';

export interface NetworkSpec {
  /** Of one record as the encoder sees it: [features], [tokens] or [height, width, channels]. */
  readonly shape: readonly number[];
  readonly encoder: EncoderSpec;
  /** Width of the shared head's input. */
  readonly features: number;
  readonly classes: number;
  /** Omitted: random encoders and a small random head. */
  readonly headInitial?: HeadInitialSpec;
}

export interface PlacedParameter extends ParameterShape {
  /** Into the flat vector. */
  readonly offset: number;
}

/** One modality's encoder and the shared linear head, as ONE flat Float32Array: encoder, head kernel [features, classes], head bias. */
export interface Network {
  readonly spec: NetworkSpec;
  readonly layers: readonly Layer[];
  readonly parameters: readonly PlacedParameter[];
  readonly size: number;
  readonly encoderSize: number;
  readonly headSize: number;
  /** Numbers in one record. */
  readonly inputSize: number;
  /** Records are token numbers, whole and 0 .. vocabulary - 1; undefined: any finite numbers. */
  readonly vocabulary: number | undefined;
  /** Longest float32 sum in a per-patient norm: over layers and inside them. */
  readonly longestReduction: number;
  /** Weights of round 0 from public randomness; the head depends on the seed alone and is the same for every modality. */
  readonly initialise: (seed: number, modality: string) => Float32Array<ArrayBuffer>;
}

/** The network of one of a study's modalities: the same at its sites and at the coordinator. */
export function networkOf(study: Study, modality: string): Network {
  const spec = study.modalities[modality];
  if (spec === undefined) throw new AntiphonError('study-invalid', `the study has no modality "${modality}"; it has: ${Object.keys(study.modalities).join(', ')}`);
  const { features, initial } = study.head;
  return createNetwork({ shape: encoderShape(spec), encoder: spec.encoder, features, classes: study.classes.length, ...(initial === undefined ? {} : { headInitial: initial }) });
}

/** Throws AntiphonError('study-invalid') for shapes that no network can have. */
export function createNetwork(spec: NetworkSpec): Network {
  checkSizes(spec);
  return assembleNetwork(spec, encoderLayers(spec));
}

/** Encoder layers of any make, from records of `spec.shape` to [features], and the shared head behind them. */
export function assembleNetwork(spec: NetworkSpec, encoder: readonly Layer[]): Network {
  const head = dense('head', spec.features, spec.classes, spec.headInitial ?? { type: 'he', fanIn: 100 * spec.features });
  const layers = [...encoder, head];
  let offset = 0;
  const parameters = layers.flatMap((layer) => layer.parameters).map((parameter) => {
    const placed = { ...parameter, offset };
    offset += sizeOf(parameter.shape);
    return placed;
  });
  const headSize = sizeOf([spec.features, spec.classes]) + spec.classes;
  return {
    spec,
    layers,
    parameters,
    size: offset,
    encoderSize: offset - headSize,
    headSize,
    inputSize: sizeOf(spec.shape),
    vocabulary: layers[0]?.vocabulary,
    longestReduction: layers.length + Math.max(...layers.map((layer) => layer.longestReduction)),
    initialise: (seed, modality) => {
      const flat = new Float32Array(offset);
      const streams = { encoder: seededUniform(seed, `encoder/${modality}`), head: seededUniform(seed, 'head') };
      for (const parameter of parameters) flat.set(drawParameter(parameter, parameter.name.startsWith('head/') ? streams.head : streams.encoder), parameter.offset);
      return flat;
    },
  };
}

function encoderLayers({ shape, encoder, features, headInitial }: NetworkSpec): readonly Layer[] {
  const activation = encoder.activation === 'relu' ? relu : tanh;
  // Zero features in front of a large head: every record starts at equal class probabilities, and the first gradients are all of the encoder's last layer.
  const last = (width: number): InitialValues => (headInitial === undefined ? { type: 'he', fanIn: width } : { type: 'zeros' });
  switch (encoder.type) {
    case 'mlp':
      return [...(shape.length > 1 ? [flatten('encoder/flatten', shape)] : []), ...denseLayers({ encoder, inputs: sizeOf(shape), activation, features, last })];
    case 'embedding':
    case 'attention': {
      const [tokens] = shape;
      if (shape.length !== 1 || tokens === undefined) throw new AntiphonError('study-invalid', `an ${encoder.type} encoder needs records of shape [tokens], found [${shape.join(', ')}]`);
      const size = { tokens, ...encoder };
      const pool = encoder.type === 'embedding' ? embeddingBag('encoder/embedding', size) : attentionPool('encoder/attention', { ...size, heads: encoder.heads });
      return [pool, ...denseLayers({ encoder, inputs: sizeOf(pool.outputShape), activation, features, last })];
    }
    case 'cnn': {
      const [height, width, channels] = shape;
      if (shape.length !== 3 || height === undefined || width === undefined || channels === undefined) {
        throw new AntiphonError('study-invalid', `a cnn encoder needs records of shape [height, width, channels], found [${shape.join(', ')}]`);
      }
      return convolutions({ encoder, input: [height, width, channels], kernel: [encoder.kernel, encoder.kernel], stride: [encoder.stride, encoder.stride], activation, features, last });
    }
    case 'cnn1d': {
      const [length, channels = 1] = shape;
      if (shape.length > 2 || length === undefined) {
        throw new AntiphonError('study-invalid', `a cnn1d encoder needs records of shape [length] or [length, channels], found [${shape.join(', ')}]`);
      }
      // A signal is an image of one row.
      const row = [1, length, channels] as const;
      return [reshape('encoder/row', shape, row), ...convolutions({ encoder, input: row, kernel: [1, encoder.kernel], stride: [1, encoder.stride], activation, features, last })];
    }
    default:
      return assertNever(encoder);
  }
}

interface Last {
  readonly activation: (name: string, shape: readonly number[]) => Layer;
  readonly features: number;
  readonly last: (width: number) => InitialValues;
}

/** From [inputs] through the hidden layers to the features. */
function denseLayers({ encoder: { hidden, normalise }, inputs, activation, features, last }: Last & { readonly encoder: { readonly hidden: readonly number[]; readonly normalise: 'none' | 'layer' }; readonly inputs: number }): readonly Layer[] {
  return [...hidden, features].flatMap((outputs, i) => {
    const width = hidden[i - 1] ?? inputs;
    const own = dense(`encoder/dense${i}`, width, outputs, i === hidden.length ? last(width) : { type: 'he', fanIn: width });
    return [own, ...(normalise === 'layer' ? [groupNorm(`encoder/norm${i}`, [outputs], 1)] : []), activation(`encoder/activation${i}`, [outputs])];
  });
}

interface Convolutions extends Last {
  readonly encoder: Extract<EncoderSpec, { type: 'cnn' | 'cnn1d' }>;
  readonly input: readonly [number, number, number];
  readonly kernel: Pair;
  readonly stride: Pair;
}

/** Strided convolutions, then one dense layer to the features. */
function convolutions({ encoder, kernel, stride, activation, features, last, ...start }: Convolutions): readonly Layer[] {
  const layers: Layer[] = [];
  let { input } = start;
  encoder.filters.forEach((filters, i) => {
    if (input[0] === 1 && input[1] === 1) {
      const [height, width] = start.input;
      const what = encoder.type === 'cnn1d' ? `a map of length 1: records of length ${width}` : `a map of 1 x 1: records of ${height} x ${width}`;
      throw new AntiphonError('study-invalid', `convolution ${i + 1} of ${encoder.filters.length} finds ${what} have shrunk too far; use fewer filters or a smaller stride`);
    }
    if (encoder.normalise === 'group' && filters % encoder.groups !== 0) {
      throw new AntiphonError('study-invalid', `${encoder.groups} groups do not divide the ${filters} filters of convolution ${i + 1}; choose groups that divide every entry of filters`);
    }
    const convolution = conv2d(`encoder/conv${i}`, { input, filters, kernel, stride });
    layers.push(convolution);
    if (encoder.normalise === 'group') layers.push(groupNorm(`encoder/norm${i}`, convolution.outputShape, encoder.groups));
    layers.push(activation(`encoder/activation${i}`, convolution.outputShape));
    input = [convolution.outputShape[0]!, convolution.outputShape[1]!, filters];
  });
  return [...layers, flatten('encoder/flatten', input), dense('encoder/dense', sizeOf(input), features, last(sizeOf(input))), activation('encoder/features', [features])];
}

function checkSizes({ shape, features, classes, encoder }: NetworkSpec): void {
  const ofTokens = 'vocabulary' in encoder ? [encoder.vocabulary, encoder.width, ...(encoder.type === 'attention' ? [encoder.heads] : [])] : [];
  const widths = 'filters' in encoder ? [...encoder.filters, encoder.kernel, encoder.stride, encoder.groups] : [...encoder.hidden, ...ofTokens];
  const sizes = [...shape, features, classes, ...widths];
  if (shape.length === 0 || !sizes.every((size) => Number.isInteger(size) && size > 0) || classes < 2) {
    throw new AntiphonError('study-invalid', `a network needs whole positive sizes and two classes, found shape [${shape.join(', ')}], ${features} features, ${classes} classes, encoder sizes [${widths.join(', ')}]`);
  }
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
