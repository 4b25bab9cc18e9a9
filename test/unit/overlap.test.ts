import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { epsilonOf, rdpEpsilon, worstPld, worstRdp } from '../../shared/privacy/accountant.ts';
import { countCliques, everyClique, worstCliques, type Clique, type SiteHistory } from '../../shared/privacy/composition.ts';
import { rdpOfEvent } from '../../shared/privacy/rdp.ts';
import type { PrivacyEvent } from '../../shared/privacy/event.ts';
import { mergeEqual } from '../../shared/privacy/merge.ts';
import { maximalCliques } from '../../shared/privacy/overlap.ts';
import { describeWithShared, sharedFile } from '../support/shared-data.ts';

const gaussian = (samplingRate: number, noiseMultiplier: number, steps: number): PrivacyEvent => ({ type: 'poisson-gaussian', samplingRate, noiseMultiplier, steps });

describe('maximal cliques', () => {
  it('are every set of sites that may all share a patient and that no other site may join (property, against all subsets)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 7 }), fc.bigInt({ min: 0n, max: 2n ** 21n - 1n }), (count, bits) => {
        const sites = Array.from({ length: count }, (_, i) => `s${i}`);
        const edge = (a: string, b: string): boolean => {
          const [low, high] = [sites.indexOf(a), sites.indexOf(b)].sort((x, y) => x - y) as [number, number];
          return ((bits >> BigInt((high * (high - 1)) / 2 + low)) & 1n) === 1n;
        };
        const complete = (subset: readonly string[]): boolean => subset.every((a, i) => subset.slice(i + 1).every((b) => edge(a, b)));
        const subsets = Array.from({ length: 2 ** count }, (_, mask) => sites.filter((_site, i) => (mask >> i) & 1)).filter((subset) => subset.length > 0 && complete(subset));
        const maximal = subsets.filter((subset) => !sites.some((site) => !subset.includes(site) && complete([...subset, site])));
        const text = (cliques: readonly (readonly string[])[]): string[] => cliques.map((clique) => [...clique].sort().join()).sort();
        expect(text(maximalCliques(sites, edge))).toEqual(text(maximal));
      }),
    );
  });

  it('of a graph that has too many are one: all sites, an upper bound', () => {
    // The complement of 12 triangles: 3^12 maximal cliques.
    const sites = Array.from({ length: 36 }, (_, i) => `s${i}`);
    const group = (site: string): number => Math.floor(Number(site.slice(1)) / 3);
    expect(maximalCliques(sites, (a, b) => group(a) !== group(b))).toEqual([sites]);
  });

  it('of five thousand disjoint sites are these, fast enough to be asked for', () => {
    const sites = Array.from({ length: 5000 }, (_, i) => `s${i}`);
    expect(maximalCliques(sites, () => false)).toHaveLength(5000);
  });
});

