import { describe, expect, it } from 'vitest';
import { checkUpdate, updateNormBound } from '../../coordinator/check-update.ts';
import { planEntry, plannedDisclosures } from '../../coordinator/plan.ts';
import { toHex } from '../../shared/bytes.ts';
import { generateIdentity } from '../../shared/crypto/keys.ts';
import { canonicalJson } from '../../shared/ledger/canonical.ts';
import { planSchema } from '../../shared/ledger/entry.ts';
import { formatLine, readLine } from '../../shared/ledger/line.ts';
import { isLedgerProblem } from '../../shared/ledger/problem.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { decodeCoordinatorMessage, encodeMessage } from '../../shared/protocol/codec.ts';
import { isFailure } from '../../shared/protocol/failure.ts';
import { calibrateNoiseMultiplier } from '../../shared/privacy/calibrate.ts';
import { resolveStudy } from '../../shared/study/resolve.ts';
import { ledgerStudy } from '../support/ledger-study.ts';

const PRIVATE = 'local-noise, clipNorm: 0.9, samplingRate: 0.2, delta: 0.00001, epsilon: 3, noiseMultiplier: 1.7 }';
const EVALUATION = '\nevaluation: { public: true, sample: p, selection: { where: { split: s } }, test: { where: { split: t } } }';

it('the plan says everything that is fixed before the first round, in the study’s own numbers', () => {
  const study = ledgerStudy('localSteps: 3 }', 'localSteps: 3, order: [table, image, table] }');
  const key = generateIdentity(primitives).publicKey;
  const plan = planEntry({ study, resolved: resolveStudy(study), studyHash: 'ab'.repeat(32), coordinatorKey: key });
  expect(planSchema.parse(plan)).toEqual(plan);
  const mechanism = { protection: 'local-noise', samplingRate: '0.2', noiseMultiplier: '1.7', clipNorm: '0.9', steps: 3 };
  expect(plan).toMatchObject({
    study: 'ab'.repeat(32),
    coordinatorKey: toHex(key),
    trustModel: 'local',
    budget: { delta: '0.00001', epsilon: '3' },
    accountant: { binding: 'pld', pld: 'antiphon-pld-1' },
    modalities: { image: { mechanism, rounds: 3, sitesDisjoint: true }, table: { mechanism, rounds: 7, sitesDisjoint: false } },
    sites: [{ name: 'a', modality: 'image', patients: 90 }, { name: 'b', modality: 'image', patients: 80 }, { name: 'c', modality: 'table', patients: 70 }],
    order: ['table', 'image', 'table'],
    rounds: 10,
  });
});

it.each<[string, string, readonly RegExp[]]>([
  ['that is private and evaluates nothing', PRIVATE, [/^the cap on the number of patients/]],
  ['that evaluates', `${PRIVATE}${EVALUATION}`, [/^the cap/, /^metrics of every evaluated model/]],
  ['without privacy', 'none, samplingRate: 0.2 }', [/^the cap/, /^every update of every site, neither clipped nor noised/]],
  ['without privacy that evaluates', `none, samplingRate: 0.2 }${EVALUATION}`, [/^the cap/, /^metrics/, /^every update/]],
])('a study %s lists what it releases without noise, and why', (_title, privacy, expected) => {
  const disclosures = plannedDisclosures(ledgerStudy(PRIVATE, privacy));
  expect(disclosures).toHaveLength(expected.length);
  expected.forEach((what, i) => expect(disclosures[i]?.what).toMatch(what));
  for (const { why } of disclosures) expect(why.length).toBeGreaterThan(20);
});

it('a study with a frozen network discloses that nobody counts what that has learnt elsewhere', () => {
  const frozen = `records: { frozen: { format: onnx, file: net.onnx, sha256: ${'ab'.repeat(32)}, outputShape: [7] }, index`;
  const [cap, learnt, ...others] = plannedDisclosures(ledgerStudy('records: { index', frozen));
  expect(others).toEqual([]);
  expect(cap?.what).toMatch(/^the cap/);
  expect(learnt?.what).toBe(`whatever the frozen network before image (SHA-256 ${'ab'.repeat(32)}) has learnt elsewhere`);
  expect(learnt?.why).toMatch(/not trained on patients of its sites; nobody can check that/);
});

