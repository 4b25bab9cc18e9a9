import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { BACKEND_CHOICES, isInstalled, type BackendChoice, type BackendName } from '../../shared/platform/backend-choice.ts';
import { installCommand } from '../../shared/platform/backend.ts';
import type { Check } from './check.ts';
import type { ProbeAnswer, ProbeRequest, Speed } from './probe.ts';

/** A backend that compiles its shaders on the processor takes a minute for its self-check. */
const TIMEOUT_MS = 180_000;

const USES: Readonly<Record<BackendName, string>> = {
  'tensorflow-gpu': 'NVIDIA GPUs: Linux, CUDA 11.2 and cuDNN 8.1',
  webgpu: "any vendor's GPU: Vulkan, Metal or D3D12",
  tensorflow: 'processors: Linux, macOS, Windows',
  wasm: 'everywhere',
  cpu: 'everywhere, for tests: slow',
};

export interface BackendChecks {
  readonly checks: readonly Check[];
  readonly chosen: { readonly name: BackendName; readonly why: string; readonly speeds: readonly Speed[] } | undefined;
  /** The GPU that a backend named. */
  readonly gpu: string | undefined;
}

/** Opens every backend that is installed, each in its own process, then proves and measures the one that a site would take. */
export async function checkBackends(choice: BackendChoice): Promise<BackendChecks> {
  const checks: Check[] = [];
  let gpu: string | undefined;
  for (const name of BACKEND_CHOICES) {
    if (name === 'auto') continue;
    const title = `backend ${name}`;
    if (!isInstalled(name)) {
      checks.push({ type: 'note', name: title, found: `not installed (${USES[name]})`, todo: installCommand(name) });
      continue;
    }
    const answer = await ask({ backend: name, work: 'open' });
    if (answer.type === 'failed') checks.push({ type: 'note', name: title, found: answer.message, todo: `for ${USES[name]}: install what is missing, then ${installCommand(name)}` });
    else {
      const { report } = answer;
      gpu ??= report.gpu;
      checks.push({ type: 'good', name: title, found: `${report.package} ${report.version} (${USES[name]})${remarkOf(report.why)}` });
    }
  }
  const answer = await ask({ backend: choice, work: 'measure' });
  if (answer.type === 'failed') {
    const todo = choice === 'auto' ? 'reinstall antiphon: npm install' : `${installCommand(choice)}, or choose another with --backend`;
    return { checks: [...checks, { type: 'problem', name: 'training', found: answer.message, todo, code: answer.code }], chosen: undefined, gpu };
  }
  const { report, layers, speeds } = answer;
  const rates = speeds.map(({ model, examplesPerSecond }) => `${model}: ${examplesPerSecond} examples/s`).join(', ');
  const proven: Check = { type: 'good', name: 'training', found: `${report.name}: gradients, norms and clipping of ${layers} layers proven; private steps of ${rates}` };
  return { checks: [...checks, proven], chosen: { name: report.name, why: report.why, speeds }, gpu };
}

/** What a report says beyond that it was asked for. */
function remarkOf(why: string): string {
  const [, ...remarks] = why.split('; ');
  return remarks.length === 0 ? '' : `; ${remarks.join('; ')}`;
}

function ask(request: ProbeRequest): Promise<ProbeAnswer> {
  return new Promise((resolve) => {
    // Native libraries print greetings; only the message counts.
    const child = fork(fileURLToPath(new URL('./probe.js', import.meta.url)), { serialization: 'advanced', stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    const failed = (message: string): void => {
      resolve({ type: 'failed', code: 'backend-unavailable', message });
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      failed(`no answer within ${TIMEOUT_MS / 1000} s`);
    }, TIMEOUT_MS);
    child.on('message', (answer) => {
      resolve(answer as ProbeAnswer);
    });
    child.on('error', (error) => {
      failed(error.message);
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      failed(`its process ended by itself (${signal ?? `code ${code ?? 'none'}`})`);
    });
    child.send(request);
  });
}
