/** The parts of a model in memory: transformer and autoencoder always, text encoders while a prompt is encoded. */
import { type ModelDefaults, modelDefaults } from "../models/defaults.js";
import { HunyuanDit } from "../models/dit/model.js";
import { type OpenedDit, openDit } from "../models/dit/open.js";
import { findModelParts, type ModelParts, requireParts } from "../models/model-folder.js";
import { TextEncoders } from "../models/text/encode.js";
import type { TextParamsLoader } from "../models/text/load.js";
import { CausalVae } from "../models/vae/model.js";
import { type OpenedVae, openVae } from "../models/vae/open.js";
import { type LoadProgress, loadParams } from "../nn/load.js";
import type { Params } from "../nn/params.js";
import type { ParameterSpec } from "../nn/spec.js";
import { streamParams } from "../nn/streamed-store.js";
import { Device, openDevice } from "../runtime/device.js";
import { type CheckedLoadOptions, type ComputeDType, checkLoadOptions, type LoadOptions } from "./load-options.js";
import { type TextConfigs, textConfigs } from "./text-files.js";

/** What streams under `offload: "blocks"`, one block of it at a time. */
export const ditBlock = ({ name }: ParameterSpec) => /^(double|single)_blocks\.\d+/.exec(name)?.[0];
export const textBlock = ({ name }: ParameterSpec) => /^(text_model\.encoder\.)?layers\.\d+/.exec(name)?.[0];

const streamedText: TextParamsLoader = (device, checkpoint, { specs, naming, keep }, options) =>
  streamParams(device, checkpoint, specs, naming, { ...options, keep, groupOf: textBlock });

/** What the files are, before anything of them is read. */
interface Found {
  readonly parts: ModelParts;
  readonly opened: OpenedDit;
  readonly vae: OpenedVae;
  readonly text: TextConfigs | undefined;
  readonly defaults: ModelDefaults;
}

/**
 * What pipelines and training runs work with, and programs that train by themselves; to generate videos, `HunyuanVideo` is
 * the one to load.
 *
 * @example
 * await using model = await LoadedModel.load("./HunyuanVideo", { dtype: "bf16" });
 * model.dit.config.hiddenSize // 3072
 */
export class LoadedModel implements AsyncDisposable {
  readonly device: Device;
  readonly parts: ModelParts;
  readonly opened: OpenedDit;
  readonly dit: HunyuanDit;
  readonly vae: CausalVae;
  /** What the text encoders are, where the model has them. */
  readonly textConfigs: TextConfigs | undefined;
  /** What requests take where they say nothing. */
  readonly defaults: ModelDefaults;
  readonly dtypes: { readonly dit: ComputeDType; readonly vae: ComputeDType; readonly text: ComputeDType };
  readonly #options: CheckedLoadOptions;
  readonly #params: readonly Params[];
  readonly #ownsDevice: boolean;
  #text: TextEncoders | undefined;

  private constructor(
    device: Device,
    { parts, opened, vae, text, defaults }: Found,
    params: { readonly dit: Params; readonly vae: Params },
    options: CheckedLoadOptions,
  ) {
    this.device = device;
    this.parts = parts;
    this.opened = opened;
    this.dit = new HunyuanDit(opened.config, params.dit);
    this.vae = new CausalVae(vae.config, params.vae);
    this.textConfigs = text;
    this.defaults = defaults;
    const { dtype } = options;
    this.dtypes = { dit: dtype, vae: options.vaeDtype ?? dtype, text: options.textDtype ?? dtype };
    this.#options = options;
    this.#params = [params.dit, params.vae];
    this.#ownsDevice = !(options.device instanceof Device);
  }

  /**
   * Opens everything before anything is read, so that what is missing is told at once.
   *
   * @param folder in any layout that `HunyuanVideo.load` takes
   * @throws CHECKPOINT_INVALID, MODEL_UNSUPPORTED, FILE_ERROR, OUT_OF_MEMORY, DEVICE_UNAVAILABLE, ABORTED, INVALID_ARGUMENT;
   * nothing stays
   */
  static async load(folder: string, options: LoadOptions = {}): Promise<LoadedModel> {
    return LoadedModel.open(folder, checkLoadOptions(options));
  }

