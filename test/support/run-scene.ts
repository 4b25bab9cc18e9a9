import { mkdirSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { networksOf } from '../../coordinator/model-state.ts';
import type { StudyEnd } from '../../coordinator/run.ts';
import { openCheckpoints } from '../../coordinator/store/checkpoint.ts';
import { runFiles } from '../../coordinator/store/run-folder.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { studyHash } from '../../shared/study/hash.ts';
import type { Study } from '../../shared/study/schema.ts';
import { newWorld, startStudy, type Answer, type SceneChange, type World } from './study-scene.ts';

/** Updates of no meaning: as long as honest ones may be, so that logits are no constants. */
export const waves = (phase: number) => (site: string, round: number, size: number): Float32Array => Float32Array.from({ length: size }, (_, i) => 0.4 * Math.sin(phase + site.length + 0.5 * round + 1.9 * i));

/** A run's folder as a coordinator leaves it (ledger, study, checkpoints), by the real one, in this process; its sites deliver `waves(phase)` and train nothing. */
export async function writeRun(folder: string, study: Study, { answer = () => 'deliver', phase = 0.3, ...change }: { readonly answer?: (site: string, round: number) => Answer; readonly phase?: number } & Pick<SceneChange, 'evaluationSets'> = {}): Promise<{ readonly end: StudyEnd; readonly world: World }> {
  const files = runFiles(folder);
  mkdirSync(folder, { recursive: true });
  const world = newWorld();
  world.builder.study = studyHash(study, primitives);
  const checkpoints = await openCheckpoints(files.checkpoints, networksOf(study));
  const { end } = await startStudy(world, study, answer, { update: waves(phase), checkpoints, ...change });
  const ended = await end;
  writeFileSync(files.study, stringify(study));
  writeFileSync(files.ledger, world.lines.disk().map((line) => `${line}\n`).join(''));
  return { end: ended, world };
}
