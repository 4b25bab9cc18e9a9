import { z } from 'zod';
import { createScorer } from '../../coordinator/evaluate.ts';
import { fromBase64, toBase64 } from '../../shared/base64.ts';
import { invariant } from '../../shared/errors.ts';
import { buildEvaluationSet } from '../../shared/data/evaluation-set.ts';
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
}

/** The TFJS engine is one to a process: one model at a time. */
let turn: Promise<unknown> = Promise.resolve();

export function scoreRun(input: { readonly folder: string; readonly data: string; readonly backend: BackendChoice }): Promise<RunScores> {
  const next = turn.then(() => scoreInTurn(input));
  turn = next.catch(() => undefined);
  return next;
}

async function scoreInTurn({ folder, data, backend }: { readonly folder: string; readonly data: string; readonly backend: BackendChoice }): Promise<RunScores> {
  await openBackend(backend);
  const { study, networks, model } = await openFinishedRun(folder);
  const [selection, test] = await Promise.all((['selection', 'test'] as const).map((part) => buildEvaluationSet({ study, part, files: openDataFolder(data), primitives })));
  invariant(selection !== undefined && test !== undefined, 'two evaluation sets');
  // Calibrated whatever the study says: a cell that does not calibrate reads the other logits.
  const scorer = await createScorer({ model, networks, selection, fusion: { ...study.fusion, calibration: 'selection' } });
  return { selection: await scorer.score(selection), test: await scorer.score(test) };
}

const part = z.strictObject({
  classes: z.int().min(2),
  labels: z.array(z.int().min(0)),
  /** `logits`, calibrated, and `uncalibrated`: [samples, classes] little-endian float32, base64; `present`: one digit a sample. */
  modalities: z.record(z.string(), z.strictObject({ logits: z.string(), uncalibrated: z.string(), present: z.string().regex(/^[01]*$/) })),
});
const scoresSchema = z.strictObject({ antiphonScores: z.literal(2), selection: part, test: part });

export function formatScores({ selection, test }: RunScores): string {
  const write = ({ classes, labels, modalities }: ScoredSamples): z.input<typeof part> => ({
    classes,
    labels: Array.from(labels),
    modalities: Object.fromEntries(Object.entries(modalities).map(([name, { logits, uncalibrated = logits, present }]) => [name, { logits: toBase64(littleEndian(logits)), uncalibrated: toBase64(littleEndian(uncalibrated)), present: Array.from(present).join('') }])),
  });
  return `${JSON.stringify({ antiphonScores: 2, selection: write(selection), test: write(test) })}\n`;
}

/** Undefined for what `formatScores` has not written. */
export function scoresFromUnknown(value: unknown): RunScores | undefined {
  const parsed = scoresSchema.safeParse(value);
  if (!parsed.success) return undefined;
  const [selection, test] = [readPart(parsed.data.selection), readPart(parsed.data.test)];
  return selection === undefined || test === undefined ? undefined : { selection, test };
}

function readPart({ classes, labels, modalities }: z.output<typeof part>): ScoredSamples | undefined {
  if (labels.some((label) => label >= classes)) return undefined;
  const read: Record<string, ScoredModality> = {};
  for (const [name, modality] of Object.entries(modalities)) {
    const [logits, uncalibrated] = [modality.logits, modality.uncalibrated].map((text) => readFloats(text, labels.length * classes));
    if (logits === undefined || uncalibrated === undefined || modality.present.length !== labels.length) return undefined;
    read[name] = { logits, uncalibrated, present: Uint8Array.from(modality.present, Number) };
  }
  return { classes, labels: Int32Array.from(labels), modalities: read };
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
