/** The configuration as `config.json` of the released checkpoint, of diffusers and of the conformance cases writes it. */
import { checkVaeConfig, unsupported, type VaeConfig, vaePresets } from "./config.js";

const released = vaePresets["884-16c-hy"];

/** What this library knows one value of; a key that is missing has it. */
const fixed: { readonly [key: string]: readonly unknown[] } = {
  _class_name: ["AutoencoderKLCausal3D", "AutoencoderKLHunyuanVideo"],
  act_fn: ["silu"],
};
const blockTypes: { readonly [key: string]: RegExp } = {
  down_block_types: /^(DownEncoderBlockCausal3D|HunyuanVideoDownBlock3D)$/,
  up_block_types: /^(UpDecoderBlockCausal3D|HunyuanVideoUpBlock3D)$/,
};

/**
 * An autoencoder's configuration from the names of a config.json, the released checkpoint's or diffusers'. Keys that are
 * missing have the released model's values.
 *
 * @throws MODEL_UNSUPPORTED for values that this library does not run, and for the configuration of another model
 * @example vaeConfigOfReference(JSON.parse(await readFile("vae/config.json", "utf8")))
 */
export function vaeConfigOfReference(json: unknown): VaeConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw unsupported("config", json, "an object");
  const given = new Map<string, unknown>(Object.entries(json).filter(([, value]) => value !== undefined));
  for (const [key, values] of Object.entries(fixed)) {
    if (given.has(key) && !values.includes(given.get(key))) throw unsupported(key, given.get(key), values.join(" or "));
  }
  for (const [key, pattern] of Object.entries(blockTypes)) {
    const types = given.get(key) ?? [];
    if (!Array.isArray(types) || !types.every((type) => pattern.test(String(type)))) {
      throw unsupported(key, types, "causal blocks only");
    }
  }
  const config: VaeConfig = {
    inChannels: number(given, "in_channels", released.inChannels),
    outChannels: number(given, "out_channels", released.outChannels),
    latentChannels: number(given, "latent_channels", released.latentChannels),
    blockChannels: numbers(given, "block_out_channels", released.blockChannels),
    layersPerBlock: number(given, "layers_per_block", released.layersPerBlock),
    normGroups: number(given, "norm_num_groups", released.normGroups),
    midAttention: flag(given, "mid_block_add_attention", released.midAttention),
    spatialRatio: number(given, "spatial_compression_ratio", released.spatialRatio),
    // The released file's name, then diffusers'.
    temporalRatio: number(
      given,
      given.has("time_compression_ratio") ? "time_compression_ratio" : "temporal_compression_ratio",
      released.temporalRatio,
    ),
    scalingFactor: number(given, "scaling_factor", released.scalingFactor),
  };
  checkVaeConfig(config);
  return config;
}

type Given = ReadonlyMap<string, unknown>;

function number(given: Given, key: string, otherwise: number): number {
  const value = given.get(key) ?? otherwise;
  if (typeof value !== "number") throw unsupported(key, value, "a number");
  return value;
}

function numbers(given: Given, key: string, otherwise: readonly number[]): readonly number[] {
  const value = given.get(key) ?? otherwise;
  if (Array.isArray(value) && value.every((n): n is number => typeof n === "number")) return value;
  throw unsupported(key, value, "a list of numbers");
}

function flag(given: Given, key: string, otherwise: boolean): boolean {
  const value = given.get(key) ?? otherwise;
  if (typeof value !== "boolean") throw unsupported(key, value, "true or false");
  return value;
}
