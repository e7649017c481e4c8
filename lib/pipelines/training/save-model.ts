/** Parts of a model as folders that other tools load: diffusers' layout and names. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileError } from "../../io/failure.js";
import { diffusersDitConfig } from "../../models/dit/diffusers-config.js";
import type { HunyuanDit } from "../../models/dit/model.js";
import { ditNaming } from "../../models/dit/naming.js";
import { ditSpec } from "../../models/dit/spec.js";
import { type ClipText, clipSpec } from "../../models/text/clip.js";
import { hfClipConfig } from "../../models/text/clip-config.js";
import { type Llama, llamaSpec } from "../../models/text/llama.js";
import { hfLlamaConfig } from "../../models/text/llama-config.js";
import type { WordTokenizer } from "../../models/text/word-tokenizer.js";
import type { Params } from "../../nn/params.js";
import { saveParams } from "../../nn/save.js";
import type { Naming, ParameterSpec } from "../../nn/spec.js";
import type { FloatDType } from "../../tensor/dtype.js";

interface Part {
  readonly params: Params;
  readonly specs: readonly ParameterSpec[];
  readonly naming?: Naming;
  readonly file: "diffusion_pytorch_model.safetensors" | "model.safetensors";
  readonly config: object;
}

export interface SavePartOptions {
  /** Default: the type in which each parameter is held. */
  readonly dtype?: FloatDType | undefined;
  /** Free text for the weights' files, such as their licence. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** Writes `transformer/` into a model's folder. @returns the files @throws FILE_ERROR */
export function saveTransformer(
  { config, params }: HunyuanDit,
  folder: string,
  options: SavePartOptions = {},
): Promise<readonly string[]> {
  const part: Part = {
    ...{ params, specs: ditSpec(config), naming: ditNaming("diffusers", config) },
    file: "diffusion_pytorch_model.safetensors",
    config: diffusersDitConfig(config),
  };
  return savePart(join(folder, "transformer"), part, options);
}

/**
 * Writes `text_encoder/` and `text_encoder_2/` into a model's folder; of the language model what is held, without the
 * layers that are never computed. Their tokenizers are not written.
 */
export async function saveTextEncoders(
  { llama, clip }: { readonly llama: Llama; readonly clip: ClipText },
  folder: string,
  options: SavePartOptions = {},
): Promise<readonly string[]> {
  const held = new Set(llama.params.names());
  const file = "model.safetensors";
  const language: Part = {
    ...{ params: llama.params, file, config: hfLlamaConfig(llama.config) },
    specs: llamaSpec(llama.config).filter(({ name }) => held.has(name)),
  };
  const pooled: Part = { params: clip.params, file, config: hfClipConfig(clip.config), specs: clipSpec(clip.config) };
  return [
    ...(await savePart(join(folder, "text_encoder"), language, options)),
    ...(await savePart(join(folder, "text_encoder_2"), pooled, options)),
  ];
}

/** model_index.json: which class diffusers loads each part with. */
export const modelIndex = {
  _class_name: "HunyuanVideoPipeline",
  text_encoder: ["transformers", "LlamaModel"],
  text_encoder_2: ["transformers", "CLIPTextModel"],
  tokenizer: ["transformers", "PreTrainedTokenizerFast"],
  tokenizer_2: ["transformers", "PreTrainedTokenizerFast"],
  transformer: ["diffusers", "HunyuanVideoTransformer3DModel"],
  vae: ["diffusers", "AutoencoderKLHunyuanVideo"],
} as const;

/** Writes a tokenizer's folder. */
export async function saveTokenizer({ json, config }: WordTokenizer, folder: string): Promise<readonly string[]> {
  const files = [join(folder, "tokenizer.json"), join(folder, "tokenizer_config.json")] as const;
  await makeFolder(folder);
  await writeJson(files[0], json);
  await writeJson(files[1], config);
  return files;
}

async function savePart(
  folder: string,
  { params, specs, naming, file, config }: Part,
  { dtype, metadata }: SavePartOptions,
): Promise<readonly string[]> {
  await makeFolder(folder);
  const weights = await saveParams(params, specs, join(folder, file), { naming, metadata, dtype: () => dtype });
  const json = join(folder, "config.json");
  await writeJson(json, config);
  return [...weights, json];
}

export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((error) => Promise.reject(fileError("training", folder, error)));
}

export async function writeJson(file: string, value: object): Promise<void> {
  const text = `${JSON.stringify(value, null, 2)}\n`;
  await writeFile(file, text).catch((error) => Promise.reject(fileError("training", file, error)));
}
