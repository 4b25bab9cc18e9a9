import { expect } from 'vitest';
import { toHex } from '../../shared/bytes.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import type { SiteMessage } from '../../shared/protocol/messages.ts';
import { freshDisk, startBench, type BenchInput, type SiteBench, type SiteDisk } from './site-bench.ts';
import { createLead, type Lead, type Update } from './site-lead.ts';

export const WEIGHTS = Float32Array.from({ length: 37 }, (_, i) => Math.sin(3 * i + 1));
export const double = (weights: Float32Array): Float32Array => weights.map((value) => 2 * value);

export interface Scene {
  readonly lead: Lead;
  readonly disk: SiteDisk;
  readonly site: SiteBench;
}

/** A site that has said `ready` to a coordinator with a reserved round; its trainer doubles the weights. */
export async function scene(change: Partial<BenchInput> & { readonly cohort?: string[] } = {}): Promise<Scene> {
  const { cohort, ...input } = change;
  const lead = createLead();
  lead.reserve(WEIGHTS, cohort);
  const disk = input.disk ?? freshDisk();
  const site = await startBench({ ...lead, disk, train: double, ...input });
  site.deliver({ type: 'open' });
  return { lead, disk, site };
}

/** Up to and with the weights. */
export async function dispatch({ lead, site }: Scene, weights = WEIGHTS): Promise<void> {
  site.receive(lead.ledger(), lead.offer());
  await site.until('send accept');
  site.deliver(...lead.weights(site.sent, weights).map((chunk) => ({ type: 'chunk', chunk }) as const));
}

/** The last message of this type that the site sent. */
export function last<T extends SiteMessage['type']>(site: SiteBench, type: T): Extract<SiteMessage, { type: T }> {
  const found = site.sent.findLast((message): message is Extract<SiteMessage, { type: T }> => message.type === type);
  if (found === undefined) throw new Error(`no ${type} among ${site.sent.map((message) => message.type).join(', ')}`);
  return found;
}

/** Lets the coordinator fetch what the site has announced: it opens, and is what was trained and what the receipt names. */
export async function fetchUpdate({ lead, site }: Pick<Scene, 'lead' | 'site'>): Promise<Update> {
  const update = last(site, 'update');
  const before = site.chunks.length;
  site.receive({ type: 'resume', round: update.receipt.round, nextChunk: 0 });
  await site.until('send chunk', before + 1);
  const chunks = site.chunks.slice(before);
  expect(lead.open(update, chunks)).toEqual(double(WEIGHTS));
  expect(toHex(primitives.sha256Parts(chunks.map(({ sealed }) => sealed)))).toBe(update.receipt.update);
  return update;
}
