/** The configuration as the original implementation writes it. */
import { checkDitConfig, type DitConfig, unsupported } from "./config.js";

/** What this library knows one value of; a key that is missing has it. */
const fixed: { readonly [key: string]: unknown } = {
  qkv_bias: true,
  qk_norm: true,
  qk_norm_type: "rms",
  mlp_act_type: "gelu_tanh",
  text_projection: "single_refiner",
};

/** What the released models have where the key is missing; null: the key must be there. */
const numbers = {
  hidden_size: null,
  heads_num: null,
  mm_double_blocks_depth: null,
  mm_single_blocks_depth: null,
  mlp_width_ratio: 4,
  in_channels: 16,
  text_states_dim: 4096,
  text_states_dim_2: 768,
  rope_theta: 256,
  refiner_depth: 2,
} as const;

/**
 * A transformer's configuration from the original's names (`hidden_size`, `heads_num`, …), as in its source and in the
 * conformance cases. Keys that are missing have the released models' values, but for sizes and depths, which must be there.
 *
 * @throws MODEL_UNSUPPORTED for values that this library does not run
 * @example ditConfigOfReference(JSON.parse(text).config)
 */
export function ditConfigOfReference(json: unknown): DitConfig {
  if (typeof json !== "object" || json === null) throw unsupported("config", json, "an object");
  const given = new Map<string, unknown>(Object.entries(json).filter(([, value]) => value !== undefined));
  for (const [key, value] of Object.entries(fixed)) {
    if (given.has(key) && given.get(key) !== value) throw unsupported(key, given.get(key), String(value));
  }
  const number = (key: keyof typeof numbers): number => {
    const value = given.get(key) ?? numbers[key];
    if (typeof value !== "number") throw unsupported(key, value, "a number");
    return value;
  };
  const triple = (key: string, otherwise: readonly [number, number, number]) => {
    const [a, b, c, ...more] = wholes(key, given.get(key) ?? otherwise);
    if (a === undefined || b === undefined || c === undefined || more.length > 0) {
      throw unsupported(key, given.get(key), "three whole numbers");
    }
    return [a, b, c] as const;
  };
  const i2v = imageCondition(given.get("i2v_condition_type") ?? undefined);
  const inChannels = number("in_channels");
  const outChannels = given.get("out_channels") ?? (i2v === "latent_concat" ? (inChannels - 1) / 2 : inChannels);
  if (typeof outChannels !== "number") throw unsupported("out_channels", outChannels, "a number");
  const config = {
    hiddenSize: number("hidden_size"),
    numHeads: number("heads_num"),
    ropeAxes: triple("rope_dim_list", [16, 56, 56]),
    ropeTheta: number("rope_theta"),
    numDoubleBlocks: number("mm_double_blocks_depth"),
    numSingleBlocks: number("mm_single_blocks_depth"),
    mlpRatio: number("mlp_width_ratio"),
    inChannels,
    outChannels,
    patchSize: triple("patch_size", [1, 2, 2]),
    textDim: number("text_states_dim"),
    pooledDim: number("text_states_dim_2"),
    // The original's own default is false, but the cases that leave it out have the released model's weights.
    guidanceEmbed: flag("guidance_embed", given.get("guidance_embed") ?? true),
    refinerDepth: number("refiner_depth"),
    i2v,
  };
  checkDitConfig(config);
  return config;
}

function wholes(key: string, value: unknown): readonly number[] {
  if (Array.isArray(value) && value.every((n): n is number => Number.isSafeInteger(n))) return value;
  throw unsupported(key, value, "whole numbers");
}

function flag(key: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw unsupported(key, value, "true or false");
}

function imageCondition(value: unknown): DitConfig["i2v"] {
  if (value === undefined || value === "token_replace" || value === "latent_concat") return value;
  throw unsupported("i2v_condition_type", value, '"token_replace", "latent_concat" or null');
}
