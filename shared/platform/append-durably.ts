import { open } from 'node:fs/promises';
import { dirname } from 'node:path';

/** On disk (fdatasync) when it resolves, a file that is new included. */
export async function appendDurably(path: string, text: string, mode = 0o644): Promise<void> {
  const file = await open(path, 'a', mode);
  try {
    const isNew = (await file.stat()).size === 0;
    await file.appendFile(text);
    await file.datasync();
    if (isNew) await syncFolder(dirname(path));
  } finally {
    await file.close();
  }
}

/** Without it a new file may be gone after a power failure, however well its content was written. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
