/// <reference lib="dom" />
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { loadPlotLibrary } from '../../coordinator/report/page.ts';
import { experimentPage } from '../../deploy/experiment/page.ts';
import { readResults, studyLines } from '../../deploy/experiment/results.ts';
import { finishedCell, gridOf } from '../support/experiment-cells.ts';
import { temporaryFolder } from '../support/processes.ts';

const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
const launch = { executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] };
const title = "an experiment's page in a real browser";
const suite = existsSync(executablePath) ? (body: () => void) => describe(title, body) : (body: () => void) => describe.skip(`${title} (skipped: no Chromium at ${executablePath}; install it or set CHROMIUM_PATH)`, body);

suite(() => {
  it('draws accuracy and calibration error, asks the network for nothing, logs no error, and fits wide and narrow windows, light and dark', async () => {
    const { cells, readings } = gridOf('avmnist-hard', 'epsilon: [none, 2, 0.5]', 'seeds: [1, 2]', 'presets: [antiphon, mla, pamrl]', 'overrides: { fusion.alpha: [0.25, 0.75], fusion.reference: [consensus, leave-one-out] }');
    const finished = new Map(cells.map((cell) => [cell, finishedCell(cell, { right: cell.epsilon === 'none' ? 9 : 5 + cell.epsilon })]));
    const results = readResults(readings, ({ cell }) => finished.get(cell));
    const out = join(temporaryFolder(), 'report.html');
    writeFileSync(out, experimentPage({ name: 'grid', description: 'of two seeds', studies: studyLines(results), remarks: ['skipped cremad'], plotLibrary: await loadPlotLibrary() }));
    const browser = await chromium.launch(launch);
    try {
      for (const [colorScheme, width] of [['light', 1280], ['dark', 420]] as const) {
        const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
        const complaints: string[] = [];
        page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
        page.on('pageerror', (error) => complaints.push(error.message));
        page.on('request', (request) => !request.url().startsWith('file:') && !request.url().startsWith('data:') && complaints.push(request.url()));
        await page.goto(`file://${out}`);
        await page.waitForSelector('#ece15-0 canvas');
        const facts = await page.evaluate(() => {
          const inked = Array.from(document.querySelectorAll('canvas'), (canvas) => canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data.some((value, i) => i % 4 === 3 && value > 0));
          return { inked, overflow: document.documentElement.scrollWidth - window.innerWidth, text: document.body.innerText };
        });
        expect(facts.inked).toEqual([true, true]);
        expect(facts.overflow).toBeLessThanOrEqual(0);
        expect(facts.text).toContain('mla entropy, no privacy');
        expect(facts.text).toContain('skipped cremad');
        expect(facts.text).toContain('The plots show the first 6 of 9 methods.');
        expect(complaints).toEqual([]);
        await page.close();
      }
    } finally {
      await browser.close();
    }
  });
});