describe('the longest update that clipping, noise and learning rate can explain', () => {
  const mechanism = { protection: 'local-noise', samplingRate: 0.25, noiseMultiplier: 1.5, clipNorm: 0.8, steps: 6 } as const;
  const input = { mechanism, parameters: 400, patients: 60, learningRate: 0.3, momentum: 0.5 };
  // Per step 60 patients of norm 0.8 and noise of 1.5 * 0.8 (20 + 12), over q n = 15; six steps at rate 0.3, momentum 1 / (1 - 0.5), a hundredth for the grid.
  const longest = (1.01 * 6 * 0.3 * ((60 * 0.8 + 1.2 * 32) / 15)) / 0.5;

  it('is what the formula says, and nothing more is let through', () => {
    const normBound = updateNormBound(input);
    expect(normBound).toBeCloseTo(longest, 10);
    const ofNorm = (norm: number): Float32Array => new Float32Array(400).fill(norm / 20);
    expect(checkUpdate(ofNorm(0.999 * longest), { parameters: 400, normBound })).toBeUndefined();
    expect(checkUpdate(ofNorm(1.001 * longest), { parameters: 400, normBound })?.code).toBe('norm-too-large');
  });

  it('grows with what makes updates longer, and is none without clipping', () => {
    const bound = (change: Partial<typeof input>): number => updateNormBound({ ...input, ...change }) ?? Infinity;
    expect(bound({ learningRate: 0.6 })).toBeCloseTo(2 * longest, 10);
    expect(bound({ momentum: 0.75 })).toBeCloseTo(2 * longest, 10);
    expect(bound({ parameters: 900 })).toBeCloseTo((1.01 * 6 * 0.3 * ((60 * 0.8 + 1.2 * 42) / 15)) / 0.5, 10);
    expect(updateNormBound({ ...input, mechanism: { protection: 'none', samplingRate: 0.25, steps: 6 } })).toBeUndefined();
    expect(checkUpdate(Float32Array.of(1e9, 2), { parameters: 2, normBound: undefined })).toBeUndefined();
  });
});

it('a calibrated noise multiplier prints in five digits, meets its target, and is no more than 1e-4 above the least that does', () => {
  for (let i = 1; i <= 40; i += 1) {
    const least = 0.06 * 1.31 ** i;
    const epsilonOf = (noise: number): number => (7.3 * least) / noise;
    const found = calibrateNoiseMultiplier({ targetEpsilon: 7.3, epsilonOf });
    expect(epsilonOf(found)).toBeLessThanOrEqual(7.3);
    expect(found / least).toBeLessThan(1.00012);
    expect(Number(found.toPrecision(5)), `${found}`).toBe(found);
  }
});

describe('a study of many sites', () => {
  const named = (sites: number, name: (i: number) => string): string => `sites: [${Array.from({ length: sites }, (_, i) => `{ name: ${name(i)}, modality: ${i % 2 === 0 ? 'image' : 'table'}, patients: 90 }`).join(', ')}]`;
  const SITES = 'sites: [{ name: a, modality: image, patients: 90 }, { name: b, modality: image, patients: 80 }, { name: c, modality: table, patients: 70 }]';
  const long = (i: number): string => `${'n'.repeat(58)}-${String(i).padStart(5, '0')}`;

  it('has a PLAN that reaches every one of them: 5000 with the longest names', () => {
    const study = ledgerStudy(SITES, named(5000, long));
    const plan = planEntry({ study, resolved: resolveStudy(study), studyHash: 'ab'.repeat(32), coordinatorKey: generateIdentity(primitives).publicKey });
    const text = formatLine({ index: 0, time: '2026-01-02T03:04:05.678Z', body: plan });
    expect(text.length).toBeGreaterThan(500_000);
    expect(isLedgerProblem(readLine(text))).toBe(false);
    expect(isFailure(decodeCoordinatorMessage(encodeMessage({ type: 'ledger', from: 0, lines: [text] })))).toBe(false);
    expect(isFailure(decodeCoordinatorMessage(encodeMessage({ type: 'enrolled', study: canonicalJson(study) })))).toBe(false);
  });

  it('is refused, with its size, where it is too large to be sent', () => {
    const filter = `{ ${Array.from({ length: 12 }, (_, i) => `column-${i}: ${'v'.repeat(60)}`).join(', ')} }`;
    const large = named(5000, long).replaceAll('patients: 90', `patients: 90, where: ${filter}`);
    expect(() => ledgerStudy(SITES, large)).toThrow(/larger than 3145728 bytes/);
  });
});
