/** What a request will take, stage by stage, before anything is loaded. */
import { z } from "zod";
import { type ModelDefaults, releasedDefaults } from "../models/defaults.js";
import { type DitConfig, ditPresets } from "../models/dit/config.js";
import { ditActivationBytes, ditFlops } from "../models/dit/flops.js";
import { ditSpec } from "../models/dit/spec.js";
import { clipSpec } from "../models/text/clip.js";
import { estimateClip, estimateLlama } from "../models/text/estimate.js";
import { layersForSkip, llamaSpec } from "../models/text/llama.js";
import { hiddenStateSkipLayer } from "../models/text/llama-config.js";
import { pooledTextLength, promptTemplates, textLength } from "../models/text/templates.js";
import { type VaeConfig, vaePresets } from "../models/vae/config.js";
import { estimateVae, vaeParameterBytes } from "../models/vae/memory.js";
import type { Tiling, TilingOption } from "../models/vae/tiling.js";
import type { ParameterSpec } from "../nn/spec.js";
import { bytesOf } from "../tensor/dtype.js";
import { sizeOf } from "../tensor/shape.js";
import type { ComputeDType } from "./load-options.js";
import { ditBlock, textBlock } from "./loaded-model.js";
import { checked, latentSize, settingsSchema } from "./request.js";
import { releasedText, type TextConfigs } from "./text-files.js";

export interface EstimateRequest {
  /** Pixels. Default: the model's own, 1280 for the released one. */
  readonly width?: number;
  /** Pixels. Default: the model's own, 720 for the released one. */
  readonly height?: number;
  /** Default: the model's own, 129 for the released one. */
  readonly numFrames?: number;
  /** Default: the model's own, 50 for the released one. */
  readonly numInferenceSteps?: number;
  /** Default 1; for models that take no guidance as an input 6. */
  readonly trueCfgScale?: number;
  /** Default false. */
  readonly batchedCfg?: boolean;
  /** Default 1. */
  readonly numVideos?: number;
  /** Default "bf16". */
  readonly dtype?: ComputeDType;
  /** Default `dtype`. */
  readonly vaeDtype?: ComputeDType;
  /** Default `dtype`. */
  readonly textDtype?: ComputeDType;
  /** Default "none". */
  readonly offload?: "none" | "blocks";
  /** Default false. */
  readonly keepTextEncoders?: boolean;
  /** Bytes that the device may hold; decoding is cut into tiles that fit. Default: any number. */
  readonly memoryLimit?: number;
  /** Default "auto". */
  readonly tiling?: TilingOption;
  /** Which released transformer. Default "t2v". A loaded model is the one it is. */
  readonly variant?: keyof typeof ditPresets;
}

export interface StageEstimate {
  readonly stage: "encode" | "sample" | "decode";
  /** The most that the device holds at once in the stage: parameters, inputs and work. */
  readonly peakBytes: number;
  /** Parameters on the device in the stage. */
  readonly parameterBytes: number;
  /** A multiply-add is two. */
  readonly flops: number;
}

export interface Estimate {
  readonly stages: readonly StageEstimate[];
  /** Of the stage that takes the most. */
  readonly peakBytes: number;
  readonly flops: number;
  /** How decoding is cut; {} when it is not. */
  readonly tiling: Tiling;
  readonly tiles: number;
}

/** What is estimated for. */
export interface EstimatedModel {
  readonly dit: DitConfig;
  readonly vae: VaeConfig;
  readonly text: TextConfigs;
  readonly defaults: ModelDefaults;
}

const dtypes = z.enum(["f32", "bf16", "f16"], { error: '"f32", "bf16" or "f16"' });
const variants = Object.keys(ditPresets) as (keyof typeof ditPresets)[];

const fields = {
  dtype: dtypes.default("bf16"),
  vaeDtype: dtypes.optional(),
  textDtype: dtypes.optional(),
  offload: z.enum(["none", "blocks"], { error: '"none" or "blocks"' }).default("none"),
  keepTextEncoders: z.boolean({ error: "true or false" }).default(false),
  memoryLimit: z.number({ error: "a number of bytes > 0" }).positive({ error: "a number of bytes > 0" }).optional(),
  tiling: z.custom<TilingOption>().default("auto"),
  variant: z.enum(variants, { error: variants.map((name) => `"${name}"`).join(", ") }).default("t2v"),
};

function schemaOf(defaults: ModelDefaults) {
  const { shape } = settingsSchema(defaults);
  const { width, height, numFrames, numInferenceSteps, trueCfgScale, batchedCfg, numVideos } = shape;
  const settings = { width, height, numFrames, numInferenceSteps, trueCfgScale, batchedCfg, numVideos };
  return z.strictObject({ ...settings, ...fields });
}

type Checked = z.output<ReturnType<typeof schemaOf>>;

