/**
 * Assembles the SIMD kernel from its source: `npm run build:kernel` (with wabt) rewrites shared/platform/wasm/patch-gradients-bytes.ts under the current folder; a test compares
 * what is committed with what `assembleKernel` gives.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import wabt from 'wabt';

const FOLDER = 'shared/platform/wasm';

/** The text of patch-gradients-bytes.ts. */
export async function assembleKernel(source: string): Promise<string> {
  const tools = await wabt();
  const module = tools.parseWat('patch-gradients.wat', source, { simd: true, bulk_memory: true });
  try {
    module.validate();
    const base64 = Buffer.from(module.toBinary({}).buffer).toString('base64');
    const lines = base64.match(/.{1,160}/g) ?? [];
    return ['/** patch-gradients.wat, assembled by `npm run build:kernel`; a test compares them. Base64. */', 'export const PATCH_GRADIENTS_BYTES =', ...lines.map((line, i) => `  '${line}'${i + 1 < lines.length ? ' +' : ';'}`), ''].join('\n');
  } finally {
    module.destroy();
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  writeFileSync(`${FOLDER}/patch-gradients-bytes.ts`, await assembleKernel(readFileSync(`${FOLDER}/patch-gradients.wat`, 'utf8')));
}
