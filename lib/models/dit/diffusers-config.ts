/** The configuration as diffusers writes it beside a transformer. */
import { type DitConfig, headDim } from "./config.js";

/**
 * config.json of `HunyuanVideoTransformer3DModel`.
 *
 * @example JSON.stringify(diffusersDitConfig(ditPresets.t2v), null, 2)
 */
export function diffusersDitConfig(config: DitConfig): { readonly [key: string]: unknown } {
  const [patchTime, patchSize] = config.patchSize;
  return {
    _class_name: "HunyuanVideoTransformer3DModel",
    attention_head_dim: headDim(config),
    guidance_embeds: config.guidanceEmbed,
    image_condition_type: config.i2v ?? null,
    in_channels: config.inChannels,
    mlp_ratio: config.mlpRatio,
    num_attention_heads: config.numHeads,
    num_layers: config.numDoubleBlocks,
    num_refiner_layers: config.refinerDepth,
    num_single_layers: config.numSingleBlocks,
    out_channels: config.outChannels,
    patch_size: patchSize,
    patch_size_t: patchTime,
    pooled_projection_dim: config.pooledDim,
    qk_norm: "rms_norm",
    rope_axes_dim: config.ropeAxes,
    rope_theta: config.ropeTheta,
    text_embed_dim: config.textDim,
  };
}
