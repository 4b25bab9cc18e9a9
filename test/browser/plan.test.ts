/// <reference lib="dom" />
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { run, temporaryFolder } from '../support/processes.ts';

const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
const launch = { executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] };
const title = "a plan's page in a real browser";
const suite = existsSync(executablePath) ? (body: () => void) => describe(title, body) : (body: () => void) => describe.skip(`${title} (skipped: no Chromium at ${executablePath}; install it or set CHROMIUM_PATH)`, body);

suite(() => {
  it('draws its plot, asks the network for nothing, logs no error, and fits wide and narrow windows, light and dark', async () => {
    const out = join(temporaryFolder(), 'plan.html');
    const study = fileURLToPath(new URL('../../deploy/studies/synthetic.yaml', import.meta.url));
    expect((await run('plan', '--study', study, '--out', out)).stderr).toBe('');
    const browser = await chromium.launch(launch);
    try {
      for (const [colorScheme, width] of [['light', 1280], ['dark', 420]] as const) {
        const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
        const complaints: string[] = [];
        page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
        page.on('pageerror', (error) => complaints.push(error.message));
        page.on('request', (request) => !request.url().startsWith('file:') && !request.url().startsWith('data:') && complaints.push(request.url()));
        await page.goto(`file://${out}`);
        await page.waitForSelector('#epsilon canvas');
        const facts = await page.evaluate(() => {
          const inked = Array.from(document.querySelectorAll('canvas'), (canvas) => canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data.some((value, i) => i % 4 === 3 && value > 0));
          return { inked, overflow: document.documentElement.scrollWidth - window.innerWidth, text: document.body.innerText };
        });
        expect(facts.inked).toEqual([true]);
        expect(facts.overflow).toBeLessThanOrEqual(0);
        expect(facts.text).toContain('Noise multiplier');
        expect(facts.text).toContain('by RDP it would be');
        expect(complaints).toEqual([]);
        await page.close();
      }
    } finally {
      await browser.close();
    }
  });
});
