import { worstPld } from '../../shared/privacy/accountant.ts';
import { worstCliques, type Clique, type SiteHistory } from '../../shared/privacy/composition.ts';

/** The worst cliques where the sites of these modalities are all disjoint, and those of the others all may overlap. */
export function cliquesWhere(sites: readonly SiteHistory[], disjointModalities: ReadonlySet<string>): readonly Clique[] {
  const names = new Map<string, Set<string>>();
  for (const { site, modality } of sites) names.set(modality, (names.get(modality) ?? new Set()).add(site));
  const cliques = new Map([...names].map(([modality, of]) => [modality, disjointModalities.has(modality) ? [...of].map((site) => [site]) : [[...of]]]));
  return worstCliques({ sites, cliques });
}

export function pldWhere(sites: readonly SiteHistory[], disjointModalities: ReadonlySet<string>, delta: number): number {
  return worstPld({ cliques: cliquesWhere(sites, disjointModalities), delta }).epsilon;
}