describe('worst cliques', () => {
  const history = (site: string, modality: string, ...events: PrivacyEvent[]): SiteHistory => ({ site, modality, events });

  it('leave out what is dominated, and join one clique of every modality', () => {
    const sites = [history('a', 'image', gaussian(0.1, 1.5, 20)), history('b', 'image', gaussian(0.1, 1.5, 30)), history('c', 'text', gaussian(0.2, 1.3, 5)), history('d', 'text', gaussian(0.2, 1.3, 7))];
    const cliques = new Map([['image', [['a'], ['b']]], ['text', [['c', 'd']]]]);
    const [worst, ...others] = worstCliques({ sites, cliques });
    expect(others).toEqual([]);
    expect(worst?.sites).toEqual(['b', 'c', 'd']);
    expect(worst?.events).toEqual([gaussian(0.1, 1.5, 30), gaussian(0.2, 1.3, 12)]);
    expect(everyClique({ sites, cliques }, { limit: 10, order: 5 }).map((clique) => clique.sites.join('+'))).toEqual(['a+c+d', 'b+c+d']);
  });

  it('never say less than any single clique (property)', () => {
    const event = fc.record({ q: fc.constantFrom(0.05, 0.2), z: fc.constantFrom(1.1, 1.9), steps: fc.integer({ min: 0, max: 40 }) });
    fc.assert(
      fc.property(fc.array(fc.array(event, { maxLength: 3 }), { minLength: 1, maxLength: 4 }), fc.boolean(), (histories, overlap) => {
        const sites = histories.map((events, i) => history(`s${i}`, i % 2 === 0 ? 'even' : 'odd', ...events.map(({ q, z, steps }) => gaussian(q, z, steps))));
        const cliques = new Map(['even', 'odd'].map((modality) => [modality, maximalCliques(sites.filter((one) => one.modality === modality).map(({ site }) => site), () => overlap)]));
        const rdp = (among: readonly { readonly events: readonly PrivacyEvent[] }[]): number => Math.max(0, ...among.map(({ events }) => rdpEpsilon({ events, delta: 1e-5, orders: [4.5] }).epsilon));
        expect(rdp(worstCliques({ sites, cliques }))).toBe(rdp(everyClique({ sites, cliques }, { limit: 1000, order: 5 })));
      }),
    );
  });

  it('add up over modalities and are the worst of the cliques within each, not the other way round', () => {
    const sites = [history('a', 'image', gaussian(0.1, 1.5, 20)), history('b', 'image', gaussian(0.1, 1.5, 30)), history('c', 'text', gaussian(0.1, 1.5, 7))];
    const steps = (cliques: readonly (readonly string[])[]): number[] => worstCliques({ sites, cliques: new Map([['image', cliques], ['text', [['c']]]]) }).map(({ events }) => events[0]?.steps ?? 0);
    expect(steps([['a'], ['b']])).toEqual([37]);
    expect(steps([['a', 'b']])).toEqual([57]);
    const epsilonAt = (n: number): number => worstPld({ cliques: [{ sites: [], events: [gaussian(0.1, 1.5, n)] }], delta: 1e-5 }).epsilon;
    const worst = worstPld({ cliques: [{ sites: ['x'], events: [gaussian(0.1, 1.5, 20)] }, { sites: ['y'], events: [gaussian(0.1, 1.5, 30)] }, { sites: ['z'], events: [] }], delta: 1e-5 });
    expect(worst).toEqual({ epsilon: epsilonAt(30), worst: ['y'] });
    const rdpAt = (n: number): number => rdpEpsilon({ events: [gaussian(0.1, 1.5, n)], delta: 1e-5, orders: [7] }).epsilon;
    expect(worstRdp({ cliques: [30, 20].map((n) => ({ sites: [], events: [gaussian(0.1, 1.5, n)] })), delta: 1e-5, order: 7 })).toBe(rdpAt(30));
  });

  it('keep those of which neither covers the other, and one of those that are alike', () => {
    const sites = [history('a', 'image', gaussian(0.1, 1.5, 20), gaussian(0.2, 1.3, 3)), history('b', 'image', gaussian(0.1, 1.5, 19), gaussian(0.2, 1.3, 4)), history('c', 'image', gaussian(0.1, 1.5, 20), gaussian(0.2, 1.3, 3))];
    expect(worstCliques({ sites, cliques: new Map([['image', [['a'], ['b'], ['c']]]]) }).map(({ sites: names }) => names)).toEqual([['a'], ['b']]);
    // What released without noise is covered by no noise.
    const bare = [history('a', 'image', gaussian(0.1, 1.5, 20)), history('b', 'image', { type: 'unprotected', steps: 1 })];
    expect(worstCliques({ sites: bare, cliques: new Map([['image', [['a'], ['b']]]]) })).toHaveLength(2);
  });

  it('count a site’s history whole, however it is cut into pieces, and refuse one that is in no clique', () => {
    const pieces = [history('a', 'image', gaussian(0.1, 1.5, 20)), history('a', 'image', gaussian(0.1, 1.5, 5)), history('a', 'image', gaussian(0.2, 1.3, 3))];
    expect(worstCliques({ sites: pieces, cliques: new Map([['image', [['a']]]]) })).toEqual([{ sites: ['a'], events: [gaussian(0.1, 1.5, 25), gaussian(0.2, 1.3, 3)] }]);
    expect(() => worstCliques({ sites: pieces, cliques: new Map([['image', [['b']]]]) })).toThrow(/in a clique/);
    expect(() => maximalCliques(['a', 'b', 'a'], () => true)).toThrow(/distinct/);
  });

  it('of too many combinations are one upper bound: the most of every mechanism', () => {
    const modalities = Array.from({ length: 9 }, (_, i) => `m${i}`);
    const sites = modalities.flatMap((modality) => [history(`${modality}-a`, modality, gaussian(0.1, 1.5, 20), gaussian(0.2, 1.3, 3)), history(`${modality}-b`, modality, gaussian(0.1, 1.5, 19), gaussian(0.2, 1.3, 4))]);
    const cliques = new Map(modalities.map((modality) => [modality, [[`${modality}-a`], [`${modality}-b`]]]));
    const [bound, ...others] = worstCliques({ sites, cliques });
    expect(others).toEqual([]);
    expect(bound?.sites).toHaveLength(18);
    expect(bound?.events).toEqual([gaussian(0.1, 1.5, 9 * 20), gaussian(0.2, 1.3, 9 * 4)]);
    // One modality fewer: 256 combinations are all composed.
    const fewer = { sites: sites.slice(2), cliques };
    expect(worstCliques(fewer)).toHaveLength(256);
    // Of more than are asked for the worst, and the worst first: as if all had been sorted.
    const rdpOf = (clique: Clique): number => clique.events.reduce((sum, event) => sum + rdpOfEvent(event, [5])[0]!, 0);
    const all = everyClique(fewer, { limit: 256, order: 5 });
    expect(all).toHaveLength(countCliques(fewer));
    const seven = everyClique(fewer, { limit: 7, order: 5 }).map(rdpOf);
    const sorted = all.map(rdpOf).sort((a, b) => b - a);
    seven.forEach((rdp, i) => { expect(rdp).toBeCloseTo(sorted[i]!, 12); });
    expect(seven).toHaveLength(7);
    expect(countCliques({ sites: [], cliques })).toBe(0);
  });

  it('merge no numbers of steps that are none into one that is', () => {
    for (const steps of [[1.5, 1.5], [-1, 4], [NaN, 4], [Infinity, 4]]) {
      const events = mergeEqual(steps.map((n) => gaussian(0.1, 1.5, n)));
      expect(events.map((event) => event.steps)).toEqual([NaN]);
      expect(rdpEpsilon({ events, delta: 1e-5 }).epsilon).toBe(Infinity);
    }
    expect(mergeEqual([gaussian(0.1, 1.5, 0), { type: 'unprotected', steps: 0 }])).toEqual([]);
    expect(mergeEqual([{ type: 'unprotected', steps: 2 }, gaussian(0.1, 1.5, 3), { type: 'unprotected', steps: 1 }])).toEqual([{ type: 'unprotected', steps: 3 }, gaussian(0.1, 1.5, 3)]);
  });

  it('charge a release without noise as infinite, whoever made it', () => {
    const sites = [history('a', 'image', { type: 'unprotected', steps: 1 }), history('b', 'image', gaussian(0.1, 1.5, 500))];
    const cliques = worstCliques({ sites, cliques: new Map([['image', [['a'], ['b']]]]) });
    expect(worstPld({ cliques, delta: 1e-5 })).toMatchObject({ epsilon: Infinity, worst: ['a'] });
  });
});

