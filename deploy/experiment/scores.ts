import { z } from 'zod';
import { createScorer } from '../../coordinator/evaluate.ts';
import { fromBase64, toBase64 } from '../../shared/base64.ts';
import { AntiphonError, invariant } from '../../shared/errors.ts';
import { buildEvaluationSet } from '../../shared/data/evaluation-set.ts';
import { DEGRADATIONS } from '../../shared/fusion/degrade.ts';
import type { DegradedModality } from '../../shared/fusion/evaluate.ts';
import type { ScoredModality, ScoredSamples } from '../../shared/fusion/evaluation.ts';
import { openBackend } from '../../shared/platform/backend.ts';
import type { BackendChoice } from '../../shared/platform/backend-choice.ts';
import { openDataFolder } from '../../shared/platform/data-files.ts';
import { nodePrimitives as primitives } from '../../shared/platform/primitives.ts';
import { openFinishedRun } from '../audit/finished-run.ts';

/** A trained model's logits on public samples: all that fusion needs, so that no fusion setting is ever trained for. */
export interface RunScores {
  /** For choices. */
  readonly selection: ScoredSamples;
  /** For the numbers that are reported. */
  readonly test: ScoredSamples;
  /** The test part once more, every modality degraded in every way for all of it. */
  readonly degraded: readonly DegradedModality[];
}

/** The TFJS engine is one to a process: one model at a time. */
let turn: Promise<unknown> = Promise.resolve();

interface ScoredRun {
  readonly folder: string;
  /** Of the study that is to be scored: AntiphonError('study-invalid') where the folder holds a run of another one. */
  readonly studyHash: string;
  readonly data: string;
  readonly backend: BackendChoice;
}

export function scoreRun(input: ScoredRun): Promise<RunScores> {
  const next = turn.then(() => scoreInTurn(input));
  turn = next.catch(() => undefined);
  return next;
}

async function scoreInTurn({ folder, studyHash, data, backend }: ScoredRun): Promise<RunScores> {
  await openBackend(backend);
  const { study, networks, model, studyHash: found } = await openFinishedRun(folder);
  if (found !== studyHash) throw new AntiphonError('study-invalid', `expected a run of study ${studyHash.slice(0, 16)}... in ${folder}, found one of ${found.slice(0, 16)}...; remove that folder, and the cell is trained anew`);
  const [selection, test] = await Promise.all((['selection', 'test'] as const).map((part) => buildEvaluationSet({ study, part, files: openDataFolder(data), primitives })));
  invariant(selection !== undefined && test !== undefined, 'two evaluation sets');
  // Calibrated whatever the study says: a rule that does not calibrate leaves temperatures and reliabilities alone.
  const scorer = await createScorer({ model, networks, selection, fusion: { ...study.fusion, calibration: 'selection' } });
  return { selection: await scorer.score(selection), test: await scorer.score(test), degraded: await scorer.scoreDegraded(test) };
}

/** Floats are little-endian float32, base64. `logits` [samples, classes]; `reliability` [samples]; `present`: one digit a sample. */
const scored = z.strictObject({ logits: z.string(), present: z.string().regex(/^[01]*$/), temperature: z.number().positive(), reliability: z.string() });
const part = z.strictObject({ classes: z.int().min(2), labels: z.array(z.int().min(0)), modalities: z.record(z.string(), scored) });
const degradedPart = scored.extend({ modality: z.string(), degradation: z.enum(DEGRADATIONS) });
const scoresSchema = z.strictObject({ antiphonScores: z.literal(3), selection: part, test: part, degraded: z.array(degradedPart) });

export function formatScores({ selection, test, degraded }: RunScores): string {
  const writePart = ({ classes, labels, modalities }: ScoredSamples): z.input<typeof part> => ({ classes, labels: Array.from(labels), modalities: Object.fromEntries(Object.entries(modalities).map(([name, one]) => [name, writeModality(one)])) });
  const failing = degraded.map(({ modality, degradation, ...one }) => ({ modality, degradation, ...writeModality(one) }));
  return `${JSON.stringify({ antiphonScores: 3, selection: writePart(selection), test: writePart(test), degraded: failing } satisfies z.input<typeof scoresSchema>)}\n`;
}

function writeModality({ logits, present, temperature = 1, reliability }: ScoredModality): z.input<typeof scored> {
  return { logits: toBase64(littleEndian(logits)), present: Array.from(present).join(''), temperature, reliability: toBase64(littleEndian(reliability ?? new Float32Array(present.length).fill(1))) };
}

/** Undefined for what `formatScores` has not written. */
export function scoresFromUnknown(value: unknown): RunScores | undefined {
  const parsed = scoresSchema.safeParse(value);
  if (!parsed.success) return undefined;
  const [selection, test] = [readPart(parsed.data.selection), readPart(parsed.data.test)];
  if (selection === undefined || test === undefined) return undefined;
  const degraded = parsed.data.degraded.flatMap(({ modality, degradation, ...one }) => {
    const read = readModality(one, test);
    return read === undefined || test.modalities[modality] === undefined ? [] : [{ modality, degradation, ...read }];
  });
  return degraded.length === parsed.data.degraded.length ? { selection, test, degraded } : undefined;
}

function readPart({ classes, labels, modalities }: z.output<typeof part>): ScoredSamples | undefined {
  if (labels.some((label) => label >= classes)) return undefined;
  const read: Record<string, ScoredModality> = {};
  for (const [name, modality] of Object.entries(modalities)) {
    const one = readModality(modality, { labels, classes });
    if (one === undefined) return undefined;
    read[name] = one;
  }
  return { classes, labels: Int32Array.from(labels), modalities: read };
}

function readModality({ logits, present, temperature, reliability }: z.output<typeof scored>, { labels, classes }: { readonly labels: { readonly length: number }; readonly classes: number }): ScoredModality | undefined {
  const [numbers, believed] = [readFloats(logits, labels.length * classes), readFloats(reliability, labels.length)];
  return numbers === undefined || believed === undefined || present.length !== labels.length ? undefined : { logits: numbers, present: Uint8Array.from(present, Number), temperature, reliability: believed };
}

function readFloats(base64: string, count: number): Float32Array | undefined {
  const bytes = fromBase64(base64);
  if (bytes?.length !== 4 * count) return undefined;
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true));
}

function littleEndian(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  return new Uint8Array(view.buffer);
}
