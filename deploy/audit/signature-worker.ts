import { parentPort } from 'node:worker_threads';
import { nodePrimitives } from '../../shared/platform/primitives.ts';
import { firstBadLine } from './signature-batch.ts';

/** One thread of the audit: a batch in, the line of its first bad signature out. */
parentPort?.on('message', (batch: Uint8Array) => {
  parentPort?.postMessage(firstBadLine(nodePrimitives, batch));
});
