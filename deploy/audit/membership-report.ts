import { epsilonFigure } from '../../shared/epsilon-text.ts';
import type { OperatingPoint } from '../../shared/privacy/membership.ts';
import type { MembershipReport, MembershipRow } from './membership.ts';
import type { Findings } from './findings.ts';
import { UNCHARGED } from './uncharged.ts';

const ATTACK_NAMES = { loss: 'loss', rmia: 'RMIA', lira: 'LiRA' } as const;

/** An infinite epsilon (no privacy) becomes null. */
export function membershipJson(report: MembershipReport): Record<string, unknown> {
  const { rows, epsilon, ...rest } = report;
  return { audit: 'membership', ...rest, epsilon: Number.isFinite(epsilon) ? epsilon : null, rows, notice: UNCHARGED };
}

/** What the terminal and the page say. */
export function membershipFindings(report: MembershipReport): Findings {
  const { study, round, epsilon, delta, references, rows } = report;
  const head = ['on', 'attack', 'members', 'others', 'AUC', 'by chance', 'found at 0.1 % false', 'found at 1 % false'];
  const cells = rows.map((row) => [row.on, ATTACK_NAMES[row.attack], String(row.members), String(row.nonMembers), row.auc.toFixed(3), `0.5 +- ${row.chance.toFixed(3)}`, ...row.points.map((point) => pointText(row, point))]);
  const unresolved = rows.find(({ points }) => points.some(({ resolved }) => !resolved));
  const notes = [
    ...(unresolved === undefined ? [] : [`* too few others (${unresolved.nonMembers}) to resolve that rate; what is found without a single false one is given instead.`]),
    Number.isFinite(epsilon)
      ? `The ledger's epsilon ${epsilonFigure(epsilon, 3)} (delta ${delta}) allows no attack to find more than ${limit(0.01, { epsilon, delta })} at 1 % false, whoever the patient is.`
      : 'The study ran without privacy: nothing bounds what an attack may find.',
    'A report, not a proof: a stronger attack may find more, and a difference between training and test patients may look like membership.',
    UNCHARGED,
  ];
  return { title: `membership attacks on study ${study}, model after round ${round}, ${references} reference models`, head, rows: cells, notes };
}

function pointText({ members, nonMembers }: MembershipRow, { resolved, truePositives, falsePositives }: OperatingPoint): string {
  const share = `${((100 * truePositives) / members).toFixed(1)} % (${truePositives} of ${members}, ${falsePositives} of ${nonMembers} false)`;
  return resolved ? share : `* ${share}`;
}

/** TPR <= e^epsilon FPR + delta (Kairouz, Oh, Viswanath 2015, 1311.0776). */
function limit(rate: number, { epsilon, delta }: { readonly epsilon: number; readonly delta: number }): string {
  return `${(100 * Math.min(1, Math.exp(epsilon) * rate + delta)).toFixed(1)} %`;
}
