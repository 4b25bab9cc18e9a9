import { z } from 'zod';
import { scoreSamples } from '../../coordinator/evaluate.ts';
import { fromBase64, toBase64 } from '../../shared/base64.ts';
import { buildEvaluationSet } from '../../shared/data/evaluation-set.ts';
import type { ScoredSamples } from '../../shared/fusion/evaluation.ts';
import { openBackend, type BackendChoice } from '../../shared/platform/backend.ts';
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
  const score = async (part: 'selection' | 'test'): Promise<ScoredSamples> =>
    scoreSamples({ model, networks, classes: study.classes.length, set: await buildEvaluationSet({ study, part, files: openDataFolder(data), primitives }) });
  return { selection: await score('selection'), test: await score('test') };
}

const part = z.strictObject({
  classes: z.int().min(2),
  labels: z.array(z.int().min(0)),
  /** `logits`: [samples, classes] little-endian float32, base64; `present`: one digit a sample. */
  modalities: z.record(z.string(), z.strictObject({ logits: z.string(), present: z.string().regex(/^[01]*$/) })),
});
const scoresSchema = z.strictObject({ antiphonScores: z.literal(1), selection: part, test: part });

export function formatScores({ selection, test }: RunScores): string {
  const write = ({ classes, labels, modalities }: ScoredSamples): z.input<typeof part> => ({
    classes,
    labels: Array.from(labels),
    modalities: Object.fromEntries(Object.entries(modalities).map(([name, { logits, present }]) => [name, { logits: toBase64(littleEndian(logits)), present: Array.from(present).join('') }])),
  });
  return `${JSON.stringify({ antiphonScores: 1, selection: write(selection), test: write(test) })}\n`;
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
  const read: Record<string, { logits: Float32Array; present: Uint8Array }> = {};
  for (const [name, { logits, present }] of Object.entries(modalities)) {
    const bytes = fromBase64(logits);
    if (bytes?.length !== 4 * labels.length * classes || present.length !== labels.length) return undefined;
    const view = new DataView(bytes.buffer);
    read[name] = { logits: Float32Array.from({ length: labels.length * classes }, (_, i) => view.getFloat32(4 * i, true)), present: Uint8Array.from(present, Number) };
  }
  return { classes, labels: Int32Array.from(labels), modalities: read };
}

function littleEndian(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  return new Uint8Array(view.buffer);
}
