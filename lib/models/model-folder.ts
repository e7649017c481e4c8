/**
 * Where the parts of a whole model lie: in the layout of Tencent's release, of diffusers, or as ComfyUI's single files. Names
 * decide for the first two, keys for the third; nothing but headers is read.
 */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { openCheckpoint } from "../io/checkpoint.js";
import { fileError } from "../io/failure.js";
import { HunyuanError, isHunyuanError } from "../runtime/errors.js";
import { familyOf, type ModelPart } from "./families.js";

/** What a pipeline is made of. A checkpoint's path is a file, an index of shards or a folder with one of these. */
export interface ModelPaths {
  readonly transformer?: string | undefined;
  readonly vae?: string | undefined;
  /** The language model. */
  readonly llama?: string | undefined;
  readonly clip?: string | undefined;
  /** Folder with tokenizer.json of the language model, or the file. */
  readonly llamaTokenizer?: string | undefined;
  readonly clipTokenizer?: string | undefined;
  /** scheduler_config.json; only diffusers' layout has one. */
  readonly scheduler?: string | undefined;
}

export type ModelPathName = keyof ModelPaths;

export type ModelLayout = "tencent" | "diffusers" | "comfyui";

export interface ModelParts extends ModelPaths {
  /** What was asked for, absolute. */
  readonly root: string;
  readonly layout: ModelLayout;
  /** Parts for which there are several files, none of them more likely than the others. */
  readonly ambiguous: ReadonlyMap<ModelPathName, readonly string[]>;
}

const pathNames = ["transformer", "vae", "llama", "clip", "llamaTokenizer", "clipTokenizer", "scheduler"] as const;

/**
 * The parts of the model in a folder, or around a transformer's file. Parts that are not there are undefined.
 *
 * @param overrides paths to take in place of what would be found
 * @throws FILE_ERROR when there is no such path; CHECKPOINT_INVALID when nothing there is a part of a model, or a folder
 * holds several models
 * @example const { transformer, vae } = await findModelParts("./HunyuanVideo");
 */
export async function findModelParts(path: string, overrides: ModelPaths = {}): Promise<ModelParts> {
  const root = resolve(path);
  const found = await stat(root).catch((error) => Promise.reject(fileError("findModelParts", root, error)));
  const parts = found.isDirectory() ? await partsOfFolder(root) : await partsAroundFile(root);
  const given = Object.fromEntries(
    pathNames.flatMap((name) => (overrides[name] === undefined ? [] : [[name, resolve(overrides[name])]])),
  );
  const merged: ModelParts = { ...parts, ...given };
  if (pathNames.some((name) => merged[name] !== undefined) || parts.ambiguous.size > 0) return merged;
  const message =
    `${root}: holds no part of a HunyuanVideo; looked for hunyuan-video-*/transformers (Tencent's layout), transformer/ ` +
    "and vae/ (diffusers'), and single files (ComfyUI's)";
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file: root });
}

/**
 * Throws unless these parts are there.
 *
 * @throws CHECKPOINT_INVALID naming the parts that are missing, or the files among which to choose
 * @example requireParts(await findModelParts(path), ["transformer", "vae"])
 */
export function requireParts(parts: ModelParts, names: readonly ModelPathName[]): void {
  const missing = names.filter((name) => parts[name] === undefined);
  const [first] = missing;
  if (first === undefined) return;
  const several = parts.ambiguous.get(first);
  const what =
    several === undefined
      ? `the model lacks ${missing.join(", ")}; give the path, as { ${first}: "…" }`
      : `several files could be the ${first}: ${several.join(", ")}; name one, as { ${first}: "…" }`;
  throw new HunyuanError("CHECKPOINT_INVALID", `${parts.root}: ${what}`, { file: parts.root, keys: missing });
}

async function partsOfFolder(root: string): Promise<ModelParts> {
  const names = await namesIn(root);
  if (names.has("transformer") || names.has("model_index.json")) return diffusersParts(root);
  if (names.has("transformers")) return tencentParts(root, root, dirname(root));
  const inner = [...names].filter((name) => /^hunyuan-?video-/i.test(name)).sort();
  const models: string[] = [];
  for (const name of inner) if ((await namesIn(join(root, name))).has("transformers")) models.push(name);
  const [model] = models;
  if (model === undefined) return comfyParts(root);
  if (models.length === 1) return tencentParts(root, join(root, model), root);
  const message = `${root}: holds several models (${models.join(", ")}); name one of these folders`;
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file: root, keys: models });
}

/** No names for what is no folder. */
async function namesIn(folder: string): Promise<ReadonlySet<string>> {
  return new Set(await readdir(folder).catch(() => []));
}

/** The first of some paths that exists. */
async function firstOf(...paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if ((await stat(path).catch(() => undefined)) !== undefined) return path;
  return undefined;
}

/** A folder that says how to make tokens: its own or, with CLIP's older files, a vocabulary. */
async function tokenizerIn(...folders: readonly (string | undefined)[]): Promise<string | undefined> {
  for (const folder of folders) {
    if (folder === undefined) continue;
    const names = await namesIn(folder);
    if (names.has("tokenizer.json") || (names.has("vocab.json") && names.has("merges.txt"))) return folder;
  }
  return undefined;
}

