// Preloaded into a process that is asked to stop (STOP_BEFORE=N): SIGTERM right before its Nth file is opened, read or written. The product knows nothing of it.
import { promises } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const last = Number(process.env['STOP_BEFORE']);
let steps = 0;
for (const name of ['open', 'readFile', 'writeFile']) {
  const original = promises[name];
  promises[name] = function (...parameters) {
    // Not those of the loader, before anyone listens.
    if (process.listenerCount('SIGTERM') > 0) steps += 1;
    if (steps === last) process.kill(process.pid, 'SIGTERM');
    return original.apply(this, parameters);
  };
}
syncBuiltinESMExports();
