/**
 * Time and memory of `antiphon audit` on long ledgers, half of whose entries are site-signed receipts: the whole process, from start to end.
 *
 *   npm run bench:audit
 *
 * Prints a table and writes test/bench/results/audit.md and audit.json under the current folder.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeLongLedger } from '../support/long-ledger.ts';

const ANTIPHON = fileURLToPath(new URL('../../deploy/antiphon.js', import.meta.url));
/** Says the process's own peak when it ends. */
const PEAK = "data:text/javascript,process.on('exit',()=>process.stderr.write('peak '+process.resourceUsage().maxRSS))";

interface Row {
  readonly entries: number;
  readonly receipts: number;
  readonly fileMiB: number;
  readonly seconds: number;
  readonly peakMiB: number;
}

function measure(folder: string, wanted: number): Row {
  const path = join(folder, `${wanted}.jsonl`);
  const { entries, receipts } = writeLongLedger(path, wanted);
  const startedAt = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', PEAK, ANTIPHON, 'audit', path, '--json'], { encoding: 'utf8', maxBuffer: 1 << 28 });
  const seconds = (performance.now() - startedAt) / 1000;
  const verdict = (JSON.parse(stdout) as { verdict: string }).verdict;
  if (status !== 0 || verdict !== 'verified') throw new Error(`the audit of ${wanted} entries ended with ${status ?? 'none'}: ${verdict}`);
  return { entries, receipts, fileMiB: statSync(path).size / 2 ** 20, seconds, peakMiB: Number(/peak (\d+)/.exec(stderr)?.[1]) / 1024 };
}

const loadBefore = loadavg()[0] ?? NaN;
const folder = mkdtempSync(join(tmpdir(), 'antiphon-bench-'));
try {
  const rows = (process.argv[2] ?? '10000,100000,1000000').split(',').map((entries) => {
    const row = measure(folder, Number(entries));
    console.error(row);
    return row;
  });
  const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}, ${process.platform}, ${new Date().toISOString().slice(0, 10)}; load average ${loadBefore.toFixed(1)} before`;
  const table = [
    '# Audit of long ledgers',
    '',
    machine,
    '',
    '| entries | of them receipts | file MiB | seconds | peak memory MiB |',
    `|${' --- |'.repeat(5)}`,
    ...rows.map((row) => `| ${row.entries} | ${row.receipts} | ${row.fileMiB.toFixed(1)} | ${row.seconds.toFixed(2)} | ${row.peakMiB.toFixed(0)} |`),
    '',
    'The whole process. Every leaf hash, root, head, receipt and rule, the RDP of every round, the PLD of 128 rounds and of the whole.',
    '',
  ].join('\n');
  mkdirSync('test/bench/results', { recursive: true });
  writeFileSync('test/bench/results/audit.md', table);
  writeFileSync('test/bench/results/audit.json', `${JSON.stringify({ machine, rows }, null, 2)}\n`);
  console.log(table);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
