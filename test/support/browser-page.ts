/// <reference lib="dom" />
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { describe, expect } from 'vitest';

const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
const launch = { executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] };

/** A suite that needs Chromium: it says so in its name when it is skipped. */
export function describeInBrowser(title: string, suite: () => void): void {
  if (existsSync(executablePath)) describe(title, suite);
  else describe.skip(`${title} (skipped: no Chromium at ${executablePath}; install it or set CHROMIUM_PATH)`, suite);
}

/** Chromium without its calls to the network. */
export function launchBrowser(): ReturnType<typeof chromium.launch> {
  return chromium.launch(launch);
}

/** Opens the file wide and light, and narrow and dark: it draws so many charts, asks the network for nothing, logs no error, and fits. `check` gets the text that is seen. */
export async function expectSoundPage(path: string, { lastChart, charts, check }: { readonly lastChart: string; readonly charts: number; readonly check: (text: string) => void }): Promise<void> {
  const browser = await launchBrowser();
  try {
    for (const [colorScheme, width] of [['light', 1280], ['dark', 420]] as const) {
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
      const complaints: string[] = [];
      page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('request', (request) => !request.url().startsWith('file:') && !request.url().startsWith('data:') && complaints.push(request.url()));
      await page.goto(`file://${path}`);
      await page.waitForSelector(`#${lastChart} canvas`);
      const facts = await page.evaluate(() => {
        const inked = Array.from(document.querySelectorAll('canvas'), (canvas) => canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data.some((value, i) => i % 4 === 3 && value > 0));
        return { inked, overflow: document.documentElement.scrollWidth - window.innerWidth, text: document.body.innerText };
      });
      expect(facts.inked).toEqual(new Array(charts).fill(true));
      expect(facts.overflow).toBeLessThanOrEqual(0);
      check(facts.text);
      expect(complaints).toEqual([]);
      await page.close();
    }
  } finally {
    await browser.close();
  }
}
