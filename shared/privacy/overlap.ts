import { invariant } from '../errors.ts';

/** The may-overlap graph of sites: an edge means that one patient may be at both. */
export type MayOverlap = (siteA: string, siteB: string) => boolean;

/** More maximal cliques than this of connected sites (a graph made to be slow) count as one of all of them: an upper bound. */
const MAX_CLIQUES = 2048;

/**
 * The maximal cliques of the may-overlap graph (Bron and Kerbosch 1973, with the pivot of Tomita et al. 2006): whatever patient there is, all of its sites lie in one of them.
 * `sites` are distinct.
 */
export function maximalCliques(sites: readonly string[], mayOverlap: MayOverlap): readonly (readonly string[])[] {
  invariant(new Set(sites).size === sites.length, 'distinct sites');
  const neighbours = new Map(sites.map((site) => [site, new Set<string>()]));
  sites.forEach((a, i) => {
    for (const b of sites.slice(i + 1)) {
      if (!mayOverlap(a, b)) continue;
      neighbours.get(a)!.add(b);
      neighbours.get(b)!.add(a);
    }
  });
  const cliques: (readonly string[])[] = [];
  const expand = (clique: readonly string[], candidates: ReadonlySet<string>, excluded: ReadonlySet<string>): void => {
    if (cliques.length > MAX_CLIQUES) return;
    if (candidates.size === 0 && excluded.size === 0) cliques.push(clique);
    if (candidates.size === 0) return;
    const pivot = widest([...candidates, ...excluded], candidates, neighbours);
    const left = new Set(candidates);
    const out = new Set(excluded);
    for (const site of candidates) {
      if (neighbours.get(pivot)!.has(site)) continue;
      const own = neighbours.get(site)!;
      expand([...clique, site], common(left, own), common(out, own));
      left.delete(site);
      out.add(site);
    }
  };
  // Most sites share no patient with any other: each is a clique by itself.
  const connected = sites.filter((site) => neighbours.get(site)!.size > 0);
  if (connected.length > 0) expand([], new Set(connected), new Set());
  const alone = sites.filter((site) => neighbours.get(site)!.size === 0).map((site) => [site]);
  return [...alone, ...(cliques.length > MAX_CLIQUES ? [connected] : cliques)];
}

function widest(among: readonly string[], candidates: ReadonlySet<string>, neighbours: ReadonlyMap<string, ReadonlySet<string>>): string {
  const degree = (site: string): number => common(candidates, neighbours.get(site)!).size;
  return among.reduce((best, site) => (degree(site) > degree(best) ? site : best));
}

function common(a: ReadonlySet<string>, b: ReadonlySet<string>): Set<string> {
  return new Set([...a].filter((site) => b.has(site)));
}
