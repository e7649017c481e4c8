/** How a model is held: where, in which types, and what of it. */
import { z } from "zod";
import type { DitHintOptions } from "../models/dit/hints.js";
import type { ModelPaths } from "../models/model-folder.js";
import { Device } from "../runtime/device.js";
import { checked } from "./request.js";

/** What loading tells; bytes are of the part named. "text" comes whenever a prompt is encoded, long after the model is there. */
export interface LoadEvent {
  readonly stage: "download" | "transformer" | "vae" | "text";
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** The file, while downloading. */
  readonly file?: string;
}

export type ComputeDType = "f32" | "bf16" | "f16";

/** Paths of parts (transformer, vae, llama, …) take the place of what would be found in the model's folder. */
export interface LoadOptions extends ModelPaths, Pick<DitHintOptions, "i2v" | "ropeAxes"> {
  /** A device's name, such as "cpu" or "cuda:0", or one that is open (it stays so when the model ends). Default "cpu". */
  readonly device?: string | Device;
  /** What parameters are held in and the models compute in. Weights in f8e4m3 stay so. Default "bf16". */
  readonly dtype?: ComputeDType;
  /** The same for the autoencoder. Default `dtype`. */
  readonly vaeDtype?: ComputeDType;
  /** The same for the text encoders. Default `dtype`. */
  readonly textDtype?: ComputeDType;
  /** Bytes that the device may hold. Default: 80 % of the smaller of RAM and cgroup on the CPU. Not for an open device. */
  readonly memoryLimit?: number;
  /**
   * "blocks": the transformer's blocks, and those of the language model, stay in the files and are read into two slots as
   * they are needed. Default "none".
   */
  readonly offload?: "none" | "blocks";
  /** Default false: the text encoders are loaded for a prompt and freed before sampling. */
  readonly keepTextEncoders?: boolean;
  /** The file with the scales of a published fp8 checkpoint, where it is not beside the weights. */
  readonly scaleMap?: string;
  /** Where finished latents wait on disk until they are decoded. Default: a folder for this in the system's temporary one. */
  readonly latentsFolder?: string;
  /** Of a hub repository; also as "owner/name@revision". Default "main". */
  readonly revision?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (event: LoadEvent) => void;
}

const computeDTypes = z.enum(["f32", "bf16", "f16"], { error: '"f32", "bf16" or "f16"' });
const text = z.string({ error: "a string" });
const bytes = z.int({ error: "a whole number of bytes > 0" }).positive({ error: "a whole number of bytes > 0" });

const schema = z.strictObject({
  device: z.union([text, z.instanceof(Device)], { error: 'a device or its name, such as "cpu"' }).default("cpu"),
  dtype: computeDTypes.default("bf16"),
  vaeDtype: computeDTypes.optional(),
  textDtype: computeDTypes.optional(),
  memoryLimit: bytes.optional(),
  offload: z.enum(["none", "blocks"], { error: '"none" or "blocks"' }).default("none"),
  keepTextEncoders: z.boolean({ error: "true or false" }).default(false),
  scaleMap: text.optional(),
  latentsFolder: text.optional(),
  revision: text.optional(),
  transformer: text.optional(),
  vae: text.optional(),
  llama: text.optional(),
  clip: text.optional(),
  llamaTokenizer: text.optional(),
  clipTokenizer: text.optional(),
  scheduler: text.optional(),
  i2v: z
    .enum(["token_replace", "latent_concat", "none"], { error: '"token_replace", "latent_concat" or "none"' })
    .optional(),
  ropeAxes: z
    .tuple([z.int(), z.int(), z.int()], { error: "three whole numbers: widths for frame, row and column" })
    .optional(),
  signal: z.instanceof(AbortSignal, { error: "an AbortSignal" }).optional(),
  onProgress: z
    .custom<(event: LoadEvent) => void>((value) => typeof value === "function", { error: "a function" })
    .optional(),
});

export type CheckedLoadOptions = z.output<typeof schema>;

/** @throws INVALID_ARGUMENT naming the option */
export function checkLoadOptions(options: LoadOptions): CheckedLoadOptions {
  return checked("HunyuanVideo.load", schema, options);
}