async function diffusersParts(root: string): Promise<ModelParts> {
  const at = (name: string) => join(root, name);
  const [llama, clip] = [await firstOf(at("text_encoder")), await firstOf(at("text_encoder_2"))];
  return {
    root,
    layout: "diffusers",
    transformer: await firstOf(at("transformer")),
    vae: await firstOf(at("vae")),
    llama,
    clip,
    llamaTokenizer: await tokenizerIn(at("tokenizer"), llama),
    clipTokenizer: await tokenizerIn(at("tokenizer_2"), clip),
    scheduler: await firstOf(join(root, "scheduler", "scheduler_config.json")),
    ambiguous: new Map(),
  };
}

/** @param model the folder with transformers/ and vae/ @param shared the folder with the text encoders */
async function tencentParts(root: string, model: string, shared: string): Promise<ModelParts> {
  const i2v = ["text_encoder_i2v", "text_encoder"];
  const languageModels = /i2v/i.test(basename(model)) ? i2v : [...i2v].reverse();
  const llama = await firstOf(
    ...languageModels.map((name) => join(shared, name)),
    join(shared, "llava-llama-3-8b-v1_1-transformers"),
  );
  const clip = await firstOf(join(shared, "text_encoder_2"), join(shared, "clip-vit-large-patch14"));
  const weights = join(model, "transformers");
  return {
    root,
    layout: "tencent",
    // Named, since fp8 weights and their map are two checkpoints to whoever looks into the folder.
    transformer: await firstOf(
      join(weights, "mp_rank_00_model_states.pt"),
      join(weights, "mp_rank_00_model_states_fp8.pt"),
      weights,
    ),
    vae: await firstOf(join(model, "vae")),
    llama,
    clip,
    llamaTokenizer: await tokenizerIn(llama),
    clipTokenizer: await tokenizerIn(clip),
    ambiguous: new Map(),
  };
}

// --- ComfyUI's ------------------------------------------------------------------------------------------------------

/** Folders of ComfyUI's models, and of its repackaged repositories. */
const comfyFolders = ["", "diffusion_models", "unet", "vae", "text_encoders", "clip"] as const;
const weightFiles = /\.(safetensors|sft|pt|pth)$/;
const shard = /-\d{5}-of-\d{5}\./;
/** Files whose headers are read; a folder may hold a whole collection. */
const mostFiles = 256;

async function partsAroundFile(file: string): Promise<ModelParts> {
  const part = await partOf(file);
  if (part === undefined || part === "lora") {
    const { entries } = await openCheckpoint(file);
    const name = familyOf(entries.keys())?.name ?? "a model that is not known here";
    throw new HunyuanError("CHECKPOINT_INVALID", `${file}: is no part of a HunyuanVideo, but: ${name}`, { file });
  }
  const folder = dirname(file);
  const inside = (comfyFolders as readonly string[]).includes(basename(folder));
  const around = await comfyParts(inside ? dirname(folder) : folder);
  const ambiguous = new Map(around.ambiguous);
  ambiguous.delete(part);
  return { ...around, root: file, [part]: file, ambiguous };
}

async function comfyParts(root: string): Promise<ModelParts> {
  const base = (await namesIn(root)).has("split_files") ? join(root, "split_files") : root;
  const found = new Map<ModelPart, string[]>();
  let looked = 0;
  for (const folder of comfyFolders) {
    for (const name of [...(await namesIn(join(base, folder)))].sort()) {
      if (!weightFiles.test(name) || shard.test(name) || looked++ >= mostFiles) continue;
      const file = join(base, folder, name);
      const part = await partOf(file);
      if (part !== undefined) found.set(part, [...(found.get(part) ?? []), file]);
    }
  }
  const ambiguous = new Map<ModelPathName, readonly string[]>();
  const only = (part: Exclude<ModelPart, "lora">): string | undefined => {
    const files = found.get(part) ?? [];
    if (files.length > 1) ambiguous.set(part, files);
    return files.length === 1 ? files[0] : undefined;
  };
  const tokenizers = ["tokenizer", "text_encoder", "text_encoders", ""].map((name) => join(base, name));
  return {
    root,
    layout: "comfyui",
    transformer: only("transformer"),
    vae: only("vae"),
    llama: only("llama"),
    clip: only("clip"),
    llamaTokenizer: await tokenizerIn(...tokenizers),
    clipTokenizer: await tokenizerIn(join(base, "tokenizer_2"), join(base, "text_encoder_2")),
    ambiguous,
  };
}

/** undefined also for files that cannot be read: a folder of many models may hold broken ones. */
async function partOf(file: string): Promise<ModelPart | undefined> {
  try {
    return familyOf((await openCheckpoint(file)).entries.keys())?.part;
  } catch (error) {
    if (isHunyuanError(error)) return undefined;
    throw error;
  }
}

/** Whether a path is a folder that is laid out as a whole model, not one with a single checkpoint. */
export async function isModelFolder(path: string): Promise<boolean> {
  const names = await namesIn(resolve(path));
  const marks = ["model_index.json", "transformer", "transformers", "split_files", "diffusion_models", "unet"];
  if (marks.some((name) => names.has(name)) || [...names].some((name) => /^hunyuan-?video-/i.test(name))) return true;
  const loose = [...names].filter((name) => /\.(safetensors|sft)$/.test(name) && !shard.test(name));
  return loose.length > 1;
}
