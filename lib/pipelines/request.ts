/** What a request for a video may say, and the checks before any work is done. */
import { z } from "zod";
import { customSchedule, flowSchedule, linearQuadraticSchedule, type Schedule } from "../diffusion/schedule.js";
import { defaultedFields, type ModelDefaults, whole } from "../models/defaults.js";
import { invalid } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";

const number = (what: string) => z.number({ error: what });
const share = "a number in 0 … 1";

/** Messages say only what was expected; what was seen is put before it. */
const fields = {
  trueCfgScale: number("a number ≥ 1").min(1, { error: "a number ≥ 1" }).optional(),
  guidanceRescale: number(share).min(0, { error: share }).max(1, { error: share }).default(0),
  batchedCfg: z.boolean({ error: "true or false" }).default(false),
  schedule: z.enum(["flow", "linear-quadratic"], { error: '"flow" or "linear-quadratic"' }).default("flow"),
  sigmas: z.array(number("falling numbers in 0 … 1"), { error: "falling numbers in 0 … 1" }).optional(),
  seed: whole(0).optional(),
  rng: z.enum(["philox", "torch"], { error: '"philox" or "torch"' }).default("philox"),
  numVideos: whole(1).optional(),
  imageStability: z.boolean({ error: "true or false" }).default(true),
  strength: number("a number in 0 … 1, above 0")
    .positive({ error: "a number in 0 … 1, above 0" })
    .max(1, { error: "a number in 0 … 1, above 0" })
    .optional(),
  preview: z.boolean({ error: "true or false" }).default(false),
};

/** What a request for a model with these defaults may say besides words and pictures. */
export const settingsSchema = (defaults: ModelDefaults) => z.strictObject({ ...defaultedFields(defaults), ...fields });

/** A request's numbers and choices, with defaults in their places. */
export type Settings = z.output<ReturnType<typeof settingsSchema>>;

/** Seeds that are drawn when none is given, as the released pipeline draws them. */
const drawnSeeds = 1_000_001;

/**
 * The value checked by a schema.
 *
 * @throws INVALID_ARGUMENT naming the field, what it is and what it should be
 */
export function checked<S extends z.ZodType>(op: string, schema: S, value: unknown): z.output<S> {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const [issue] = error.issues;
  if (issue === undefined) throw invalid(op, "request", value, "a valid one");
  if (issue.code === "unrecognized_keys") {
    const known = schema instanceof z.ZodObject ? `; known are ${Object.keys(schema.shape).join(", ")}` : "";
    const message = `${op}: there is no setting ${issue.keys.join(", ")}${known}`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op, argument: String(issue.keys[0]) });
  }
  const path = issue.path.map(String).join(".");
  throw invalid(op, path === "" ? "request" : path, at(value, issue.path), path === "" ? "an object" : issue.message);
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined),
    value,
  );
}

/** Seed of the first video: the given one, else one drawn as the released pipeline draws. */
export function firstSeed({ seed }: Pick<Settings, "seed">): number {
  return seed ?? Math.floor(Math.random() * drawnSeeds);
}

/**
 * The noise levels that the settings ask for.
 *
 * @throws INVALID_ARGUMENT
 */
export function scheduleOf({ sigmas, schedule, numInferenceSteps, flowShift }: Settings): Schedule {
  if (sigmas !== undefined) return customSchedule(sigmas);
  return schedule === "flow" ? flowSchedule(numInferenceSteps, flowShift) : linearQuadraticSchedule(numInferenceSteps);
}

/** Latent frames, rows and columns of a video. */
export function latentSize({ width, height, numFrames }: Pick<Settings, "width" | "height" | "numFrames">) {
  return { frames: (numFrames - 1) / 4 + 1, height: height / 8, width: width / 8 };
}
