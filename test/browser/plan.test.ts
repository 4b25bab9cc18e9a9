import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { describeInBrowser, expectSoundPage } from '../support/browser-page.ts';
import { run, temporaryFolder } from '../support/processes.ts';

describeInBrowser("a plan's page in a real browser", () => {
  it('draws its plot, asks the network for nothing, logs no error, and fits wide and narrow windows, light and dark', async () => {
    const out = join(temporaryFolder(), 'plan.html');
    const study = fileURLToPath(new URL('../../deploy/studies/synthetic.yaml', import.meta.url));
    expect((await run('plan', '--study', study, '--out', out)).stderr).toBe('');
    await expectSoundPage(out, {
      lastChart: 'epsilon',
      charts: 1,
      check: (text) => {
        expect(text).toContain('Noise multiplier');
        expect(text).toContain('by RDP it would be');
      },
    });
  });
});
