import { EXIT_CODES } from '../../shared/errors.ts';
import type { AuditedModality } from './empirical.ts';
import type { Findings } from './findings.ts';
import { UNCHARGED } from './uncharged.ts';

export interface EmpiricalReport {
  readonly study: string;
  readonly rows: readonly AuditedModality[];
}

export function empiricalExitCode({ rows }: EmpiricalReport): number {
  return rows.some(({ refuted }) => refuted) ? EXIT_CODES['audit-claim-refuted'] : 0;
}

/** Infinite claims (no privacy) become null. */
export function empiricalJson({ study, rows }: EmpiricalReport): Record<string, unknown> {
  return {
    audit: 'empirical',
    study,
    refuted: rows.some(({ refuted }) => refuted),
    modalities: rows.map(({ guesses, claim, ...row }) => ({ ...row, claim: Number.isFinite(claim) ? claim : null, guesses: guesses.included + guesses.excluded })),
    notice: UNCHARGED,
  };
}

/** What the terminal and the page say. */
export function empiricalFindings({ study, rows }: EmpiricalReport): Findings {
  const [first] = rows;
  const percent = Number((100 * (first?.confidence ?? 0)).toFixed(4));
  const head = ['modality', 'site', 'claimed epsilon', 'guesses right', 'true epsilon at least', 'could have shown', ''];
  const cells = rows.map((row) => {
    const guesses = row.guesses.included + row.guesses.excluded;
    return [
      row.modality,
      row.site,
      Number.isFinite(row.claim) ? row.claim.toFixed(3) : 'none (no privacy)',
      `${row.correct} of ${guesses} (${((100 * row.correct) / guesses).toFixed(0)} %)`,
      row.lowerBound.toFixed(3),
      row.highestBound.toFixed(3),
      row.refuted ? 'REFUTED' : 'not refuted',
    ];
  });
  const refuted = rows.filter((row) => row.refuted).map(({ modality }) => modality);
  const notes = [
    refuted.length === 0
      ? `No claim is refuted. That proves none of them: each lower bound holds with ${percent} % confidence by itself, and says what this attack, on this run, could make sure of; the true epsilon lies between it and the accountant's.`
      : `REFUTED: ${refuted.join(', ')}. If the claim held, so many guesses would be right in at most ${Number((100 - percent).toFixed(4))} % of runs: a fault in the mechanism, its noise or its accounting. Run it again; if it stays, stop the study.`,
    ...rows.filter(({ claim, highestBound }) => Number.isFinite(claim) && highestBound <= claim).map(({ modality, claim }) => `Not even all guesses right could have refuted ${modality}'s ${claim.toFixed(3)}: take more --canaries.`),
    UNCHARGED,
  ];
  return { title: `empirical audit of study ${study}: ${first?.canaries ?? 0} canaries per audited site, each in or out by a fair coin; delta ${first?.delta ?? 0}`, head, rows: cells, notes };
}
