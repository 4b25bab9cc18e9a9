import type { BackendChoice } from '../shared/platform/backend-choice.ts';
import type { RoundMechanism } from '../shared/study/resolve.ts';

/** What passes between a site's process and its trainer (a worker thread, or a child process for native backends). */
export type TrainerRequest =
  | { readonly type: 'open'; readonly id: number; readonly site: string; readonly study: string; readonly data: string; readonly home: string; readonly backend: BackendChoice }
  | {
      readonly type: 'train';
      readonly id: number;
      readonly site: string;
      readonly weights: Float32Array;
      readonly mechanism: RoundMechanism;
      readonly learningRate: number;
    };

export type TrainerAnswer =
  | { readonly type: 'opened'; readonly id: number; readonly backend: string; readonly why: string; readonly summary: string; readonly unreadable: number; readonly frozenRunsOn: string | undefined }
  | { readonly type: 'trained'; readonly id: number; readonly update: Float32Array }
  | { readonly type: 'failed'; readonly id: number; readonly code: string; readonly message: string };
