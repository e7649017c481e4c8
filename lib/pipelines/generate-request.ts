/** A request for videos as a user writes it, checked, and what it comes to with a given model. */
import { z } from "zod";
import { lastSteps, type Schedule } from "../diffusion/schedule.js";
import type { ModelDefaults } from "../models/defaults.js";
import type { DitConfig } from "../models/dit/config.js";
import { PromptEmbeddings } from "../models/text/embeddings.js";
import type { VaeConfig } from "../models/vae/config.js";
import { type TilingOption, tilingOf } from "../models/vae/tiling.js";
import { invalid } from "../runtime/check.js";
import type { ImageInput, VideoInput } from "./pixels.js";
import { checked, firstSeed, scheduleOf, settingsSchema } from "./request.js";

/** Where a default is the model's own, `model.defaults` has it; the figure here is the released model's. */
export interface GenerateRequest {
  /** What is to be seen; or what `encodePrompt` gave for it, which stays the caller's. */
  readonly prompt: string | PromptEmbeddings;
  /** Pixels, a multiple of 16. Default: the model's own, 1280. */
  readonly width?: number;
  /** Pixels, a multiple of 16. Default: the model's own, 720. */
  readonly height?: number;
  /** 4 n + 1; 1 gives an image. Default: the model's own, 129. */
  readonly numFrames?: number;
  /** Frames per second of the files that are written. Default: the model's own, 24. */
  readonly fps?: number;
  /** Default: the model's own, 50. */
  readonly numInferenceSteps?: number;
  /**
   * How closely the prompt is followed: an input of models that were distilled for it; else `trueCfgScale`. Default: the
   * model's own, 6.
   */
  readonly guidanceScale?: number;
  /**
   * True classifier-free guidance, which asks the model twice a step. Default 1, none; for models that take no guidance
   * as an input, `guidanceScale`.
   */
  readonly trueCfgScale?: number;
  /** What is not to be seen. Only with true guidance. Default: the model's own; what the released pipeline has. */
  readonly negativePrompt?: string | PromptEmbeddings;
  /** 0 … 1: how far true guidance is brought back to the spread it had without. Default 0. */
  readonly guidanceRescale?: number;
  /** Both forwards of true guidance in one batch: more memory. Default false. */
  readonly batchedCfg?: boolean;
  /** Moves steps towards noise; the fewer steps, the more. Default: the model's own, 7. */
  readonly flowShift?: number;
  /** "linear-quadratic" is for few steps, and takes no `flowShift`. Default "flow". */
  readonly schedule?: "flow" | "linear-quadratic";
  /** Noise levels of one's own, falling from 1, in place of a schedule. */
  readonly sigmas?: readonly number[];
  /** A whole number. Default: drawn. Further videos have seed + 1, seed + 2, … */
  readonly seed?: number;
  /** "torch": the noise that PyTorch's CPU generator gives for the seed. Default "philox". */
  readonly rng?: "philox" | "torch";
  /** How many, one after the other; the result is then an array. */
  readonly numVideos?: number;
  /** The first frame, for image-to-video models. */
  readonly image?: ImageInput;
  /** Starts image-to-video from noise with a trace of the image: calmer. Default true. */
  readonly imageStability?: boolean;
  /** Changes a video: noise is put over it, as much as `strength` says. Of `numFrames` as many are made as it has. */
  readonly video?: VideoInput;
  /** 0 … 1: how much of the given video goes. Default 0.8. */
  readonly strength?: number;
  /** How decoding is cut into tiles. Default "auto": not at all where memory allows. */
  readonly tiling?: TilingOption;
  /** Where the finished latents are written and kept; further videos get -1, -2, … before the ending. */
  readonly latentsPath?: string;
  /** Puts small pictures into the events of sampling. Default false. */
  readonly preview?: boolean;
}

const prompt = z.union([z.string(), z.instanceof(PromptEmbeddings)], {
  error: "a string, or what encodePrompt() gave",
});

