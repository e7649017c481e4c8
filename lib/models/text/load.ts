/** Text encoders from checkpoints: what a file holds is found by its keys, whoever wrote it. */
import { dirname, join } from "node:path";
import { openCheckpoint } from "../../io/checkpoint.js";
import { findJsonFile } from "../../io/json-file.js";
import type { Checkpoint } from "../../io/tensor-file.js";
import { type LoadProgress, loadParams } from "../../nn/load.js";
import type { Params } from "../../nn/params.js";
import type { Naming, ParameterSpec } from "../../nn/spec.js";
import type { Device } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { DType, FloatDType } from "../../tensor/dtype.js";
import { ClipText, clipSpec } from "./clip.js";
import { type ClipConfig, clipConfigOfHf, clipConfigOfShapes } from "./clip-config.js";
import { unsupportedText } from "./hf-config.js";
import { Llama, layersForSkip, llamaSpec } from "./llama.js";
import { hiddenStateSkipLayer, type LlamaConfig, llamaConfigOfHf, llamaConfigOfShapes } from "./llama-config.js";

/** Which text encoder a checkpoint holds, and how it spells its parameters. */
export interface DetectedText<C> {
  readonly config: C;
  readonly specs: readonly ParameterSpec[];
  readonly naming: Naming;
  /** For what must not be converted: weights in f8e4m3 stay so, and their scales are f32. */
  readonly keep: (spec: ParameterSpec) => DType | undefined;
}

export interface DetectOptions {
  /** Contents of the config.json beside the checkpoint; without it shapes say what there is. */
  readonly config?: unknown;
}

export interface DetectLlamaOptions extends DetectOptions {
  /** Layers at the end that are never computed and so not loaded. Default 2, HunyuanVideo's. */
  readonly skip?: number;
}

/** Name of the factor of an f8e4m3 weight in `dense`, and in files. */
const scaleName = "weight_scale";
const scaleNames = ["weight_scale", "scale_weight"] as const;

/**
 * A Llama in a checkpoint: bare (diffusers), under `model.` (a causal LM, ComfyUI's llava_llama3), under
 * `language_model.model.` or `model.language_model.` (LLaVA), with weights in any float type; in f8e4m3 with or without
 * scales (ComfyUI's `_fp8_scaled`).
 *
 * @throws CHECKPOINT_INVALID when there is none, or config and shapes disagree; MODEL_UNSUPPORTED
 */
export function detectLlama(checkpoint: Checkpoint, options: DetectLlamaOptions = {}): DetectedText<LlamaConfig> {
  const anchor = "embed_tokens.weight";
  const prefix = prefixOf(checkpoint, anchor, "a Llama");
  const config =
    options.config === undefined
      ? llamaConfigOfShapes(checkpoint, prefix)
      : llamaConfigOfHf(options.config, checkpoint.source);
  const specs = llamaSpec(config, { numLayers: layersForSkip(config, options.skip ?? hiddenStateSkipLayer) });
  if (scaleKey(checkpoint, `${prefix}embed_tokens.`) !== undefined) {
    throw unsupportedText(`${prefix}${anchor}`, "f8e4m3 with a scale", "an embedding table in f16, bf16 or f32");
  }
  return withScales(checkpoint, prefix, config, specs);
}

/**
 * A CLIP text model in a checkpoint: under `text_model.` (Hugging Face, ComfyUI's clip_l, a whole CLIP), also below
 * `transformer.` or `text_encoders.clip_l.transformer.`.
 *
 * @throws CHECKPOINT_INVALID, MODEL_UNSUPPORTED
 */
export function detectClip(checkpoint: Checkpoint, options: DetectOptions = {}): DetectedText<ClipConfig> {
  const prefix = prefixOf(checkpoint, "embeddings.token_embedding.weight", "a CLIP text model");
  const config =
    options.config === undefined
      ? clipConfigOfShapes(checkpoint, prefix)
      : clipConfigOfHf(options.config, checkpoint.source);
  // Our names begin with text_model.; what the file has there is the prefix.
  return withScales(checkpoint, prefix, config, clipSpec(config), "text_model.");
}

/** What stands before the key by which a model is known. */
function prefixOf({ source, entries }: Checkpoint, anchor: string, what: string): string {
  for (const key of entries.keys()) {
    if (key === anchor || key.endsWith(`.${anchor}`)) return key.slice(0, -anchor.length);
  }
  const keys = [...entries.keys()].slice(0, 3).join(", ");
  const message = `${source}: holds no ${anchor}, expected ${what}; it has ${entries.size} tensors, such as ${keys}`;
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source, key: anchor });
}

