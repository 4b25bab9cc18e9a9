// Preloaded into a process that is to die (CRASH_BEFORE=N): SIGKILL right before its Nth durable step. The product knows nothing of it.
import { promises } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const last = Number(process.env['CRASH_BEFORE']);
let steps = 0;
const step = (original) =>
  function (...parameters) {
    steps += 1;
    if (steps === last) process.kill(process.pid, 'SIGKILL');
    return original.apply(this, parameters);
  };

const handle = await promises.open(process.execPath, 'r');
const { prototype } = handle.constructor;
await handle.close();
for (const name of ['datasync', 'sync']) prototype[name] = step(prototype[name]);
promises.rename = step(promises.rename);
syncBuiltinESMExports();
