/** A whole HunyuanVideo of a few hundred kilobytes in diffusers' folder layout: random weights, every part there. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DitConfig } from "../../lib/models/dit/config.js";
import { ditNaming } from "../../lib/models/dit/naming.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import type { VaeConfig } from "../../lib/models/vae/config.js";
import { vaeSpec } from "../../lib/models/vae/spec.js";
import { type Naming, type ParameterSpec, releasedNaming } from "../../lib/nn/spec.js";
import { sizeOf } from "../../lib/tensor/shape.js";
import { writeSafetensors } from "./checkpoint-files.js";
import { randomNumbers, tensorsIn, tinyDit } from "./dit-files.js";
import { writeTinyTextEncoders } from "./tiny-text.js";

/** All ratios of the released autoencoder, few channels. */
export const tinyVae: VaeConfig = {
  inChannels: 3,
  outChannels: 3,
  latentChannels: 16,
  blockChannels: [8, 8, 16, 16],
  layersPerBlock: 1,
  normGroups: 4,
  midAttention: true,
  spatialRatio: 8,
  temporalRatio: 4,
  scalingFactor: 0.476986,
};

export interface TinyModelOptions {
  /** What differs from the tiny text-to-video transformer. */
  readonly dit?: Partial<DitConfig>;
  /** A parameter (by its released name) of which one value is to be NaN. */
  readonly poison?: string;
  /** Leaves the text encoders out. */
  readonly withoutText?: boolean;
}

/** Weights small enough that nothing grows from block to block; norms' weights near 1. */
function valuesOf(specs: readonly ParameterSpec[], poison: string | undefined): Map<string, Float32Array> {
  return new Map(
    specs.map(({ name, shape }, i) => {
      const isNorm = /norm\d?(_out)?\.weight$|_norm\.weight$/.test(name) && shape.length === 1;
      const values = randomNumbers(sizeOf(shape), i + 1).map((x) => (isNorm ? 1 + x / 8 : x / 8));
      if (name === poison) values[0] = Number.NaN;
      return [name, values];
    }),
  );
}

function writePart(
  folder: string,
  specs: readonly ParameterSpec[],
  naming: Naming,
  config: unknown,
  poison: string | undefined,
): void {
  mkdirSync(folder, { recursive: true });
  const values = valuesOf(specs, poison);
  const tensors = tensorsIn(naming, specs, { dtype: () => "f32", values });
  writeSafetensors(join(folder, "diffusion_pytorch_model.safetensors"), tensors);
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
}

/** Writes the model into a folder, which is made. */
export function writeTinyModel(folder: string, { dit = {}, poison, withoutText = false }: TinyModelOptions = {}): void {
  mkdirSync(folder, { recursive: true });
  const widths = withoutText ? { textDim: 56, pooledDim: 48 } : writeTinyTextEncoders(folder);
  const config: DitConfig = { ...tinyDit, ...widths, ...dit };
  writePart(
    join(folder, "transformer"),
    ditSpec(config),
    ditNaming("diffusers", config),
    {
      _class_name: "HunyuanVideoTransformer3DModel",
      rope_axes_dim: config.ropeAxes,
      rope_theta: config.ropeTheta,
      image_condition_type: config.i2v ?? null,
    },
    poison,
  );
  const { blockChannels, layersPerBlock, normGroups, latentChannels, scalingFactor } = tinyVae;
  writePart(
    join(folder, "vae"),
    vaeSpec(tinyVae),
    releasedNaming,
    {
      _class_name: "AutoencoderKLHunyuanVideo",
      block_out_channels: blockChannels,
      layers_per_block: layersPerBlock,
      norm_num_groups: normGroups,
      latent_channels: latentChannels,
      scaling_factor: scalingFactor,
      spatial_compression_ratio: 8,
      temporal_compression_ratio: 4,
    },
    poison,
  );
  writeFileSync(join(folder, "model_index.json"), JSON.stringify({ _class_name: "HunyuanVideoPipeline" }));
}
