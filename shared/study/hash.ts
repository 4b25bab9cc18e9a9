import { toHex, utf8 } from '../bytes.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { canonicalJson } from '../ledger/canonical.ts';
import type { Study } from './schema.ts';

/** A study's name among all studies: SHA-256 of its canonical JSON, defaults filled in. Comments and spelling of the YAML do not matter. */
export function studyHash(study: Study, primitives: Pick<Primitives, 'sha256'>): string {
  return toHex(primitives.sha256(utf8(canonicalJson(study))));
}