interface Scenario {
  readonly sites_modality_q_sigma: Record<string, [string, number, number]>;
  readonly round_robin: string[];
  readonly steps_per_round_per_site: number;
  readonly delta: number;
  readonly final_steps: Record<string, number>;
  readonly eps_per_clique_pld: Record<string, number>;
  readonly eps_all_sequential_pld: number;
  readonly eps_each_site_pld: Record<string, number>;
  readonly stop_rule: Record<string, { readonly pld: { readonly first_refused_round_0based: number }; readonly rdp: { readonly first_refused_round_0based: number } }>;
}

describeWithShared('the ledger scenario of the golden values', ['golden/dp_golden.json'], () => {
  const scenario = (JSON.parse(readFileSync(sharedFile('golden/dp_golden.json') ?? '', 'utf8')) as { ledger_scenario: Scenario }).ledger_scenario;
  const { delta, round_robin: order, steps_per_round_per_site: perRound } = scenario;
  const facts = Object.entries(scenario.sites_modality_q_sigma).map(([site, [modality, q, sigma]]) => ({ site, modality, q, sigma }));
  const disjoint = new Set(['A', 'B']);
  const cliques = new Map(order.map((modality) => [modality, maximalCliques(facts.filter((one) => one.modality === modality).map(({ site }) => site), (a, b) => !(disjoint.has(a) && disjoint.has(b)))]));
  const historiesAt = (steps: (site: string) => number): SiteHistory[] => facts.map(({ site, modality, q, sigma }) => ({ site, modality, events: [gaussian(q, sigma, steps(site))] }));

  it('epsilon per clique, per site and in sequence lies within a thousandth above the reference and not below it', () => {
    const sites = historiesAt((site) => scenario.final_steps[site] ?? 0);
    const close = (found: number, reference: number): void => {
      expect(found / reference).toBeGreaterThan(1 - 1e-3);
      expect(found / reference).toBeLessThan(1 + 1e-3);
    };
    for (const { sites: names, events } of everyClique({ sites, cliques }, { limit: 10, order: 5 })) close(epsilonOf({ events, delta, rdpOrder: 5 }).pld, scenario.eps_per_clique_pld[[...names].sort().join('+')] ?? NaN);
    for (const { site, events } of sites) close(epsilonOf({ events, delta, rdpOrder: 5 }).pld, scenario.eps_each_site_pld[site] ?? NaN);
    close(epsilonOf({ events: sites.flatMap(({ events }) => events), delta, rdpOrder: 5 }).pld, scenario.eps_all_sequential_pld);
  });

  it.each(['1', '3', '6'])('with a budget of %s the first refused round is the reference’s, by both accountants', (budget) => {
    const { pld, rdp } = scenario.stop_rule[`budget_${budget}`]!;
    const refused = (epsilonAt: (round: number) => number): number => {
      let round = 0;
      while (epsilonAt(round) <= Number(budget)) round += 1;
      return round;
    };
    const after = (round: number) => worstCliques({ sites: historiesAt((site) => perRound * Array.from({ length: round + 1 }, (_, r) => order[r % order.length]).filter((modality) => modality === scenario.sites_modality_q_sigma[site]?.[0]).length), cliques });
    expect(refused((round) => worstPld({ cliques: after(round), delta }).epsilon)).toBe(pld.first_refused_round_0based);
    expect(refused((round) => Math.max(...after(round).map(({ events }) => rdpEpsilon({ events, delta }).epsilon)))).toBe(rdp.first_refused_round_0based);
  });
});
