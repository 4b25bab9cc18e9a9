import { writeFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** Two modalities, three sites, a few numbers per patient: a study whose processes do everything and whose training takes milliseconds. */
export function writeTinyStudy(folder: string, changes: { readonly rounds?: number; readonly epsilon?: number; readonly quorum?: number; readonly extra?: string; readonly schedule?: string; readonly roundDeadlineSeconds?: number } = {}): { study: string; data: string } {
  const data = join(folder, 'data');
  mkdirSync(data, { recursive: true });
  const rows = Array.from({ length: 300 }, (_, i) => {
    const label = i % 2;
    const x = (k: number): string => (Math.sin(12.9898 * (i + 1) * (k + 1)) + (label === 0 ? -0.7 : 0.7)).toFixed(4);
    return `${i},p${i},${label},${i < 240 ? 'train' : i < 260 ? 'selection' : 'test'},${x(1)},${x(2)},${x(3)},${x(4)}`;
  });
  writeFileSync(join(data, 'all.csv'), ['row,patient,label,split,a,b,c,d', ...rows].join('\n'));
  const records = (columns: string): string => `{ index: all.csv, values: all.csv, columns: ${columns}, patient: patient, label: label }`;
  const study = join(folder, 'tiny.yaml');
  writeFileSync(
    study,
    `antiphon: 1
name: tiny
classes: ["no", "yes"]
modalities:
  left: { shape: [2], sitesDisjoint: true, encoder: { type: mlp, hidden: [4], activation: tanh }, records: ${records('[a, b]')} }
  right: { shape: [2], encoder: { type: mlp, hidden: [4], activation: tanh }, records: ${records('[c, d]')} }
head: { features: 4 }
sites:
  - { name: left-1, modality: left, patients: 150, where: { split: train }, share: { from: 0, to: 0.5 } }
  - { name: left-2, modality: left, patients: 150, where: { split: train }, share: { from: 0.5, to: 1 } }
  - { name: right-1, modality: right, patients: 250, where: { split: train } }
schedule: { rounds: ${changes.rounds ?? 4}, localSteps: 3${changes.schedule === undefined ? '' : `, ${changes.schedule}`} }
optimiser: { local: { learningRate: 0.3 } }
privacy: { protection: local-noise, clipNorm: 1, samplingRate: 0.3, delta: 0.0001, epsilon: ${changes.epsilon ?? 8} }
evaluation: { public: true, sample: patient, selection: { where: { split: selection } }, test: { where: { split: test } } }
operation: { quorum: ${changes.quorum ?? 1}, roundDeadlineSeconds: ${changes.roundDeadlineSeconds ?? 60}, joinDeadlineSeconds: 60 }
${changes.extra ?? ''}`,
  );
  return { study, data };
}
