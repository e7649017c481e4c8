/** A training run as a JSON file says it. */
import { z } from "zod";
import {
  learnerSchema,
  runSchema,
  scheduleSchema,
  stageDataSchema,
  stageSchema,
  timestepsSchema,
} from "../../train/config.js";
import { discriminatorDefaults } from "../../train/vae/discriminator.js";
import { vaeLossWeights } from "../../train/vae/objective.js";

const whole = z.int().min(1);
const share = z.number().min(0).max(1);
const scales = z.union([z.number().min(1), z.tuple([z.number().min(1), z.number().min(1)]).readonly()]);
const dtype = z.enum(["f32", "bf16", "f16"]);

/** A stage's own pattern of names would be silently wrong where it is no regular expression. */
const pattern = z.string().refine((text) => {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}, "expected a regular expression");

const uniqueNames = (stages: readonly { readonly name: string }[]) =>
  new Set(stages.map(({ name }) => name)).size === stages.length;

const path = z.string().min(1).optional();

const common = {
  /** Folder of the model that training starts from, as for `hunyuan generate`. */
  model: z.string().min(1),
  /** Paths of parts that are taken in place of the folder's: of what an earlier run has trained. */
  parts: z
    .strictObject({ transformer: path, vae: path, llama: path, clip: path, llamaTokenizer: path, clipTokenizer: path })
    .optional(),
  /** The run's folder: states, metrics, report, and at the end what was trained. */
  folder: z.string().min(1),
  device: z.string().optional(),
  memoryLimit: z.int().positive().optional(),
  /** What is computed in. Default f32. */
  dtype: dtype.optional(),
  run: runSchema,
  learner: learnerSchema,
  /** The type in which the result is saved. Default: the one it is held in. */
  saveDtype: dtype.optional(),
};

/** Videos that are made along the way, for the report. */
const samples = z.strictObject({
  prompts: z.array(z.string().min(1)).min(1),
  width: whole,
  height: whole,
  numFrames: whole,
  /** Default 20. */
  steps: whole.optional(),
  /** Scale for models that take it; true guidance for others. Default 1. */
  guidance: z.number().min(1).optional(),
  /** Default 7. */
  shift: z.number().positive().optional(),
});

const ditCommon = {
  ...common,
  stages: z.array(stageSchema).min(1).refine(uniqueNames, "two stages have one name"),
  /** Different crops of each clip whose latents are kept. Default 1. */
  variants: whole.optional(),
  /** Where latents and prompt embeddings are kept. Default: in the run's folder. */
  cache: z.string().min(1).optional(),
  timesteps: timestepsSchema.optional(),
  captionDropout: share.optional(),
  /** Recomputes blocks in the backward pass. */
  checkpoint: z.boolean().optional(),
  validation: stageDataSchema.extend({ batches: whole }).optional(),
  samples: samples.optional(),
};

/** Which parameters are trained. */
const selection = {
  /** Patterns with `*` of their names. Default: all. */
  include: z.array(z.string().min(1)).min(1).optional(),
  exclude: z.array(z.string().min(1)).min(1).optional(),
};

/** For models that take guidance: how they keep it while they are trained (lib/train/distil/losses.ts). */
const keepGuidance = {
  /** Scales that samples are trained at. Default [1, 8]. */
  guidance: scales.optional(),
  /** Default "prediction"; "off" trains on the plain velocity, and the model forgets to guide. */
  guidanceForm: z.enum(["prediction", "target", "off"]).optional(),
};

/** Captions for which a fine-tuned model stays as it was (lib/train/preserve.ts). */
const preserve = z
  .strictObject({
    /** "" stands for what is made without a caption. */
    captions: z.array(z.string()).min(1),
    /** What it counts beside the clips. Default 1. */
    weight: z.number().positive().optional(),
    /** Samples for it, as a share of the batch. Default 1. */
    share: z.number().positive().max(1).optional(),
    /** Of the videos that the model makes of the captions beforehand; 0 makes none. Default: the model's. */
    steps: z.int().min(0).optional(),
    guidance: z.number().min(1).optional(),
    shift: z.number().positive().optional(),
  })
  .optional();

const full = z.strictObject({
  kind: z.literal("full"),
  ...ditCommon,
  ...keepGuidance,
  preserve,
  ...selection,
  /** "trained": small text encoders learn too. Default "frozen", and their states are kept on disk. */
  text: z.enum(["frozen", "trained"]).optional(),
});