  /** The same with options that have been checked. */
  static async open(folder: string, options: CheckedLoadOptions): Promise<LoadedModel> {
    const found = await findParts(folder, options);
    const { device: named, memoryLimit } = options;
    const device =
      named instanceof Device ? named : openDevice(named, memoryLimit === undefined ? {} : { memoryLimit });
    const loaded: Params[] = [];
    try {
      const vae = await loadVae(device, found.vae, options);
      loaded.push(vae);
      const dit = await loadDit(device, found.opened, options);
      loaded.push(dit);
      return new LoadedModel(device, found, { dit, vae }, options);
    } catch (error) {
      for (const params of loaded) params.dispose();
      if (!(named instanceof Device)) await device.dispose();
      throw error;
    }
  }

  /** Runs the work with the text encoders, which are freed afterwards unless they were to be kept. */
  async withText<T>(signal: AbortSignal | undefined, work: (encoders: TextEncoders) => Promise<T>): Promise<T> {
    const { keepTextEncoders, offload, onProgress } = this.#options;
    requireParts(this.parts, ["llama", "clip", "llamaTokenizer", "clipTokenizer"]);
    const { llama = "", clip = "", llamaTokenizer = "", clipTokenizer = "" } = this.parts;
    const encoders =
      this.#text ??
      (await TextEncoders.load(
        { llm: llama, llmTokenizer: llamaTokenizer, clip, clipTokenizer },
        this.device,
        { dtype: this.dtypes.text, signal, onProgress: (progress) => onProgress?.({ stage: "text", ...progress }) },
        offload === "blocks" ? streamedText : undefined,
      ));
    if (keepTextEncoders) this.#text = encoders;
    try {
      return await work(encoders);
    } finally {
      if (encoders !== this.#text) encoders.dispose();
    }
  }

  get offload(): CheckedLoadOptions["offload"] {
    return this.#options.offload;
  }

  get keepsTextEncoders(): boolean {
    return this.#options.keepTextEncoders;
  }

  /** Gives all memory back, and the device unless it was the caller's. */
  async dispose(): Promise<void> {
    for (const params of this.#params) params.dispose();
    this.#text?.dispose();
    this.#text = undefined;
    if (this.#ownsDevice) await this.device.dispose();
    else await this.device.sync().catch(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

async function findParts(folder: string, options: CheckedLoadOptions): Promise<Found> {
  const parts = await findModelParts(folder, options);
  requireParts(parts, ["transformer", "vae"]);
  const { i2v, ropeAxes, scaleMap } = options;
  const opened = await openDit(parts.transformer as string, { i2v, ropeAxes, scaleMap });
  const vae = await openVae(parts.vae as string);
  const text = await textConfigs(parts);
  return { parts, opened, vae, text, defaults: await modelDefaults(parts.root, opened.config) };
}

function loadVae(device: Device, opened: OpenedVae, options: CheckedLoadOptions): Promise<Params> {
  const { checkpoint, specs, naming } = opened;
  const { dtype, vaeDtype = dtype, signal } = options;
  return loadParams(device, checkpoint, specs, naming, {
    dtype: vaeDtype,
    signal,
    onProgress: telling("vae", options),
  });
}

function loadDit(device: Device, opened: OpenedDit, options: CheckedLoadOptions): Promise<Params> {
  const { checkpoint, specs, naming, keep } = opened;
  const { dtype, signal, offload } = options;
  const loading = { dtype, keep, signal, onProgress: telling("transformer", options) };
  return offload === "blocks"
    ? streamParams(device, checkpoint, specs, naming, { ...loading, groupOf: ditBlock })
    : loadParams(device, checkpoint, specs, naming, loading);
}

function telling(stage: "transformer" | "vae", { onProgress }: CheckedLoadOptions) {
  return (progress: LoadProgress) => onProgress?.({ stage, ...progress });
}
