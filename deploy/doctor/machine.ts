import { execFile } from 'node:child_process';
import { statfs } from 'node:fs/promises';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { promisify } from 'node:util';
import type { Check } from './check.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** As package.json's engines say. */
const OLDEST_NODE = [20, 19] as const;
/** A site's process on wasm stays below half of it. */
const LEAST_MEMORY = 512 * MIB;
/** A run of a small study takes some tens of megabytes; checkpoints of large models more. */
const LEAST_DISK = 256 * MIB;
const ENOUGH_DISK = 2 * GIB;

export function checkNode(version: string = process.versions.node): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  const found = `${version} (${process.platform} ${process.arch}, ${availableParallelism()} cores, ${cpus()[0]?.model.trim() ?? 'unknown processor'})`;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return { type: 'good', name: 'node', found };
  return { type: 'problem', name: 'node', found, todo: `antiphon needs Node ${OLDEST_NODE.join('.')} or newer: install Node 24`, code: 'usage' };
}

/** What this process may use, containers' limits counted. */
export function checkMemory(total: number = memoryLimit(), free: number = Math.min(freemem(), total)): Check {
  const found = `${size(free)} free of ${size(total)}`;
  if (free >= LEAST_MEMORY) return { type: 'good', name: 'memory', found };
  return { type: 'note', name: 'memory', found, todo: `a site wants ${size(LEAST_MEMORY)}: end other programs, or give the container more` };
}

function memoryLimit(): number {
  // Zero, or a number beyond the machine, where there is no limit.
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? limit : totalmem();
}

export async function checkDisk(folder: string): Promise<Check> {
  const { bavail, bsize } = await statfs(folder);
  return diskCheck(folder, bavail * bsize);
}

export function diskCheck(folder: string, free: number): Check {
  const found = `${size(free)} free in ${folder}`;
  if (free < LEAST_DISK) return { type: 'problem', name: 'disk', found, todo: `a run needs ${size(LEAST_DISK)}: free space, or run in another folder`, code: 'storage-failed' };
  if (free < ENOUGH_DISK) return { type: 'note', name: 'disk', found, todo: 'enough for a small study; checkpoints of large models need more' };
  return { type: 'good', name: 'disk', found };
}

/** The GPUs that NVIDIA's driver sees, "name, driver version, memory"; empty where there is no such driver. */
export async function nvidiaGpus(): Promise<readonly string[]> {
  try {
    const { stdout } = await promisify(execFile)('nvidia-smi', ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'], { timeout: 10_000 });
    return stdout.split('\n').map((line) => line.trim()).filter((line) => line !== '');
  } catch {
    return [];
  }
}

export function checkGpu(nvidia: readonly string[], adapter: string | undefined): Check {
  const known = [...nvidia.map((gpu) => `${gpu} (NVIDIA: name, driver, memory)`), ...(adapter === undefined ? [] : [`${adapter} (WebGPU)`])];
  if (known.length > 0) return { type: 'good', name: 'gpu', found: known.join('; ') };
  return { type: 'note', name: 'gpu', found: 'none known', todo: 'none is needed; for one that is there, install its driver, then the backend that uses it' };
}

function size(bytes: number): string {
  return bytes >= GIB ? `${(bytes / GIB).toFixed(1)} GiB` : `${Math.round(bytes / MIB)} MiB`;
}
