import { writeFileAtomic } from '../../shared/platform/atomic-file.ts';
import type { StudyEvent } from '../events.ts';
import { loadPlotLibrary } from './page.ts';
import { renderReport } from './report.ts';

/** Writes `report.html`. */
export async function writeReport(path: string, events: readonly StudyEvent[], studyYaml: string): Promise<void> {
  await writeFileAtomic(path, renderReport({ events, studyYaml, plotLibrary: await loadPlotLibrary() }));
}
