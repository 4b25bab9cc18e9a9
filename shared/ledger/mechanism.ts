import type { RoundMechanism } from '../study/resolve.ts';
import { fromDecimal, toDecimal } from './decimal.ts';
import type { LedgerMechanism } from './entry.ts';

export function toLedgerMechanism(mechanism: RoundMechanism): LedgerMechanism {
  const { samplingRate, steps } = mechanism;
  if (mechanism.protection === 'none') return { protection: 'none', samplingRate: toDecimal(samplingRate), steps };
  return {
    protection: 'local-noise',
    samplingRate: toDecimal(samplingRate),
    noiseMultiplier: toDecimal(mechanism.noiseMultiplier),
    clipNorm: toDecimal(mechanism.clipNorm),
    steps,
  };
}

export function fromLedgerMechanism(mechanism: LedgerMechanism): RoundMechanism {
  const samplingRate = fromDecimal(mechanism.samplingRate);
  const { steps } = mechanism;
  if (mechanism.protection === 'none') return { protection: 'none', samplingRate, steps };
  return { protection: 'local-noise', samplingRate, noiseMultiplier: fromDecimal(mechanism.noiseMultiplier), clipNorm: fromDecimal(mechanism.clipNorm), steps };
}

export function sameMechanism(a: LedgerMechanism, b: LedgerMechanism): boolean {
  if (a.samplingRate !== b.samplingRate || a.steps !== b.steps) return false;
  if (a.protection === 'none' || b.protection === 'none') return a.protection === b.protection;
  return a.noiseMultiplier === b.noiseMultiplier && a.clipNorm === b.clipNorm;
}
