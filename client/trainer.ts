import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { AntiphonError, EXIT_CODES, type ErrorCode } from '../shared/errors.ts';
import { needsProcess, type BackendChoice } from '../shared/platform/backend-choice.ts';
import type { RoundMechanism } from '../shared/study/resolve.ts';
import type { TrainerAnswer, TrainerRequest } from './train-job.ts';

/** Training off the socket's thread: a step may take seconds, and a blocked event loop would drop the site. */
export interface Trainer {
  /**
   * Reads the site's data, proves the backend on its network; the answer names the backend, and says how many files could not be read (listed in the home of the site).
   * Throws what went wrong, for the site's eyes only.
   */
  readonly openSite: (input: Omit<Extract<TrainerRequest, { type: 'open' }>, 'type' | 'id'>) => Promise<Pick<Extract<TrainerAnswer, { type: 'opened' }>, 'backend' | 'why' | 'summary' | 'unreadable' | 'frozenRunsOn'>>;
  readonly train: (input: { readonly site: string; readonly weights: Float32Array; readonly mechanism: RoundMechanism; readonly learningRate: number }) => Promise<Float32Array>;
  readonly close: () => Promise<void>;
}

interface Link {
  readonly post: (request: TrainerRequest) => void;
  readonly close: () => Promise<void>;
}

type Handlers = { readonly answer: (answer: TrainerAnswer) => void; readonly died: (error: Error) => void };

/** A worker thread; a child process when a native backend may be loaded (its addon fails in worker threads). */
export function startTrainer(backend: BackendChoice): Trainer {
  const waiting = new Map<number, { readonly resolve: (answer: TrainerAnswer) => void; readonly reject: (error: Error) => void }>();
  let dead: Error | undefined;
  let nextId = 1;
  const handlers: Handlers = {
    answer: (answer) => {
      const waiter = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (answer.type === 'failed') waiter?.reject(new AntiphonError(codeOf(answer.code), answer.message));
      else waiter?.resolve(answer);
    },
    died: (error) => {
      dead = error;
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    },
  };
  const link = needsProcess(backend) ? inProcess(handlers) : inThread(handlers);
  const ask = <T extends TrainerAnswer['type']>(expected: T, request: (id: number) => TrainerRequest): Promise<Extract<TrainerAnswer, { type: T }>> =>
    new Promise((resolve, reject) => {
      if (dead !== undefined) {
        reject(dead);
        return;
      }
      const id = nextId++;
      waiting.set(id, {
        resolve: (answer) => {
          if (answer.type === expected) resolve(answer as Extract<TrainerAnswer, { type: T }>);
          else reject(new AntiphonError('internal', `the trainer answered ${answer.type} instead of ${expected}`));
        },
        reject,
      });
      link.post(request(id));
    });
  return {
    openSite: async (input) => ask('opened', (id) => ({ type: 'open', id, ...input })),
    train: async (input) => (await ask('trained', (id) => ({ type: 'train', id, ...input }))).update,
    close: link.close,
  };
}

function codeOf(code: string): ErrorCode {
  return code in EXIT_CODES ? (code as ErrorCode) : 'internal';
}

const ENTRY = new URL('./train-worker.js', import.meta.url);

function ended(code: number | null): Error {
  return new AntiphonError('training-failed', `the trainer ended by itself (code ${code ?? 'none'}); out of memory is the usual reason: give the site more, or a smaller model`);
}

function inThread({ answer, died }: Handlers): Link {
  const worker = new Worker(ENTRY);
  let closing = false;
  worker.on('message', answer);
  worker.on('error', died);
  worker.on('exit', (code) => {
    if (!closing) died(ended(code));
  });
  return {
    post: (request) => {
      worker.postMessage(request, request.type === 'train' ? [request.weights.buffer as ArrayBuffer] : []);
    },
    close: async () => {
      closing = true;
      await worker.terminate();
    },
  };
}

function inProcess({ answer, died }: Handlers): Link {
  const child = fork(fileURLToPath(ENTRY), { serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  let closing = false;
  child.on('message', (message) => {
    answer(message as TrainerAnswer);
  });
  child.on('error', died);
  child.on('exit', (code) => {
    if (!closing) died(ended(code));
  });
  return {
    post: (request) => void child.send(request),
    close: () => {
      closing = true;
      child.disconnect();
      return Promise.resolve();
    },
  };
}