function withScales<C>(
  checkpoint: Checkpoint,
  prefix: string,
  config: C,
  specs: readonly ParameterSpec[],
  ownPrefix = "",
): DetectedText<C> {
  const keys = new Map(specs.map(({ name }) => [name, prefix + name.slice(ownPrefix.length)]));
  const scaled: ParameterSpec[] = [];
  const narrow = new Set<string>();
  for (const spec of specs) {
    const key = keys.get(spec.name) ?? spec.name;
    const entry = checkpoint.entries.get(key);
    // Tables and norms have no kernel for f8e4m3; they are few and are widened.
    if (entry?.dtype !== "f8e4m3" || spec.shape.length !== 2 || /embed/.test(spec.name)) continue;
    narrow.add(spec.name);
    const scale = scaleKey(checkpoint, key.slice(0, -"weight".length));
    const shape = scale === undefined ? undefined : checkpoint.entries.get(scale)?.shape;
    if (scale === undefined || shape === undefined) continue;
    const name = `${spec.name.slice(0, -"weight".length)}${scaleName}`;
    keys.set(name, scale);
    scaled.push({ name, shape, layout: "same" });
  }
  const scales = new Set(scaled.map(({ name }) => name));
  return {
    config,
    specs: [...specs, ...scaled],
    naming: ({ name, shape }) => [{ key: keys.get(name) ?? name, rows: shape[0] ?? 1 }],
    keep: ({ name }) => (scales.has(name) ? "f32" : narrow.has(name) ? "f8e4m3" : undefined),
  };
}

function scaleKey({ entries }: Checkpoint, layer: string): string | undefined {
  return scaleNames.map((name) => layer + name).find((key) => entries.has(key));
}

export interface LoadTextOptions {
  /** What parameters are held in and states computed in. Default "bf16". */
  readonly dtype?: FloatDType;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** Turns a detected encoder into parameters; in place of {@link loadParams}, say to stream them. */
export type TextParamsLoader = (
  device: Device,
  checkpoint: Checkpoint,
  detected: DetectedText<unknown>,
  options: LoadTextOptions & { readonly dtype: FloatDType },
) => Promise<Params>;

const resident: TextParamsLoader = (device, checkpoint, { specs, naming, keep }, { dtype, signal, onProgress }) =>
  loadParams(device, checkpoint, specs, naming, { dtype, keep, signal, onProgress });

/** A text encoder's checkpoint and what it holds; nothing of it is loaded. */
export interface OpenedText<C> extends DetectedText<C> {
  readonly checkpoint: Checkpoint;
}

/**
 * Finds the language model of a file or folder, with the config.json beside it where there is one.
 *
 * @throws CHECKPOINT_INVALID, MODEL_UNSUPPORTED, FILE_ERROR
 * @example (await openLlama("./HunyuanVideo/text_encoder")).config.numLayers // 32
 */
export async function openLlama(
  path: string,
  options: Pick<DetectLlamaOptions, "skip"> = {},
): Promise<OpenedText<LlamaConfig>> {
  const checkpoint = await openCheckpoint(path);
  const config = await configBeside(checkpoint, ["llama", "llava"]);
  return { checkpoint, ...detectLlama(checkpoint, { ...options, config }) };
}

/** Finds the CLIP text model of a file or folder; as {@link openLlama}. */
export async function openClip(path: string): Promise<OpenedText<ClipConfig>> {
  const checkpoint = await openCheckpoint(path);
  const config = await configBeside(checkpoint, ["clip", "clip_text_model"]);
  return { checkpoint, ...detectClip(checkpoint, { config }) };
}

/**
 * The language model of a file or folder, without the layers that HunyuanVideo does not read.
 *
 * @throws CHECKPOINT_INVALID, MODEL_UNSUPPORTED, FILE_ERROR, OUT_OF_MEMORY, ABORTED
 * @example using llama = await loadLlama("./HunyuanVideo/text_encoder", device, { dtype: "bf16" });
 */
export async function loadLlama(
  path: string,
  device: Device,
  options: LoadTextOptions & { readonly skip?: number } = {},
  load: TextParamsLoader = resident,
): Promise<Llama> {
  const { skip = hiddenStateSkipLayer, dtype = "bf16" } = options;
  const opened = await openLlama(path, { skip });
  return new Llama(opened.config, await load(device, opened.checkpoint, opened, { ...options, dtype }));
}

/** The CLIP text model of a file or folder; as {@link loadLlama}. */
export async function loadClip(
  path: string,
  device: Device,
  options: LoadTextOptions = {},
  load: TextParamsLoader = resident,
): Promise<ClipText> {
  const { dtype = "bf16" } = options;
  const opened = await openClip(path);
  return new ClipText(opened.config, await load(device, opened.checkpoint, opened, { ...options, dtype }));
}

/** The config.json in the folder of the weights; one of another kind of model belongs to another file there. */
async function configBeside({ files, source }: Checkpoint, kinds: readonly string[]): Promise<unknown> {
  const config = await findJsonFile(join(dirname(files[0] ?? source), "config.json"));
  const kind = config?.model_type;
  return typeof kind === "string" && !kinds.includes(kind) ? undefined : config;
}
