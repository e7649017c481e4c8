/** Training as data: what of it a JSON file may say, checked by zod. What a file leaves out has the default of the code. */
import { z } from "zod";

const steps = z.number().int().min(1);
const patterns = z.array(z.string().min(1)).min(1);

/** {@link RateSchedule} */
export const scheduleSchema = z.strictObject({
  kind: z.enum(["constant", "cosine"]).optional(),
  warmup: z.number().int().min(0).optional(),
  steps: steps.optional(),
  final: z.number().min(0).max(1).optional(),
});

/** {@link TimestepOptions} */
export const timestepsSchema = z.strictObject({
  kind: z.enum(["logit-normal", "uniform"]).optional(),
  shift: z.number().positive().optional(),
  mean: z.number().optional(),
  std: z.number().positive().optional(),
  stratified: z.boolean().optional(),
});

const groupCommon = { match: patterns, rate: z.number().min(0).optional(), weightDecay: z.number().min(0).optional() };

/** {@link LearnerOptions}: optimizer, clipping and average, all but `rowsOf`, which is code. */
export const learnerSchema = z.strictObject({
  lr: z.number().positive(),
  weightDecay: z.number().min(0).optional(),
  beta1: z.number().min(0).lt(1).optional(),
  beta2: z.number().min(0).lt(1).optional(),
  eps: z.number().positive().optional(),
  groups: z
    .array(
      z.discriminatedUnion("kind", [
        z.strictObject({ kind: z.literal("adamw"), ...groupCommon }),
        z.strictObject({ kind: z.literal("muon"), ...groupCommon, momentum: z.number().min(0).lt(1).optional() }),
      ]),
    )
    .optional(),
  clipNorm: z.number().positive().optional(),
  ema: z.strictObject({ decay: z.number().min(0).lt(1), warmup: z.boolean().optional() }).optional(),
});

/** A bucket as the data have it: pixels, frames, and how many clips make a batch. */
export const bucketSchema = z.strictObject({
  width: steps,
  height: steps,
  numFrames: steps,
  batchSize: steps,
});

/** What a stage of the curriculum takes from its data: which, how large, how long, and the share of pictures. */
export const stageDataSchema = z.strictObject({
  /** A folder or a JSONL file. */
  source: z.string().min(1),
  buckets: z.array(bucketSchema).min(1),
  /** Share of batches that are of pictures. */
  imageRatio: z.number().min(0).lt(1).optional(),
  fps: z.number().positive().optional(),
});

/** A {@link DitStage} with its data. */
export const stageSchema = z.strictObject({
  name: z.string().min(1),
  steps,
  accumulate: steps.optional(),
  rate: z.number().positive().optional(),
  schedule: scheduleSchema.optional(),
  timesteps: timestepsSchema.optional(),
  data: stageDataSchema,
});

/** Stages one after the other; their names differ. */
export const stagesSchema = z
  .array(stageSchema)
  .min(1)
  .refine((stages) => new Set(stages.map(({ name }) => name)).size === stages.length, "two stages have one name");

/** What of {@link TrainingOptions} is data. */
export const runSchema = z.strictObject({
  seed: z.number().int().min(0),
  saveEvery: steps.optional(),
  keepLast: steps.optional(),
  validateEvery: z.number().int().min(0).optional(),
  sampleEvery: z.number().int().min(0).optional(),
});

export type StageConfig = z.output<typeof stageSchema>;
export type StageDataConfig = z.output<typeof stageDataSchema>;
export type LearnerConfig = z.output<typeof learnerSchema>;
export type RunConfig = z.output<typeof runSchema>;
