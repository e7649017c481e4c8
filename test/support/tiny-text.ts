/** Text encoders of a few hundred kilobytes with their tokenizers, in diffusers' folder layout. */
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { clipSpec } from "../../lib/models/text/clip.js";
import { type ClipConfig, clipLarge, hfClipConfig } from "../../lib/models/text/clip-config.js";
import { llamaSpec } from "../../lib/models/text/llama.js";
import { hfLlamaConfig, type LlamaConfig, llavaLlama3 } from "../../lib/models/text/llama-config.js";
import { type ParameterSpec, releasedNaming } from "../../lib/nn/spec.js";
import { sizeOf } from "../../lib/tensor/shape.js";
import { writeSafetensors } from "./checkpoint-files.js";
import { randomNumbers, tensorsIn, type Values } from "./dit-files.js";

/** Tokenizers of few words whose ids were checked against Hugging Face's own; templates come to the trained lengths. */
export const tokenizerFixtures = join(dirname(dirname(fileURLToPath(import.meta.url))), "fixtures", "tokenizers");

/** Fits the tokenizer in fixtures/tokenizers/llama. */
export const tinyLlama: LlamaConfig = {
  ...llavaLlama3,
  hiddenSize: 56,
  numLayers: 4,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 14,
  mlpSize: 96,
  vocabSize: 320,
};

/** Fits the tokenizer in fixtures/tokenizers/clip. */
export const tinyClip: ClipConfig = {
  ...clipLarge,
  hiddenSize: 48,
  numLayers: 2,
  numHeads: 4,
  mlpSize: 96,
  vocabSize: 523,
  eosTokenId: 522,
};

/** Weights at which every layer has a say and nothing grows. */
export function textValues(specs: readonly ParameterSpec[], seed: number): Values {
  return new Map(
    specs.map(({ name, shape }, i) => {
      const isTable = /embed/.test(name);
      const isNorm = /norm\d?\.weight$/.test(name);
      const size = isTable ? 1 : 1 / 4;
      return [name, randomNumbers(sizeOf(shape), seed + i).map((x) => (isNorm ? 1 + x / 8 : x * size))];
    }),
  );
}

function writeEncoder(folder: string, specs: readonly ParameterSpec[], seed: number, config: unknown): void {
  mkdirSync(folder, { recursive: true });
  const tensors = tensorsIn(releasedNaming, specs, { dtype: () => "f32", values: textValues(specs, seed) });
  writeSafetensors(join(folder, "model.safetensors"), tensors);
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
}

function copyTokenizer(name: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(join(tokenizerFixtures, name))) {
    copyFileSync(join(tokenizerFixtures, name, file), join(folder, file));
  }
}

/**
 * Writes text_encoder, text_encoder_2, tokenizer and tokenizer_2 into a model's folder. Always the same weights.
 *
 * @returns the widths that the model's transformer must have
 */
export function writeTinyTextEncoders(folder: string): { readonly textDim: number; readonly pooledDim: number } {
  writeEncoder(join(folder, "text_encoder"), llamaSpec(tinyLlama), 1000, hfLlamaConfig(tinyLlama));
  writeEncoder(join(folder, "text_encoder_2"), clipSpec(tinyClip), 2000, hfClipConfig(tinyClip));
  copyTokenizer("llama", join(folder, "tokenizer"));
  copyTokenizer("clip", join(folder, "tokenizer_2"));
  return { textDim: tinyLlama.hiddenSize, pooledDim: tinyClip.hiddenSize };
}
