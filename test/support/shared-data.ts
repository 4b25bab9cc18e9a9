import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';

const folder = fileURLToPath(new URL('../../../shared/', import.meta.url));

/** Absolute path of a file of the data and golden values that stand beside the project, or undefined where they are absent. */
export function sharedFile(path: string): string | undefined {
  return existsSync(folder + path) ? folder + path : undefined;
}

/** A suite that needs those files: it says so in its name when it is skipped. */
export function describeWithShared(title: string, needs: readonly string[], suite: () => void): void {
  const missing = needs.filter((path) => sharedFile(path) === undefined);
  if (missing.length === 0) describe(title, suite);
  else describe.skip(`${title} (skipped: ../shared/${missing.join(', ../shared/')} not found beside the project)`, suite);
}
