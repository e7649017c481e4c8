/** What a CLIP text model is made of, from its config.json or from the shapes of its tensors. */
import { z } from "zod";
import type { Checkpoint } from "../../io/tensor-file.js";
import { HunyuanError } from "../../runtime/errors.js";
import { parseHfConfig, unsupportedText } from "./hf-config.js";

/** Plain data. */
export interface ClipConfig {
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly mlpSize: number;
  readonly vocabSize: number;
  /** Positions that were learned; no prompt may be longer. */
  readonly maxLength: number;
  readonly activation: "quick_gelu" | "gelu";
  readonly layerNormEps: number;
  /** End of text, whose state is the pooled one. */
  readonly eosTokenId: number;
}

/** The text part of openai/clip-vit-large-patch14, HunyuanVideo's second text encoder. */
export const clipLarge: ClipConfig = {
  hiddenSize: 768,
  numLayers: 12,
  numHeads: 12,
  mlpSize: 3072,
  vocabSize: 49408,
  maxLength: 77,
  activation: "quick_gelu",
  layerNormEps: 1e-5,
  eosTokenId: 49407,
};

const size = z.int().positive();

// A key that is missing has the value of Hugging Face's CLIPTextConfig.
const hfClip = z.looseObject({
  hidden_size: size.default(512),
  num_hidden_layers: size.default(12),
  num_attention_heads: size.default(8),
  intermediate_size: size.default(2048),
  vocab_size: size.default(49408),
  max_position_embeddings: size.default(77),
  hidden_act: z.string().default("quick_gelu"),
  layer_norm_eps: z.number().positive().default(1e-5),
  eos_token_id: z.int().nullish(),
});

/**
 * The configuration from Hugging Face's config.json of a CLIP text model, or of a whole CLIP (its `text_config`).
 *
 * @throws MODEL_UNSUPPORTED, CHECKPOINT_INVALID
 */
export function clipConfigOfHf(json: unknown, file = "config.json"): ClipConfig {
  const given = parseHfConfig(hfClip, json, file);
  const { hidden_act: activation, eos_token_id: eos } = given;
  if (activation !== "quick_gelu" && activation !== "gelu") {
    throw unsupportedText("hidden_act", activation, '"quick_gelu" or "gelu"');
  }
  const config: ClipConfig = {
    hiddenSize: given.hidden_size,
    numLayers: given.num_hidden_layers,
    numHeads: given.num_attention_heads,
    mlpSize: given.intermediate_size,
    vocabSize: given.vocab_size,
    maxLength: given.max_position_embeddings,
    activation,
    layerNormEps: given.layer_norm_eps,
    // Old files say 2, which is no end of text: there it is the largest id, which the vocabulary ends with.
    eosTokenId: eos === 2 || eos === undefined || eos === null ? given.vocab_size - 1 : eos,
  };
  if (config.hiddenSize % config.numHeads !== 0) {
    throw unsupportedText("num_attention_heads", config.numHeads, `a divisor of hidden_size ${config.hiddenSize}`);
  }
  return config;
}

/** The same as Hugging Face writes it: config.json of a `CLIPTextModel`. */
export function hfClipConfig(config: ClipConfig): { readonly [key: string]: unknown } {
  return {
    architectures: ["CLIPTextModel"],
    model_type: "clip_text_model",
    eos_token_id: config.eosTokenId,
    hidden_act: config.activation,
    hidden_size: config.hiddenSize,
    intermediate_size: config.mlpSize,
    layer_norm_eps: config.layerNormEps,
    max_position_embeddings: config.maxLength,
    num_attention_heads: config.numHeads,
    num_hidden_layers: config.numLayers,
    vocab_size: config.vocabSize,
  };
}

/**
 * The configuration of a file that has no config.json beside it (ComfyUI's clip_l), from its tensors' shapes; heads are 64
 * wide as in {@link clipLarge}.
 *
 * @param prefix what stands before "embeddings.token_embedding.weight" in the file
 * @throws CHECKPOINT_INVALID when tensors are missing or no CLIP's
 */
export function clipConfigOfShapes({ source, entries }: Checkpoint, prefix: string): ClipConfig {
  const shapeOf = (name: string) => {
    const shape = entries.get(prefix + name)?.shape;
    if (shape?.length === 2) return shape;
    const message = `${source}: ${prefix}${name} is ${shape === undefined ? "missing" : "no matrix"}, expected a CLIP's`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source, key: prefix + name });
  };
  const [vocabSize = 0, hiddenSize = 0] = shapeOf("embeddings.token_embedding.weight");
  const [maxLength = 0] = shapeOf("embeddings.position_embedding.weight");
  const [mlpSize = 0] = shapeOf("encoder.layers.0.mlp.fc1.weight");
  if (hiddenSize % 64 !== 0) throw unsupportedText("hidden_size", hiddenSize, "a multiple of 64, or a config.json");
  let numLayers = 0;
  while (entries.has(`${prefix}encoder.layers.${numLayers}.mlp.fc1.weight`)) numLayers++;
  const eosTokenId = vocabSize - 1;
  return { ...clipLarge, hiddenSize, numLayers, numHeads: hiddenSize / 64, mlpSize, vocabSize, maxLength, eosTokenId };
}
