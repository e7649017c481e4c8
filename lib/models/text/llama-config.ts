/** What a Llama language model is made of, from its config.json or from the shapes of its tensors. */
import { z } from "zod";
import type { Checkpoint } from "../../io/tensor-file.js";
import { HunyuanError } from "../../runtime/errors.js";
import { sizeOf } from "../../tensor/shape.js";
import { parseHfConfig, unsupportedText } from "./hf-config.js";

/** Plain data. */
export interface LlamaConfig {
  /** Width of the token stream. */
  readonly hiddenSize: number;
  readonly numLayers: number;
  /** Query heads; a multiple of numKvHeads. */
  readonly numHeads: number;
  /** Heads of keys and values: fewer than query heads with grouped-query attention. */
  readonly numKvHeads: number;
  /** Width of a head, even. */
  readonly headDim: number;
  /** Width of the gated MLP. */
  readonly mlpSize: number;
  readonly vocabSize: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
}

/** The language part of xtuner/llava-llama-3-8b-v1_1-transformers, HunyuanVideo's text encoder. */
export const llavaLlama3: LlamaConfig = {
  hiddenSize: 4096,
  numLayers: 32,
  numHeads: 32,
  numKvHeads: 8,
  headDim: 128,
  mlpSize: 14336,
  vocabSize: 128320,
  rmsNormEps: 1e-5,
  ropeTheta: 500_000,
};

/** Hidden states that HunyuanVideo leaves out at the end: it reads hidden_states[−(2 + 1)]. */
export const hiddenStateSkipLayer = 2;

const size = z.int().positive();
const ropeKind = z.looseObject({ rope_type: z.string().optional(), type: z.string().optional() });

// A key that is missing has the value of Hugging Face's LlamaConfig: published files leave such keys out.
const hfLlama = z.looseObject({
  hidden_size: size.default(4096),
  num_hidden_layers: size.default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  intermediate_size: size.default(11008),
  vocab_size: size.default(32000),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().nullish(),
  rope_parameters: ropeKind.extend({ rope_theta: z.number().positive().optional() }).nullish(),
  rope_scaling: ropeKind.nullish(),
  hidden_act: z.string().default("silu"),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
});

/**
 * The configuration from Hugging Face's config.json of a Llama, or of a LLaVA around one (its `text_config`).
 *
 * @throws MODEL_UNSUPPORTED for values that this library does not run: scaled RoPE, biases, another activation
 * @throws CHECKPOINT_INVALID for what is no such file
 * @example llamaConfigOfHf(JSON.parse(await readFile("text_encoder/config.json", "utf8")))
 */
export function llamaConfigOfHf(json: unknown, file = "config.json"): LlamaConfig {
  const given = parseHfConfig(hfLlama, json, file);
  const { rope_parameters: rope, rope_scaling: scaling } = given;
  const kind = rope?.rope_type ?? scaling?.rope_type ?? scaling?.type ?? "default";
  if (kind !== "default") throw unsupportedText("rope_type", kind, '"default"');
  if (given.hidden_act !== "silu") throw unsupportedText("hidden_act", given.hidden_act, '"silu"');
  if (given.attention_bias || given.mlp_bias) throw unsupportedText("attention_bias, mlp_bias", true, "false");
  const config: LlamaConfig = {
    hiddenSize: given.hidden_size,
    numLayers: given.num_hidden_layers,
    numHeads: given.num_attention_heads,
    numKvHeads: given.num_key_value_heads ?? given.num_attention_heads,
    headDim: given.head_dim ?? given.hidden_size / given.num_attention_heads,
    mlpSize: given.intermediate_size,
    vocabSize: given.vocab_size,
    rmsNormEps: given.rms_norm_eps,
    ropeTheta: given.rope_theta ?? rope?.rope_theta ?? 10_000,
  };
  checkLlamaConfig(config);
  return config;
}

/** The same as Hugging Face writes it: config.json of a bare `LlamaModel`. */
export function hfLlamaConfig(config: LlamaConfig): { readonly [key: string]: unknown } {
  return {
    architectures: ["LlamaModel"],
    model_type: "llama",
    attention_bias: false,
    head_dim: config.headDim,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    intermediate_size: config.mlpSize,
    mlp_bias: false,
    num_attention_heads: config.numHeads,
    num_hidden_layers: config.numLayers,
    num_key_value_heads: config.numKvHeads,
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: null,
    rope_theta: config.ropeTheta,
    vocab_size: config.vocabSize,
  };
}

function checkLlamaConfig({ headDim, numHeads, numKvHeads }: LlamaConfig): void {
  if (!Number.isSafeInteger(headDim) || headDim % 2 !== 0) throw unsupportedText("head_dim", headDim, "an even number");
  if (numHeads % numKvHeads !== 0) {
    throw unsupportedText("num_key_value_heads", numKvHeads, `a divisor of ${numHeads} heads`);
  }
}

/**
 * The configuration of a file that has no config.json beside it (ComfyUI's), from its tensors' shapes. What shapes do not
 * say is as in {@link llavaLlama3}: heads of 128, theta 500000, eps 1e-5.
 *
 * @param prefix what stands before "embed_tokens.weight" in the file
 * @throws CHECKPOINT_INVALID when tensors are missing or no Llama's
 */
export function llamaConfigOfShapes({ source, entries }: Checkpoint, prefix: string): LlamaConfig {
  const shapeOf = (name: string) => {
    const shape = entries.get(prefix + name)?.shape;
    if (shape?.length === 2 && sizeOf(shape) > 0) return shape;
    const message = `${source}: ${prefix}${name} is ${shape === undefined ? "missing" : "no matrix"}, expected a Llama's`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source, key: prefix + name });
  };
  const [vocabSize = 0, hiddenSize = 0] = shapeOf("embed_tokens.weight");
  const [queries = 0] = shapeOf("layers.0.self_attn.q_proj.weight");
  const [keys = 0] = shapeOf("layers.0.self_attn.k_proj.weight");
  const [mlpSize = 0] = shapeOf("layers.0.mlp.gate_proj.weight");
  const { headDim, rmsNormEps, ropeTheta } = llavaLlama3;
  if (queries % headDim !== 0 || keys % headDim !== 0) {
    throw unsupportedText("head_dim", `not a divisor of ${queries} and ${keys}`, `${headDim}, or a config.json`);
  }
  let numLayers = 0;
  while (entries.has(`${prefix}layers.${numLayers}.self_attn.q_proj.weight`)) numLayers++;
  const [numHeads, numKvHeads] = [queries / headDim, keys / headDim];
  const config = { hiddenSize, numLayers, numHeads, numKvHeads, headDim, mlpSize, vocabSize, rmsNormEps, ropeTheta };
  checkLlamaConfig(config);
  return config;
}
