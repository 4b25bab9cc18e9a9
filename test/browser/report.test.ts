/// <reference lib="dom" />
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeInBrowser, launchBrowser } from '../support/browser-page.ts';
import { run, temporaryFolder } from '../support/processes.ts';
import { writeTinyStudy } from '../support/tiny-study.ts';

describeInBrowser('the report in a real browser', () => {
  it('draws its charts, asks the network for nothing, logs no error, and fits wide and narrow windows, light and dark', async () => {
    const folder = temporaryFolder();
    const { study, data } = writeTinyStudy(folder, { rounds: 6 });
    // A name that would break out of the page if anything were not escaped.
    writeFileSync(study, readFileSync(study, 'utf8').replace('classes: ["no", "yes"]', 'description: "</script><script>alert(1)</script>"\nclasses: ["no", "yes"]'));
    const out = join(folder, 'run');
    expect((await run('simulate', '--study', study, '--data', data, '--out', out)).stderr).toBe('');
    const browser = await launchBrowser();
    try {
      for (const colorScheme of ['light', 'dark'] as const) {
        for (const width of [1280, 420]) {
          const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
          const complaints: string[] = [];
          page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
          page.on('pageerror', (error) => complaints.push(error.message));
          page.on('dialog', (dialog) => {
            complaints.push(`dialog ${dialog.message()}`);
            void dialog.dismiss();
          });
          page.on('request', (request) => !request.url().startsWith('file:') && !request.url().startsWith('data:') && complaints.push(request.url()));
          await page.goto(`file://${join(out, 'report.html')}`);
          await page.waitForSelector('#epsilon canvas');
          const facts = await page.evaluate(() => {
            const inked = Array.from(document.querySelectorAll('canvas'), (canvas) => {
              const pixels = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data;
              return pixels.some((value, i) => i % 4 === 3 && value > 0);
            });
            // Ink in the first column of pixels would be a label that does not fit.
            const cut = Array.from(document.querySelectorAll('canvas'), (canvas) => canvas.getContext('2d')!.getImageData(0, 0, 1, canvas.height).data.some((value, i) => i % 4 === 3 && value > 0));
            const legends = Array.from(document.querySelectorAll('.u-legend .u-value'), ({ textContent }) => textContent);
            const words = Array.from(document.querySelectorAll('.words dt'), ({ textContent }) => textContent);
            const cutTables = Array.from(document.querySelectorAll<HTMLElement>('.scroll')).filter((one) => one.scrollWidth > one.clientWidth).map((one) => ({ focusable: one.tabIndex === 0, shadow: getComputedStyle(one).backgroundAttachment.includes('local') }));
            return { inked, cut, legends, words, cutTables, overflow: document.documentElement.scrollWidth - window.innerWidth, text: document.body.innerText };
          });
          expect(facts.inked).toEqual([true, true, true]);
          expect(facts.cut).toEqual([false, false, false]);
          // The last point, as long as no pointer asks for another: rounds and shares, never a dash.
          expect(facts.legends[0]).toBe('6');
          expect(facts.legends.filter((text) => !/^\d+(\.\d+)?( %)?$/.test(text))).toEqual([]);
          expect(facts.overflow).toBeLessThanOrEqual(0);
          expect(facts.text).toContain('Result on the test part');
          expect(facts.text).toContain('Epsilon spent');
          expect(facts.text).toMatch(/true class ↓\s+predicted class →\s+no\s+yes/);
          expect(facts.text).toContain('expected calibration error');
          // One row for each pool, the study's own first, intact and where a modality fails.
          for (const row of [/the study's rule \(robust product\)/g, /log pool, uncertainty weights/g, /linear pool, uncertainty weights/g]) expect(facts.text.match(row)).toHaveLength(2);
          expect(facts.text).not.toMatch(/hybrid/i);
          // When each site was last seen, not merely that a finished study has none connected.
          expect(facts.text.match(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/g)).toHaveLength(3);
          expect(facts.text).not.toContain('disconnected');
          expect(facts.text).toContain('fails 30 % of the samples');
          for (const word of ['PLD', 'RDP', 'robust product', 'log pool, linear pool', 'entropy only (MLA)', 'discount']) expect(facts.words).toContain(word);
          // What is cut at the edge can be reached by keys, and a shadow tells of it.
          expect(facts.cutTables.every(({ focusable, shadow }) => focusable && shadow)).toBe(true);
          expect(facts.cutTables.length > 0).toBe(width === 420);
          expect(complaints).toEqual([]);
          if (process.env['ANTIPHON_SCREENSHOTS'] !== undefined) await page.screenshot({ path: join(process.env['ANTIPHON_SCREENSHOTS'], `report-${colorScheme}-${width}.png`), fullPage: true });
          await page.close();
        }
      }
    } finally {
      await browser.close();
    }
  });
});
