/** Resolves when it is so, asked again at every sign, or after so many milliseconds: a site that is slow or silent does not hold the end. */
export function whenever(isSo: () => boolean, signs: readonly ((listener: () => void) => () => void)[], ms: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      cancelTimer();
      for (const stop of stops) stop();
      resolve();
    };
    const check = (): void => {
      if (isSo()) finish();
    };
    const cancelTimer = startTimer(finish, ms);
    const stops = signs.map((subscribe) => subscribe(check));
    check();
  });
}

/** setTimeout takes at most 2^31-1 ms; a longer deadline is cut to that (24 days). */
export function startTimer(callback: () => void, ms: number): () => void {
  const timer = setTimeout(callback, Math.min(ms, 2 ** 31 - 1));
  return () => {
    clearTimeout(timer);
  };
}
