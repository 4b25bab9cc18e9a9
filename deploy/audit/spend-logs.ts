import { spendEntrySchema, type SpendEntry } from '../../client/limits.ts';
import { toHex } from '../../shared/bytes.ts';
import { isCutShort, parseJson } from '../../shared/json.ts';
import type { LedgerLine } from '../../shared/ledger/entry.ts';
import type { LedgerState } from '../../shared/ledger/fold.ts';
import type { LineSource } from './source.ts';

type Release = Extract<SpendEntry, { type: 'release' }>;

export interface SpendCheck {
  readonly name: string;
  readonly sites: readonly string[];
  readonly releases: number;
}

interface SpendProblem {
  readonly verdict: 'tampered' | 'forked';
  readonly message: string;
}

export interface SpendReading {
  readonly line: (line: LedgerLine, leaf: Uint8Array, state: LedgerState) => void;
  readonly finish: () => readonly SpendProblem[];
  readonly checks: () => readonly SpendCheck[];
}

/** The ledger against what the sites themselves wrote down before anything left them: each release is charged, each receipt is a release. Other studies' entries are passed over. */
export async function readSpendLogs(sources: readonly LineSource[]): Promise<SpendReading> {
  const problems: SpendProblem[] = [];
  const logs = await Promise.all(sources.map(async (source) => ({ name: source.name, entries: await entriesOf(source, problems) })));
  /** Sites of studies, whose log is here. */
  const logged = new Set(logs.flatMap(({ entries }) => entries.map(({ study: of, site }) => `${of}/${site}`)));
  const releases = new Map<string, Release>();
  /** Later ones under a reserve, of other bytes; the same line in two files is one release, of a log and its copy. */
  const repeated: Release[] = [];
  for (const entry of logs.flatMap(({ entries }) => entries)) {
    if (entry.type !== 'release') continue;
    const name = `${entry.reserve}/${entry.site}`;
    const first = releases.get(name);
    if (first === undefined) releases.set(name, entry);
    else if (first.update !== entry.update) repeated.push(entry);
  }
  /** Releases whose RESERVE the ledger has. */
  const charged = new Set<string>();
  let study: string | undefined;
  return {
    line: ({ body }, leaf, state) => {
      study ??= state.plan?.study;
      switch (body.type) {
        case 'reserve':
          for (const name of body.sites.map((site) => `${toHex(leaf)}/${site}`)) if (releases.has(name)) charged.add(name);
          return;
        case 'receipt': {
          if (!logged.has(`${body.study}/${body.site}`)) return;
          const release = releases.get(`${body.reserve}/${body.site}`);
          if (release === undefined) problems.push({ verdict: 'tampered', message: `the ledger has a receipt of "${body.site}" for round ${body.round}, its own log has no release` });
          else if (release.update !== body.update) problems.push({ verdict: 'tampered', message: `"${body.site}" logged another update for round ${body.round} than its receipt names` });
          return;
        }
        case 'commit':
        case 'abort':
          for (const { site, reserve, round } of body.refusals) {
            if (releases.has(`${reserve}/${site}`)) problems.push({ verdict: 'tampered', message: `round ${round} was refunded for "${site}", whose own log has a release: it is charged too little` });
          }
          return;
        case 'plan':
        case 'enrol':
        case 'disclosure':
        case 'head':
        case 'end':
          return;
      }
    },
    finish: () => {
      for (const { study: of, site, round } of repeated) {
        if (of === study) problems.push({ verdict: 'tampered', message: `"${site}" has logged two releases for round ${round} under one RESERVE, which charges one: it is charged too little` });
      }
      for (const [name, release] of releases) {
        if (release.study === study && !charged.has(name)) problems.push({ verdict: 'forked', message: `"${release.site}" has released an update for round ${release.round} under a RESERVE that this ledger does not have: it was rewritten or forked` });
      }
      return problems;
    },
    checks: () => logs.map(({ name, entries }) => ({ name, sites: [...new Set(entries.map(({ site }) => site))], releases: entries.filter(({ type, study: of }) => type === 'release' && of === study).length })),
  };
}

async function entriesOf(source: LineSource, problems: SpendProblem[]): Promise<readonly SpendEntry[]> {
  const entries: SpendEntry[] = [];
  for await (const text of source.lines()) {
    const parsed = spendEntrySchema.safeParse(parseJson(text));
    if (parsed.success) entries.push(parsed.data);
    // A line that a crash cut short is no entry; it was never acted upon.
    else if (!isCutShort(text)) problems.push({ verdict: 'tampered', message: `${source.name} holds a line that is no entry of a spend log` });
  }
  return entries;
}