const words = {
  prompt,
  negativePrompt: prompt.optional(),
  image: z.custom<ImageInput>((value) => isGiven(value), { error: "a path, bytes, a picture or a tensor" }).optional(),
  video: z.custom<VideoInput>((value) => isGiven(value), { error: "a path, frames or a tensor" }).optional(),
  // What tilings there are, the autoencoder knows.
  tiling: z.custom<TilingOption>((value) => isGiven(value), { error: "a tiling's name or settings" }).default("auto"),
  latentsPath: z.string({ error: "a path" }).min(1, { error: "a path" }).optional(),
};

const requestSchema = (defaults: ModelDefaults) => settingsSchema(defaults).extend(words);

const isGiven = (value: unknown) =>
  (typeof value === "string" && value !== "") || (typeof value === "object" && value !== null);

export type CheckedRequest = z.output<ReturnType<typeof requestSchema>>;

const op = "generate";
/** How much of a given video goes when nobody says. */
export const defaultStrength = 0.8;

/**
 * The request with the model's defaults where it says nothing.
 *
 * @throws INVALID_ARGUMENT naming the field
 */
export function checkRequest(request: GenerateRequest, defaults: ModelDefaults): CheckedRequest {
  const made = checked(op, requestSchema(defaults), request);
  if (made.schedule === "linear-quadratic" && request.flowShift !== undefined) {
    throw invalid(op, "flowShift", request.flowShift, 'nothing: the schedule "linear-quadratic" has no shift');
  }
  if (made.strength !== undefined && made.video === undefined) {
    throw invalid(op, "strength", made.strength, "nothing without a video to change");
  }
  return made;
}

/** What a model is, as far as a request meets it. */
export interface PlannedFor {
  readonly dit: DitConfig;
  readonly vae: VaeConfig;
  readonly defaults: ModelDefaults;
}

/** What a request comes to with a model. */
export interface Plan {
  readonly request: CheckedRequest;
  readonly schedule: Schedule;
  readonly seed: number;
  readonly count: number;
  /** For models that take it as an input. */
  readonly guidance: number | undefined;
  readonly trueCfgScale: number;
  /** Undefined without true guidance. */
  readonly negativePrompt: string | PromptEmbeddings | undefined;
  readonly imageMode: "token_replace" | "latent_concat" | undefined;
}

/**
 * The request with this model: what of it the model cannot do is refused before anything is computed.
 *
 * @throws INVALID_ARGUMENT
 */
export function planRequest(request: CheckedRequest, { dit, vae, defaults }: PlannedFor): Plan {
  const { guidanceEmbed, i2v } = dit;
  const { guidanceScale, image, video, numFrames, tiling } = request;
  // Found out now, not after hours of sampling.
  if (tiling !== "auto") tilingOf(vae, tiling);
  const trueCfgScale = request.trueCfgScale ?? (guidanceEmbed ? 1 : Math.max(1, guidanceScale));
  if (trueCfgScale === 1 && request.negativePrompt !== undefined) {
    const what = "nothing: without true guidance it has no effect; set trueCfgScale above 1";
    throw invalid(op, "negativePrompt", wordsOf(request.negativePrompt), what);
  }
  if (i2v === undefined && image !== undefined) {
    throw invalid(op, "image", "given", "none: this is a text-to-video model; load an image-to-video one");
  }
  if (i2v !== undefined && image === undefined) {
    throw invalid(op, "image", image, "the first frame: this is an image-to-video model");
  }
  if (image !== undefined && video !== undefined) throw invalid(op, "video", "given", "none beside an image");
  if (i2v !== undefined && numFrames === 1) {
    throw invalid(op, "numFrames", numFrames, "5 or more: the first frame is the image itself");
  }
  const whole = scheduleOf(request);
  return {
    request,
    schedule: video === undefined ? whole : lastSteps(whole, request.strength ?? defaultStrength),
    seed: firstSeed(request),
    count: request.numVideos ?? 1,
    guidance: guidanceEmbed ? guidanceScale : undefined,
    trueCfgScale,
    negativePrompt: trueCfgScale === 1 ? undefined : (request.negativePrompt ?? defaults.negativePrompt),
    imageMode: i2v,
  };
}

/** The prompt's words. */
export function wordsOf(given: string | PromptEmbeddings): string {
  return typeof given === "string" ? given : given.notes.prompt;
}
