/** A transformer or an autoencoder written anew: other names, another type, safetensors in place of a pickle. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, extname, join, resolve } from "node:path";
import { openCheckpoint } from "../io/checkpoint.js";
import { fileError } from "../io/failure.js";
import type { WriteProgress } from "../io/safetensors-write.js";
import type { Checkpoint } from "../io/tensor-file.js";
import { type ConvertOptions, convertCheckpoint } from "../nn/convert.js";
import { type Naming, type ParameterSpec, releasedNaming } from "../nn/spec.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import type { FloatDType } from "../tensor/dtype.js";
import { diffusersDitConfig } from "./dit/diffusers-config.js";
import { type DitHintOptions, ditMetadataKey } from "./dit/hints.js";
import { type DitLayout, ditNaming } from "./dit/naming.js";
import { openDit } from "./dit/open.js";
import { describeFamily, familyOf } from "./families.js";
import type { VaeConfig } from "./vae/config.js";
import { openVae } from "./vae/open.js";

export interface ConvertModelOptions extends DitHintOptions {
  /** Whose names are written. An autoencoder's are the same in all layouts. */
  readonly layout: DitLayout;
  /** The type of all weights. Default: each as it is. */
  readonly dtype?: FloatDType | undefined;
  /** The file with the scales of a published fp8 checkpoint, where it is not beside the weights. */
  readonly scaleMap?: string | undefined;
  /** Bytes from which on the weights are split over several files. Default 5 GB. */
  readonly shardBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: WriteProgress) => void) | undefined;
}

/**
 * Converts the checkpoint of a transformer or of an autoencoder to safetensors. Bytes stream from file to file: what is in
 * memory at a time is bounded, whatever the model's size.
 *
 * @param to a file that ends in .safetensors; or a folder, which gets diffusion_pytorch_model.safetensors (in shards with
 * an index, if need be) and a config.json
 * @returns the files that were written
 * @throws CHECKPOINT_INVALID for other checkpoints; MODEL_UNSUPPORTED for fp8 weights in another type or in pieces;
 * FILE_ERROR, ABORTED, and then nothing is written
 * @example await convertModel(device, "mp_rank_00_model_states.pt", "./transformer", { layout: "diffusers" });
 */
export async function convertModel(
  device: Device,
  from: string,
  to: string,
  options: ConvertModelOptions,
): Promise<readonly string[]> {
  const plan = await planOf(await openCheckpoint(from), options);
  const { dtype, shardBytes, signal, onProgress } = options;
  const isFile = extname(to) === ".safetensors";
  const target = isFile ? resolve(to) : join(resolve(to), "diffusion_pytorch_model.safetensors");
  await makeFolder(dirname(target));
  const files = await convertCheckpoint(device, plan.checkpoint, plan.specs, target, {
    from: plan.from,
    to: plan.to,
    dtype: dtype === undefined ? undefined : () => dtype,
    metadata: plan.metadata,
    shardBytes,
    signal,
    onProgress,
  });
  if (isFile) return files;
  const config = join(dirname(target), "config.json");
  const text = `${JSON.stringify(plan.config, null, 2)}\n`;
  await writeFile(config, text).catch((error) => Promise.reject(fileError("convertModel", config, error)));
  return [...files, config];
}

interface Plan extends Pick<ConvertOptions, "metadata"> {
  readonly checkpoint: Checkpoint;
  readonly specs: readonly ParameterSpec[];
  readonly from: Naming;
  readonly to: Naming;
  /** config.json of a folder. */
  readonly config: object;
}

async function planOf(checkpoint: Checkpoint, options: ConvertModelOptions): Promise<Plan> {
  const { source, entries } = checkpoint;
  switch (familyOf(entries.keys())?.part) {
    case "transformer":
      return planDit(checkpoint, options);
    case "vae": {
      const { config, specs, naming } = await openVae(checkpoint);
      return { checkpoint, specs, from: naming, to: releasedNaming, config: vaeConfigJson(config, options.layout) };
    }
    default: {
      const message = `${source}: only transformers and autoencoders are converted; ${describeFamily(entries.keys())}`;
      throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source });
    }
  }
}

async function planDit(given: Checkpoint, { layout, dtype, ...options }: ConvertModelOptions): Promise<Plan> {
  const { checkpoint, specs, naming, config, fp8 } = await openDit(given, options);
  if (fp8 === "scaled" && (dtype !== undefined || layout === "diffusers")) {
    const what = dtype === undefined ? "diffusers' layout keeps weights in pieces, with no place for a scale" : dtype;
    const message =
      `${given.source}: its weights are fp8 with a scale each, which cannot be written as: ${what}. Convert 16-bit weights, or ` +
      "keep the type and Tencent's or ComfyUI's names";
    throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: "conversion of scaled fp8" });
  }
  const metadata = { ...Object.fromEntries(checkpoint.metadata), [ditMetadataKey]: JSON.stringify(config) };
  return {
    checkpoint,
    specs,
    from: naming,
    to: ditNaming(layout, config),
    metadata,
    config: diffusersDitConfig(config),
  };
}

/** diffusers' config.json, or the released one: they differ in the class and in one name. @internal */
export function vaeConfigJson(config: VaeConfig, layout: DitLayout): object {
  const released = layout === "tencent";
  const blocks = (down: boolean) =>
    config.blockChannels.map(() => {
      if (released) return down ? "DownEncoderBlockCausal3D" : "UpDecoderBlockCausal3D";
      return down ? "HunyuanVideoDownBlock3D" : "HunyuanVideoUpBlock3D";
    });
  return {
    _class_name: released ? "AutoencoderKLCausal3D" : "AutoencoderKLHunyuanVideo",
    act_fn: "silu",
    block_out_channels: config.blockChannels,
    down_block_types: blocks(true),
    in_channels: config.inChannels,
    latent_channels: config.latentChannels,
    layers_per_block: config.layersPerBlock,
    mid_block_add_attention: config.midAttention,
    norm_num_groups: config.normGroups,
    out_channels: config.outChannels,
    scaling_factor: config.scalingFactor,
    spatial_compression_ratio: config.spatialRatio,
    [released ? "time_compression_ratio" : "temporal_compression_ratio"]: config.temporalRatio,
    up_block_types: blocks(false),
  };
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((error) => Promise.reject(fileError("convertModel", folder, error)));
}
