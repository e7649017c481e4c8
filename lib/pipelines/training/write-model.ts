/** A whole model of parts that were trained apart, in the layout in which models are published. */
import { copyFile, readdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileError } from "../../io/failure.js";
import { defaultsFile, type ModelDefaults } from "../../models/defaults.js";
import type { ModelPaths } from "../../models/model-folder.js";
import { requireParts } from "../../models/model-folder.js";
import { saveVae } from "../../train/vae/save-vae.js";
import type { ComputeDType } from "../load-options.js";
import { LoadedModel } from "../loaded-model.js";
import { makeFolder, modelIndex, saveTextEncoders, saveTransformer, writeJson } from "./save-model.js";

export interface WriteModelOptions {
  /** A model's folder: what is not named in `parts` comes from it. */
  readonly model: string;
  /** Where parts lie that were trained since. */
  readonly parts?: ModelPaths | undefined;
  /** The type of all weights. Default "bf16". */
  readonly dtype?: ComputeDType | undefined;
  /** An identifier as on the Hugging Face hub, such as "apache-2.0"; written into the weights' files. */
  readonly licence?: string | undefined;
  /** What requests take where they say nothing; written as hunyuan.json. */
  readonly defaults?: Partial<ModelDefaults> | undefined;
  /** The text of README.md. */
  readonly card?: string | undefined;
}

/** What a tokenizer's folder may hold that is read. */
const tokenizerFile = /^(tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|vocab\.json|merges\.txt)$/;

/**
 * Writes a model's folder: diffusers' layout and names, with everything that generating needs. Files that are there under
 * the same names are overwritten, others stay.
 *
 * @returns the files
 * @throws CHECKPOINT_INVALID for a part that is missing or does not fit; MODEL_UNSUPPORTED, FILE_ERROR, OUT_OF_MEMORY
 * @example
 * const parts = { transformer: "runs/dit/transformer", vae: "runs/vae/vae" };
 * await writeModel("models/mine", { model: "start", parts, licence: "apache-2.0" });
 */
export async function writeModel(folder: string, options: WriteModelOptions): Promise<readonly string[]> {
  const { model, parts, dtype = "bf16", licence, defaults, card } = options;
  const root = resolve(folder);
  const saving = { dtype, metadata: licence === undefined ? {} : { license: licence } };
  await using loaded = await LoadedModel.load(model, { ...parts, dtype, keepTextEncoders: true });
  requireParts(loaded.parts, ["llama", "clip", "llamaTokenizer", "clipTokenizer"]);
  const { llamaTokenizer = "", clipTokenizer = "" } = loaded.parts;
  await makeFolder(root);
  const files = [
    ...(await saveTransformer(loaded.dit, root, saving)),
    ...(await saveVae(loaded.vae, join(root, "vae"), saving)),
    ...(await loaded.withText(undefined, (encoders) => saveTextEncoders(encoders, root, saving))),
    ...(await copyTokenizer(llamaTokenizer, join(root, "tokenizer"))),
    ...(await copyTokenizer(clipTokenizer, join(root, "tokenizer_2"))),
  ];
  const index = join(root, "model_index.json");
  await writeJson(index, modelIndex);
  files.push(index);
  if (defaults !== undefined) {
    const file = join(root, defaultsFile);
    await writeJson(file, { defaults });
    files.push(file);
  }
  if (card !== undefined) {
    const file = join(root, "README.md");
    await writeFile(file, card).catch((error) => Promise.reject(fileError("writeModel", file, error)));
    files.push(file);
  }
  return files;
}

/** @param from a folder, or its tokenizer.json */
async function copyTokenizer(from: string, to: string): Promise<readonly string[]> {
  const source = basename(from).endsWith(".json") ? dirname(from) : from;
  await makeFolder(to);
  try {
    const names = (await readdir(source)).filter((name) => tokenizerFile.test(name));
    for (const name of names) await copyFile(join(source, name), join(to, name));
    return names.map((name) => join(to, name));
  } catch (error) {
    throw fileError("writeModel", source, error);
  }
}
