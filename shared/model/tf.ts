/** The one import of TFJS' core: a CommonJS package whose named exports Node cannot all see. */
import * as core from '@tensorflow/tfjs-core';

export const tf: typeof core = 'default' in core ? (core.default as typeof core) : core;
export type { Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D, Rank } from '@tensorflow/tfjs-core';
