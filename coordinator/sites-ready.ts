import { AntiphonError } from '../shared/errors.ts';
import type { CoordinatorPorts, StudyContext } from './run.ts';

/** Resolves when at least `needed` of these sites have enrolled and said that they are ready, or the study is stopped; the join deadline ends the wait. */
export function sitesReady({ study }: Pick<StudyContext, 'study'>, ports: Pick<CoordinatorPorts, 'hub' | 'setTimer' | 'signal'>, { names, needed }: { readonly names: readonly string[]; readonly needed: number }): Promise<void> {
  const missing = (): string[] => names.filter((name) => !ports.hub.ready().has(name));
  const { joinDeadlineSeconds } = study.operation;
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      unsubscribe();
      cancelTimer();
      ports.signal.removeEventListener('abort', check);
      settle();
    };
    const check = (): void => {
      if (ports.signal.aborted || names.length - missing().length >= needed) finish(resolve);
    };
    const unsubscribe = ports.hub.subscribe(check);
    const cancelTimer = ports.setTimer(() => {
      finish(() => {
        reject(new AntiphonError('study-failed', `expected ${needed} of ${names.length} sites within ${joinDeadlineSeconds} s, still missing: ${missing().join(', ')}; start them, or raise operation.joinDeadlineSeconds`));
      });
    }, joinDeadlineSeconds * 1000);
    ports.signal.addEventListener('abort', check);
    check();
  });
}
