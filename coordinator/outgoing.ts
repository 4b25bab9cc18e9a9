/** What is on its way to one peer. Frames are sealed as they leave, in the order they were pushed, so that what waits costs next to nothing. */
export interface Outgoing {
  /** False when too much is waiting: the peer does not read, and is to be let go. */
  readonly push: (frames: Iterable<Uint8Array>) => boolean;
  /** All that was emitted has been written. */
  readonly drained: () => void;
}

/** Bytes that are handed to the socket before it has written what it has: enough to keep a fast line busy. */
const HIGH_WATER_BYTES = 2 * 1024 * 1024;
/** A site that reads has a window of chunks and a few messages of a round before it. */
const MOST_WAITING = 1024;

export function createOutgoing(emit: (frame: Uint8Array) => void): Outgoing {
  const waiting: Iterator<Uint8Array>[] = [];
  let unwritten = 0;
  const flush = (): void => {
    while (unwritten < HIGH_WATER_BYTES) {
      const next = waiting[0]?.next();
      if (next === undefined) return;
      if (next.done === true) waiting.shift();
      else {
        unwritten += next.value.length;
        emit(next.value);
      }
    }
  };
  return {
    push: (frames) => {
      if (waiting.length >= MOST_WAITING) return false;
      waiting.push(frames[Symbol.iterator]());
      flush();
      return true;
    },
    drained: () => {
      unwritten = 0;
      flush();
    },
  };
}
