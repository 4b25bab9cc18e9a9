import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import type { StudyEvent } from '../events.ts';
import { renderReport } from './report.ts';

/** Writes `report.html`, with the plot library (uPlot) inside it. */
export async function writeReport(path: string, events: readonly StudyEvent[], studyYaml: string): Promise<void> {
  const require = createRequire(import.meta.url);
  const [script, style] = await Promise.all([readFile(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8'), readFile(require.resolve('uplot/dist/uPlot.min.css'), 'utf8')]);
  await writeFileAtomic(path, renderReport({ events, studyYaml, plotLibrary: { script, style } }));
}