const lora = z.strictObject({
  kind: z.literal("lora"),
  ...ditCommon,
  ...keepGuidance,
  preserve,
  lora: z.strictObject({
    rank: whole,
    alpha: z.number().positive().optional(),
    /** Regular expressions of layers. Default: attention and MLPs of all blocks. */
    targets: z.array(pattern).min(1).optional(),
    exclude: z.array(pattern).min(1).optional(),
    /** Spelling of the file. Default "kohya". */
    style: z.enum(["original", "kohya", "diffusers", "comfyui", "onetrainer"]).optional(),
  }),
});

const distil = z.strictObject({
  kind: z.literal("distil"),
  ...ditCommon,
  /** Scales that the student learns. Default [1, 8]. */
  guidance: scales.optional(),
  /** What the student starts from: an earlier one. Default: a copy of the teacher. */
  student: z.string().min(1).optional(),
  /** Lets a copy of the teacher learn too (lib/train/distil/joint.ts); it is saved beside the student. Default: it stays as it is. */
  teacher: z
    .strictObject({
      /** How strongly it is held to what it was. Default 1. */
      hold: z.number().positive().optional(),
    })
    .optional(),
});

const vae = z.strictObject({
  kind: z.literal("vae"),
  ...common,
  stages: z
    .array(
      stageSchema.omit({ timesteps: true }).extend({
        schedule: scheduleSchema.optional(),
        adversarial: z.boolean().optional(),
        tiling: z.strictObject({ share, tiles: z.enum(["hunyuan", "diffusers", "diffusersFramewise"]) }).optional(),
        /** How clips are cut. Default: see the data. */
        crop: z.enum(["cover", "keep"]).optional(),
        maxInterval: whole.optional(),
      }),
    )
    .min(1)
    .refine(uniqueNames, "two stages have one name"),
  weights: z
    .strictObject({
      l1: z.number().min(0).default(vaeLossWeights.l1),
      edge: z.number().min(0).default(vaeLossWeights.edge),
      mse: z.number().min(0).default(vaeLossWeights.mse),
      perceptual: z.number().min(0).default(vaeLossWeights.perceptual),
      adversarial: z.number().min(0).default(vaeLossWeights.adversarial),
      kl: z.number().min(0).default(vaeLossWeights.kl),
    })
    .optional(),
  /** Files with the weights of LPIPS. Default: no perceptual loss. */
  lpips: z.array(z.string().min(1)).min(1).optional(),
  adversary: z
    .strictObject({
      /** Of the first layer, a multiple of 8. Default 64. */
      channels: whole.multipleOf(discriminatorDefaults.normGroups).optional(),
      layers: whole.optional(),
      learner: learnerSchema,
      start: z.int().min(0).optional(),
      adaptive: z.boolean().optional(),
    })
    .optional(),
  validation: stageDataSchema.extend({ batches: whole }).optional(),
  ...selection,
  /**
   * "fold": at the end the latents' statistics are folded in, so that they have mean 0 and variance 1. "keep": they stay as
   * they are, so that a transformer that knows them goes on with a decoder that has learnt more. Default "fold".
   */
  latents: z.enum(["fold", "keep"]).optional(),
  /** Batches that the latents' statistics are taken from at the end. Default 16. */
  statisticsBatches: whole.optional(),
});

/** What `hunyuan train --config` takes. */
export const trainingSchema = z.discriminatedUnion("kind", [full, lora, distil, vae], {
  error: 'expected "full", "lora", "distil" or "vae"',
});

/** What is wrong with a configuration, a line each: where, and what was expected there. */
export function describeIssues({ issues }: z.ZodError): string[] {
  return issues.map((issue) => {
    const path = issue.path.map(String).join(".");
    const message = issue.code === "unrecognized_keys" ? `there is no setting ${issue.keys.join(", ")}` : issue.message;
    return path === "" ? message : `${path}: ${message}`;
  });
}

export type TrainingConfig = z.output<typeof trainingSchema>;
export type DitTrainingConfig = Exclude<TrainingConfig, { kind: "vae" }>;
export type VaeTrainingConfig = Extract<TrainingConfig, { kind: "vae" }>;
export type SamplesConfig = z.output<typeof samples>;
