import { createRequire } from 'node:module';

/** Is the optional package of ONNX networks there? */
export const hasOnnx = ((): boolean => {
  try {
    createRequire(import.meta.url).resolve('onnxruntime-node');
    return true;
  } catch {
    console.warn('onnxruntime-node is not installed: the tests of ONNX networks are skipped');
    return false;
  }
})();
