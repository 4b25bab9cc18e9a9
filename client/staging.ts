import { readFile, rm } from 'node:fs/promises';
import { pack, unpack } from 'msgpackr';
import { z } from 'zod';
import { AntiphonError } from '../shared/errors.ts';
import { receiptSchema } from '../shared/ledger/entry.ts';
import { writeFileAtomic } from '../shared/platform/atomic-file.ts';

const stagedSchema = z.strictObject({
  roundKey: z.instanceof(Uint8Array),
  totalBytes: z.int().positive(),
  receipt: receiptSchema,
  chunks: z.array(z.instanceof(Uint8Array)),
});

/** A finished, sealed update as it goes out: asked again, the site sends these same bytes and never a second release. */
export type StagedUpdate = z.output<typeof stagedSchema>;

export async function stageUpdate(path: string, update: StagedUpdate): Promise<void> {
  await writeFileAtomic(path, pack(update), 0o600);
}

export async function loadStaged(path: string): Promise<StagedUpdate | undefined> {
  const bytes = await readFile(path).catch(() => undefined);
  if (bytes === undefined) return undefined;
  const parsed = stagedSchema.safeParse(unpacked(bytes));
  if (!parsed.success) throw new AntiphonError('storage-failed', `${path} is damaged; the round it belongs to is lost and stays spent: remove the file to go on`);
  // msgpackr hands out views into one buffer: own copies.
  return { ...parsed.data, roundKey: new Uint8Array(parsed.data.roundKey), chunks: parsed.data.chunks.map((chunk) => new Uint8Array(chunk)) };
}

function unpacked(bytes: Uint8Array): unknown {
  try {
    return unpack(bytes);
  } catch {
    return undefined;
  }
}

export async function clearStaged(path: string): Promise<void> {
  await rm(path, { force: true });
}
