import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadPlotLibrary } from '../../coordinator/report/page.ts';
import { experimentPage } from '../../deploy/experiment/page.ts';
import { readResults, studyLines } from '../../deploy/experiment/results.ts';
import { describeInBrowser, expectSoundPage } from '../support/browser-page.ts';
import { finishedCell, gridOf } from '../support/experiment-cells.ts';
import { temporaryFolder } from '../support/processes.ts';

describeInBrowser("an experiment's page in a real browser", () => {
  it('draws accuracy and calibration error, asks the network for nothing, logs no error, and fits wide and narrow windows, light and dark', async () => {
    const { cells, readings } = gridOf('avmnist-hard', 'epsilon: [none, 2, 0.5]', 'seeds: [1, 2]', 'presets: [antiphon, mla, pamrl]', 'overrides: { fusion.pool: [log], fusion.alpha: [0.25, 0.75], fusion.reference: [consensus, leave-one-out] }');
    const finished = new Map(cells.map((cell) => [cell, finishedCell(cell, { right: cell.epsilon === 'none' ? 9 : 5 + cell.epsilon })]));
    const results = readResults(readings, ({ cell }) => finished.get(cell), { degraded: true });
    const out = join(temporaryFolder(), 'report.html');
    writeFileSync(out, experimentPage({ name: 'grid', description: 'of two seeds', studies: studyLines(results), remarks: ['skipped cremad'], plotLibrary: await loadPlotLibrary() }));
    await expectSoundPage(out, {
      lastChart: 'ece15-0',
      charts: 2,
      check: (text) => {
        expect(text).toContain('mla entropy, no privacy');
        expect(text).toContain('skipped cremad');
        expect(text).toContain('Where one modality fails');
        expect(text).toContain('The plots show the first 6 of 9 methods.');
      },
    });
  });
});
