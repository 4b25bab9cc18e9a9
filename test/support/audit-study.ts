import { formatNpy } from '../../shared/data/npy.ts';
import type { DataFiles } from '../../shared/data/files.ts';
import { parseStudy } from '../../shared/study/parse.ts';
import type { Study } from '../../shared/study/schema.ts';
import { networksOf } from '../../coordinator/model-state.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import type { StudyParts } from '../../deploy/audit/in-process.ts';
import { memoryFiles } from './memory-files.ts';

const FEATURES = 30;

/** A study for audits, and its records in memory: two modalities of 30 numbers, 90 training patients (every third with two records of `signal`), 60 for the test. */
export function auditStudy(change: { readonly privacy?: string; readonly rounds?: number; readonly learningRate?: number; readonly localSteps?: number; readonly noise?: number } = {}): StudyParts & { readonly files: DataFiles; readonly study: Study } {
  const { privacy = '{ protection: local-noise, clipNorm: 0.8, samplingRate: 0.3, delta: 0.00001, epsilon: 2 }', rounds = 16, learningRate = 0.002, localSteps = 1, noise = 1 } = change;
  const modality = (name: string, row: string): string =>
    `{ shape: [${FEATURES}], encoder: { type: mlp, hidden: [20], activation: relu }, records: { index: ${name}.csv, values: ${name}.npy, ${row}patient: patient, label: label, transform: { subtract: 2, divideBy: 4, clip: 40 } } }`;
  const study = parseStudy(
    `antiphon: 1
name: audit
classes: [red, green, blue]
modalities:
  signal: ${modality('signal', 'row: row, ')}
  sample: ${modality('sample', '')}
head: { features: 8 }
sites:
  - { name: signal-1, modality: signal, patients: 60, where: { split: train }, share: { from: 0, to: 0.5 } }
  - { name: signal-2, modality: signal, patients: 60, where: { split: train }, share: { from: 0.5, to: 1 } }
  - { name: sample-1, modality: sample, patients: 100, where: { split: [train, more] } }
schedule: { rounds: ${rounds}, localSteps: ${localSteps} }
optimiser: { local: { learningRate: ${learningRate} } }
privacy: ${privacy}
evaluation: { public: true, sample: patient, selection: { where: { split: selection } }, test: { where: { split: test } } }
`,
    'audit.yaml',
  );
  const people = Array.from({ length: 160 }, (_, i) => ({ name: `p${i}`, split: i < 90 ? 'train' : i < 100 ? 'selection' : 'test', label: i % 3 }));
  const record = (i: number, label: number, stream: number): number[] => Array.from({ length: FEATURES }, (_, k) => 2 + 4 * (0.4 * Math.sin(label + 2 * k) + noise * Math.sin(12.9898 * (i + 1) * (k + 1 + stream) + stream)));
  const build = (stream: number, twice: boolean): { csv: string; npy: Uint8Array } => {
    const lines: string[] = [];
    const values: number[] = [];
    people.forEach(({ name, split, label }, i) => {
      for (let copy = 0; copy < (twice && split === 'train' && i % 3 === 0 ? 2 : 1); copy += 1) {
        lines.push(`${name},${split},${['red', 'green', 'blue'][label] ?? ''},${lines.length}`);
        values.push(...record(i, label, stream + 0.37 * copy));
      }
    });
    return { csv: ['patient,split,label,row', ...lines].join('\n'), npy: formatNpy({ shape: [lines.length, FEATURES], data: Float32Array.from(values) }) };
  };
  const [signal, sample] = [build(1, true), build(50, false)];
  const files = memoryFiles({ 'signal.csv': signal.csv, 'signal.npy': signal.npy, 'sample.csv': sample.csv, 'sample.npy': sample.npy });
  return { study, resolved: resolveStudy(study), networks: networksOf(study), files };
}
