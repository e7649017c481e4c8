/**
 * What requests take where they say nothing: the released pipeline's values, or those that a model's folder states in
 * `hunyuan.json`. A model that has only seen small clips makes nothing sensible of 1280 × 720 pixels.
 */
import { join } from "node:path";
import { z } from "zod";
import { invalidCheckpoint } from "../io/failure.js";
import { findJsonFile } from "../io/json-file.js";
import { seen } from "../runtime/check.js";
import type { DitConfig } from "./dit/config.js";
import { defaultNegativePrompt, defaultNegativePromptI2v } from "./text/templates.js";

/** What a model suggests for a request. */
export interface ModelDefaults {
  /** Pixels, a multiple of 16. The released model's: 1280. */
  readonly width: number;
  /** Pixels, a multiple of 16. The released model's: 720. */
  readonly height: number;
  /** 4 n + 1. The released model's: 129. */
  readonly numFrames: number;
  /** Frames per second. The released model's: 24. */
  readonly fps: number;
  /** The released model's: 50. */
  readonly numInferenceSteps: number;
  /** The released model's: 7. */
  readonly flowShift: number;
  /** The released model's: 6. */
  readonly guidanceScale: number;
  /** What is not to be seen, for true guidance. The released pipelines have a sentence each. */
  readonly negativePrompt: string;
}

/** Of the released text-to-video model. */
export const releasedDefaults: ModelDefaults = {
  width: 1280,
  height: 720,
  numFrames: 129,
  fps: 24,
  numInferenceSteps: 50,
  flowShift: 7,
  guidanceScale: 6,
  negativePrompt: defaultNegativePrompt,
};

/** The file in a model's folder: `{ "defaults": { "width": 64, … } }`. */
export const defaultsFile = "hunyuan.json";

const number = (what: string) => z.number({ error: what });
/** Whole numbers of at least `min`. */
export const whole = (min: number, what = `a whole number ≥ ${min}`) =>
  z.int({ error: what }).min(min, { error: what });
/** Latents are 8 × 8 pixels and the transformer's patches 2 × 2 latents. */
const side = whole(16, "a multiple of 16, at least 16").multipleOf(16, { error: "a multiple of 16, at least 16" });
/** The first frame stands alone; every 4 more make a latent frame. */
const frames = "4 n + 1: 1 for an image, 5, 9, …, 129";
const rate = "a number in 1 … 240";
const atLeast0 = "a number ≥ 0";
const above0 = "a number > 0";

/** Fields of a request whose defaults are the model's. Messages say only what was expected. */
export const defaultedFields = (defaults: ModelDefaults) => ({
  width: side.default(defaults.width),
  height: side.default(defaults.height),
  numFrames: whole(1, frames)
    .refine((n) => n % 4 === 1, { error: frames })
    .default(defaults.numFrames),
  fps: number(rate).min(1, { error: rate }).max(240, { error: rate }).default(defaults.fps),
  numInferenceSteps: whole(1).default(defaults.numInferenceSteps),
  flowShift: number(above0).positive({ error: above0 }).default(defaults.flowShift),
  guidanceScale: number(atLeast0).min(0, { error: atLeast0 }).default(defaults.guidanceScale),
});

/**
 * Defaults for a model: what its folder states, and for the rest the released model's.
 *
 * @param root the model's folder; a single file's model states nothing
 * @throws CHECKPOINT_INVALID naming the key; FILE_ERROR
 * @example (await modelDefaults("./models/demo", config)).width // 64
 */
export async function modelDefaults(root: string, { i2v }: Pick<DitConfig, "i2v">): Promise<ModelDefaults> {
  const released =
    i2v === undefined ? releasedDefaults : { ...releasedDefaults, negativePrompt: defaultNegativePromptI2v };
  const file = join(root, defaultsFile);
  const json = await findJsonFile(file);
  if (json === undefined) return released;
  const stated = z.strictObject({
    ...defaultedFields(released),
    negativePrompt: z.string({ error: "a string" }).default(released.negativePrompt),
  });
  const { success, data, error } = z.strictObject({ defaults: stated }).safeParse(json);
  if (success) return data.defaults;
  const [issue] = error.issues;
  if (issue?.code === "unrecognized_keys") {
    const known = Object.keys(issue.path.length === 0 ? { defaults: stated } : stated.shape).join(", ");
    throw invalidCheckpoint(file, `is not known here; known are ${known}`, [...issue.path, ...issue.keys].join("."));
  }
  const path = issue?.path.map(String) ?? [];
  const value = path.reduce<unknown>((at, key) => Object(at)[key], json);
  const expected = path.length === 1 ? "an object" : issue?.message;
  throw invalidCheckpoint(file, `is ${seen(value)}, expected ${expected}`, path.join("."));
}
