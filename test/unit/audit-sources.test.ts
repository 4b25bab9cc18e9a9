import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findSources } from '../../deploy/audit/source.ts';
import { temporaryFolder } from '../support/processes.ts';

it('the folder of a site takes its spend log in the vault along; where that is not here, the audit says which file to add', async () => {
  const root = temporaryFolder();
  const [site, vault] = [join(root, 'site'), join(root, 'vault')];
  for (const folder of [site, vault]) mkdirSync(folder);
  const ledger = join(root, 'ledger.jsonl');
  writeFileSync(ledger, '');
  writeFileSync(join(site, 'site.json'), JSON.stringify({ vault, dataset: 'hearts' }));
  const logs = async (...given: readonly string[]) => (await findSources(ledger, given)).spendLogs.map(({ name }) => name);
  // Nothing is spent yet.
  expect(await logs(site)).toEqual([]);
  const log = join(vault, 'hearts.jsonl');
  writeFileSync(log, '{"type":"spend"}\n');
  expect(await logs(site)).toEqual([log]);
  writeFileSync(join(site, 'site.json'), JSON.stringify({ vault: join(root, 'elsewhere'), dataset: 'hearts' }));
  await expect(logs(site)).rejects.toThrow(`names its spend log ${join(root, 'elsewhere', 'hearts.jsonl')}, which is not here: add a copy of it, called hearts.jsonl, with --site-logs`);
  expect(await logs(site, log)).toEqual([log]);
});