/**
 * Bytes and FLOPs of each stage.
 *
 * @param model default: the released one of that variant
 * @throws INVALID_ARGUMENT; OUT_OF_MEMORY when no tile of the autoencoder fits the limit
 */
export function estimateRequest(request: EstimateRequest, model?: EstimatedModel): Estimate {
  const given = checked("estimate", schemaOf(model?.defaults ?? releasedDefaults), request);
  const { dit, vae, text } = model ?? {
    dit: ditPresets[given.variant],
    vae: vaePresets["884-16c-hy"],
    text: releasedText,
  };
  const { dtype, vaeDtype = dtype, offload, numVideos = 1 } = given;
  const held = heldBytes(ditSpec(dit), dtype, offload, ditBlock) + vaeParameterBytes(vae, vaeDtype);
  const encode = encodeStage(given, dit, text, held);
  const kept = given.keepTextEncoders ? held + encode.textBytes : held;
  const sample = sampleStage(given, dit, kept);
  const size = { numFrames: given.numFrames, height: given.height, width: given.width };
  const { memoryLimit, tiling } = given;
  const decoding = estimateVae(vae, "decode", size, { dtype: vaeDtype, tiling, memoryLimit, parameterBytes: kept });
  const latents = latentBytes(given, dit);
  const decode: StageEstimate = {
    stage: "decode",
    peakBytes: decoding.peakBytes + latents,
    parameterBytes: kept,
    flops: decoding.flops * numVideos,
  };
  const stages = [encode.stage, sample, decode];
  return {
    stages,
    peakBytes: Math.max(...stages.map((stage) => stage.peakBytes)),
    flops: stages.reduce((sum, stage) => sum + stage.flops, 0),
    tiling: decoding.tiling,
    tiles: decoding.tiles,
  };
}

/** Streamed: two slots of the largest block, and what belongs to none. */
function heldBytes(
  specs: readonly ParameterSpec[],
  dtype: ComputeDType,
  offload: Checked["offload"],
  blockOf: (spec: ParameterSpec) => string | undefined,
): number {
  const blocks = new Map<string, number>();
  let resident = 0;
  for (const spec of specs) {
    const bytes = bytesOf(dtype, sizeOf(spec.shape));
    const block = offload === "blocks" ? blockOf(spec) : undefined;
    if (block === undefined) resident += bytes;
    else blocks.set(block, (blocks.get(block) ?? 0) + bytes);
  }
  return resident + 2 * Math.max(0, ...blocks.values());
}

function encodeStage(given: Checked, dit: DitConfig, { llama, clip }: TextConfigs, held: number) {
  const { dtype, textDtype = dtype } = given;
  const prompts = forwardsOf(given, dit);
  const { maxLength } = given.numFrames === 1 ? promptTemplates.image : promptTemplates.video;
  const large = estimateLlama(llama, { dtype: textDtype, tokens: prompts * maxLength });
  const small = estimateClip(clip, { dtype: textDtype, tokens: prompts * pooledTextLength });
  const llamaSpecs = llamaSpec(llama, { numLayers: layersForSkip(llama, hiddenStateSkipLayer) });
  const textBytes =
    heldBytes(llamaSpecs, textDtype, given.offload, textBlock) +
    heldBytes(clipSpec(clip), textDtype, given.offload, textBlock);
  const work = Math.max(large.activationBytes, small.activationBytes);
  const stage: StageEstimate = {
    stage: "encode",
    peakBytes: held + textBytes + work,
    parameterBytes: held + textBytes,
    flops: large.flops + small.flops,
  };
  return { stage, textBytes };
}

/** How often a step asks the model: twice under true guidance, which is the default where there is no other. */
const forwardsOf = ({ trueCfgScale }: Checked, { guidanceEmbed }: DitConfig): 1 | 2 =>
  trueCfgScale === 1 || (trueCfgScale === undefined && guidanceEmbed) ? 1 : 2;

function sampleStage(given: Checked, dit: DitConfig, held: number): StageEstimate {
  const { dtype, numInferenceSteps, numVideos = 1, batchedCfg } = given;
  const forwards = forwardsOf(given, dit);
  const { frames, height, width } = latentSize(given);
  const work = { latentFrames: frames, latentHeight: height, latentWidth: width, textTokens: textLength };
  const batch = batchedCfg ? forwards : 1;
  // Before and after a step, the velocity, the guess of the end, and what the model takes and gives in its own type.
  const latents = (4 + 2 * batch * forwards) * latentBytes(given, dit);
  return {
    stage: "sample",
    peakBytes: held + ditActivationBytes(dit, { ...work, batch }, dtype) + latents,
    parameterBytes: held,
    flops: ditFlops(dit, work).total * forwards * numInferenceSteps * numVideos,
  };
}

/** One f32 copy of the latents. */
function latentBytes(given: Checked, { outChannels }: DitConfig): number {
  const { frames, height, width } = latentSize(given);
  return bytesOf("f32", frames * height * width * outChannels);
}
